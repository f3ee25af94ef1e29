/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening an index, and its nodes one by one. What index_open() has checked -
 * header, schema, features, packs - is constant; rows are checked as they are
 * read, since reading all of them would make opening as slow as the image is
 * large.
 */
#include "index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "index_internal.h"
#include "plain.h"

enum { PACK_SIZE_MIN = 26 }; /* one byte of frame and the seek table of one frame */

/* Big-endian integer in the header of an SQLite file. */
static uint32_t be32_at(const uint8_t *header, size_t at)
{
	return (uint32_t)header[at] << 24 | (uint32_t)header[at + 1] << 16 |
	       (uint32_t)header[at + 2] << 8 | header[at + 3];
}

/* The fixed start of an SQLite file (sqlite.org/fileformat2.html, 1.3), format.md §4.1. */
static int check_header(const struct index_file *file, struct err *err)
{
	enum { PAGE_SIZE = 16, WRITE_VERSION = 18, READ_VERSION = 19, ENCODING = 56 };
	enum { USER_VERSION = 60, APPLICATION_ID = 68, HEADER_SIZE = 100 };
	uint8_t header[HEADER_SIZE];
	int r = index_file_need(file, 0, sizeof(header), err);

	if (r < 0)
		return r;
	r = io_pread(file->fd, header, sizeof(header), 0);
	if (r == -ENODATA)
		return err_set(err, -EBADMSG, "not an SQLite database: too short");
	if (r < 0)
		return err_set(err, r, "%s", strerrordesc_np(-r));
	if (memcmp(header, "SQLite format 3", 16) != 0)
		return err_set(err, -EBADMSG, "not an SQLite database");
	if (be32_at(header, APPLICATION_ID) != FORMAT_APPLICATION_ID)
		return err_set(err, -EBADMSG, "an SQLite database, but not an assetfs index");
	if (be32_at(header, USER_VERSION) != FORMAT_USER_VERSION)
		return err_set(err, -EPROTONOSUPPORT,
		               "index version %u; this program reads version %d",
		               be32_at(header, USER_VERSION), FORMAT_USER_VERSION);
	if (header[PAGE_SIZE] != 4096 / 256 || header[PAGE_SIZE + 1] != 0 ||
	    header[WRITE_VERSION] != 1 || header[READ_VERSION] != 1 ||
	    be32_at(header, ENCODING) != 1)
		return err_set(err, -EBADMSG,
		               "index has another page size, encoding or journal "
		               "than the format");
	return 0;
}

static int check_schema(struct index *idx, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_SCHEMA, &q, err);

	return r < 0 ? r : schema_check(q.db, err);
}

/* Read a number of table meta. */
static int load_meta(struct index *idx, const char *key, uint64_t *ret, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_META, &q, err);

	if (r < 0)
		return r;
	if (sqlite3_bind_text(q.stmt, 1, key, -1, SQLITE_STATIC) != SQLITE_OK)
		return err_set(err, -ENOMEM, "out of memory");
	r = query_step(&q, err);
	if (r < 0)
		return r;
	if (r == 0 || !col_uint(q.stmt, 0, INT64_MAX, ret))
		return err_set(err, -EBADMSG, "index is damaged: no number '%s' in table meta",
		               key);
	return 0;
}

static int load_info(struct index *idx, struct err *err)
{
	uint64_t incompat = 0, compat = 0, xattrs = 0;
	const struct {
		const char *key;
		uint64_t *value;
		bool is_rows; /* a row takes a byte of the file at the very least */
	} metas[] = {
		{ "incompat", &incompat, false },
		{ "compat", &compat, false },
		{ "chunks", &idx->info.n_chunks, true },
		{ "contents", &idx->info.n_contents, true },
		{ "nodes", &idx->info.n_nodes, true },
		{ "files", &idx->info.n_files, true },
		{ "bytes", &idx->info.bytes, false },
		{ "content_bytes", &idx->info.content_bytes, false },
		{ "xattrs", &xattrs, true },
	};

	for (size_t i = 0; i < sizeof(metas) / sizeof(metas[0]); i++) {
		int r = load_meta(idx, metas[i].key, metas[i].value, err);

		if (r < 0)
			return r;
		if (metas[i].is_rows && *metas[i].value > idx->file.size)
			return err_set(err, -EBADMSG, "index is damaged: it cannot hold %llu %s",
			               (unsigned long long)*metas[i].value, metas[i].key);
		/* Unknown features may change what the other keys mean. */
		if (i == 0 && (incompat & ~(uint64_t)FORMAT_INCOMPAT_KNOWN) != 0)
			return err_set(err, -EPROTONOSUPPORT,
			               "index needs features that this program does not know: "
			               "bits %#llx",
			               (unsigned long long)(incompat &
			                                    ~(uint64_t)FORMAT_INCOMPAT_KNOWN));
	}
	idx->info.size = idx->file.size;
	idx->info.has_xattrs = xattrs > 0;
	return 0;
}

static int load_packs(struct index *idx, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_PACKS, &q, err);
	uint32_t n = 0, n_max = 0;

	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct pack_info pack;
		uint64_t id;

		if (n == n_max) {
			void *packs = reallocarray(idx->packs, n_max + 64, sizeof(pack));

			if (!packs)
				return err_set(err, -ENOMEM, "out of memory");
			idx->packs = packs;
			n_max += 64;
		}
		if (!col_uint(q.stmt, 0, FORMAT_PACKS_MAX, &id) || id != n + 1 ||
		    !col_digest(q.stmt, 1, &pack.digest) ||
		    !col_uint(q.stmt, 2, INT64_MAX, &pack.size) || pack.size < PACK_SIZE_MIN)
			return row_bad(q.stmt, "pack", n + 1, "has a bad number, digest or size",
			               err);
		idx->packs[n++] = pack;
		r = 0;
	}
	idx->info.n_packs = n;
	return r;
}

/* The root is what every access starts from, so it is looked at before anyone relies on it. */
static int check_root(struct index *idx, struct err *err)
{
	struct node root;
	int r = index_node(idx, FORMAT_ROOT_INO, &root, err);

	if (r == 0)
		return err_set(err, -EBADMSG, "index is damaged: no root directory");
	return r < 0 ? r : 0;
}

static int check_and_load(struct index *idx, struct err *err)
{
	int r = check_header(&idx->file, err);

	if (r == 0)
		r = check_schema(idx, err);
	if (r == 0)
		r = load_info(idx, err);
	if (r == 0)
		r = load_packs(idx, err);
	if (r == 0)
		r = check_root(idx, err);
	return r;
}

int index_open_source(int fd, const struct index_source *source, struct index **ret,
                      struct err *err)
{
	CLEANUP(close) int owned = fd;
	CLEANUP(index_close) struct index *idx = calloc(1, sizeof(*idx));
	int r;

	if (!idx) {
		if (source)
			source->close(source->arg);
		return err_set(err, -ENOMEM, "out of memory");
	}
	(void)pthread_mutex_init(&idx->lock, NULL);
	r = index_file_open(&idx->file, TAKE_FD(owned), source, err);
	if (r == 0)
		r = check_and_load(idx, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(idx);
	return 0;
}

int index_open_fd(int fd, struct index **ret, struct err *err)
{
	return index_open_source(fd, /* source= */ NULL, ret, err);
}

int index_open(const char *path, struct index **ret, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set_errno(err, "'%s'", path);
	r = index_open_fd(fd, ret, err);
	return r < 0 ? err_wrap(err, r, "'%s'", path) : 0;
}

void index_close(struct index *idx)
{
	if (!idx)
		return;
	index_close_connections(idx);
	dir_map_free(idx->dirs);
	(void)pthread_mutex_destroy(&idx->lock);
	index_file_close(&idx->file);
	free(idx->packs);
	free(idx);
}

const struct index_info *index_info(const struct index *idx)
{
	return &idx->info;
}

const struct pack_info *index_pack(const struct index *idx, uint32_t pack)
{
	return pack >= 1 && pack <= idx->info.n_packs ? &idx->packs[pack - 1] : NULL;
}

int index_node(struct index *idx, uint64_t ino, struct node *ret, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_NODE, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, ino);
	r = query_step(&q, err);
	if (r < 1)
		return r;
	r = row_node(&q, 0, ret, err);
	return r < 0 ? r : 1;
}

int index_each_node(struct index *idx, index_node_fn fn, void *arg, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_EACH_NODE, &q, err);
	uint64_t last = 0;

	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct node node;

		r = row_node(&q, 0, &node, err);
		if (r == 0 && node.ino <= last)
			r = row_bad(q.stmt, "node", node.ino, "is out of order", err);
		if (r < 0)
			return r;
		last = node.ino;
		r = fn(arg, &node);
		if (r != 0)
			return r;
	}
	return r;
}

int index_check(struct index *idx, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	const char *finding;
	int r = query_begin(idx, QUERY_CHECK, &q, err);

	if (r < 0)
		return r;
	r = query_step(&q, err);
	if (r < 0)
		return r;
	finding = r == 1 ? (const char *)sqlite3_column_text(q.stmt, 0) : NULL;
	if (!finding)
		return err_set(err, -ENOMEM, "out of memory");
	if (strcmp(finding, "ok") != 0)
		return err_set(err, -EBADMSG, "index is damaged: %.*s", (int)strcspn(finding, "\n"),
		               finding);
	return 0;
}

/* Whether a name is one that the format allows; a NUL in it would split it in two. */
static bool is_xattr_name(const char *name, size_t len)
{
	return len > strlen("user.") && memcmp(name, "user.", strlen("user.")) == 0 &&
	       !memchr(name, '\0', len);
}

/* Append @name and a NUL to the @len bytes at *@names. */
static int append_name(char **names, size_t *len, const char *name, size_t name_len)
{
	char *longer = realloc(*names, *len + name_len + 1);

	if (!longer)
		return -ENOMEM;
	memcpy(longer + *len, name, name_len);
	longer[*len + name_len] = '\0';
	*names = longer;
	*len += name_len + 1;
	return 0;
}

int index_xattr_names(struct index *idx, uint64_t ino, char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(free) char *names = NULL;
	CLEANUP(query_end) struct query q = QUERY_INIT;
	size_t len = 0, last = 0; /* last: where the name before begins */
	int r = query_begin(idx, QUERY_XATTR_NAMES, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, ino);
	while ((r = query_step(&q, err)) == 1) {
		size_t n, at = len;
		const char *name = col_blob(q.stmt, 0, 1, FORMAT_NAME_MAX, &n);

		if (!name || !is_xattr_name(name, n))
			return row_bad(q.stmt, "node", ino, "has an xattr with a bad name", err);
		if (append_name(&names, &len, name, n) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		if (at > 0 && strcmp(names + last, names + at) >= 0)
			return row_bad(q.stmt, "node", ino, "has xattrs out of order", err);
		last = at;
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(names);
	*ret_len = len;
	return 0;
}

int index_xattr(struct index *idx, uint64_t ino, const char *name, void **ret, size_t *ret_len,
                struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	CLEANUP(free) void *copy = NULL;
	const void *value;
	size_t len;
	int r = query_begin(idx, QUERY_XATTR, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, ino);
	query_bind_bytes(&q, 2, name, strlen(name));
	r = query_step(&q, err);
	if (r < 1)
		return r;
	value = col_blob(q.stmt, 0, 0, INDEX_XATTR_MAX, &len);
	if (!value)
		return row_bad(q.stmt, "node", ino, "has a bad xattr value", err);
	copy = malloc(len + 1);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(copy, value, len);
	*ret = TAKE_PTR(copy);
	*ret_len = len;
	return 1;
}
