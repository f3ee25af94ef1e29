/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite makes the file and the schema; the B-trees are filled here, in order of their keys, which
 * takes a tenth of what inserting each row does. An unfinished file is thrown away, never repaired.
 */
#include "index_writer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btree.h"
#include "index_internal.h"
#include "index_order.h"

enum {
	TREE_META,
	TREE_PACK,
	TREE_CHUNK,
	TREE_CONTENT,
	TREE_CONTENT_DIGEST,
	TREE_EXTENT,
	TREE_EXTENT_CHUNK,
	TREE_NODE,
	TREE_ENTRY,
	TREE_ENTRY_SEQ,
	TREE_XATTR,
	N_TREES,
};

/* Bytes of the values of a row: an xattr has most. */
enum { VALUES_MAX = INDEX_XATTR_MAX + FORMAT_NAME_MAX + 1 + 64 };

/* Names are those of the schema. A table without row numbers is an index, too, by its primary key. */
static const struct {
	const char *name;
	bool is_table;
} trees[N_TREES] = {
	[TREE_META] = { "meta", false },
	[TREE_PACK] = { "pack", true },
	[TREE_CHUNK] = { "chunk", true },
	[TREE_CONTENT] = { "content", true },
	[TREE_CONTENT_DIGEST] = { "content_digest", false },
	[TREE_EXTENT] = { "extent", false },
	[TREE_EXTENT_CHUNK] = { "extent_chunk", false },
	[TREE_NODE] = { "node", true },
	[TREE_ENTRY] = { "entry", false },
	[TREE_ENTRY_SEQ] = { "entry_seq", false },
	[TREE_XATTR] = { "xattr", false },
};

/* What a table's rows are ordered by: of the last one. */
struct last_key {
	uint64_t a, b;
	char name[FORMAT_NAME_MAX + 1]; /* of entries and xattrs */
};

struct index_writer {
	int fd;                 /* owned */
	struct btree_file file; /* open at fd */
	struct btree tree[N_TREES];
	uint64_t n[N_TREES]; /* rows of each table */
	struct btree_record record;
	struct last_key last[N_TREES];
	struct index_order order; /* of what the indexes have in another order than the tables */
	bool contents_ended;
	uint64_t n_files;
	uint64_t bytes;
	uint64_t content_bytes;
};

static int run(sqlite3 *db, const char *sql, struct err *err)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : sqlite_failed(db, rc, err);
}

/*
 * What every index begins with, the schema and no rows: made once, for SQLite takes longer for it than a
 * hundred rows do.
 */
static struct {
	pthread_once_t once;
	uint8_t *pages;         /* never freed */
	uint32_t n;             /* pages */
	uint32_t root[N_TREES]; /* where each tree begins */
	int result;
	struct err err;
} model = { .once = PTHREAD_ONCE_INIT };

static int make_schema(sqlite3 *db, struct err *err)
{
	char identity[120];
	int r;

	(void)snprintf(identity, sizeof(identity),
	               "PRAGMA application_id = %d; PRAGMA user_version = %d;",
	               FORMAT_APPLICATION_ID, FORMAT_USER_VERSION);
	r = run(db,
	        "PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-8'; PRAGMA auto_vacuum = NONE;"
	        "BEGIN;",
	        err);
	if (r == 0)
		r = run(db, identity, err);
	if (r == 0)
		r = schema_create(db, err);
	return r < 0 ? r : run(db, "COMMIT", err);
}

static int find_roots(sqlite3 *db, struct err *err)
{
	CLEANUP(sqlite3_finalize) sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_schema WHERE name = ?1", -1,
	                            &stmt, NULL);

	if (rc != SQLITE_OK)
		return sqlite_failed(db, rc, err);
	for (size_t i = 0; i < N_TREES; i++) {
		(void)sqlite3_bind_text(stmt, 1, trees[i].name, -1, SQLITE_STATIC);
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			return sqlite_failed(db, rc == SQLITE_DONE ? SQLITE_ERROR : rc, err);
		model.root[i] = (uint32_t)sqlite3_column_int64(stmt, 0);
		(void)sqlite3_reset(stmt);
	}
	return 0;
}

/* What SQLite sets in the header of a file that it has changed once, but not in memory. */
static void complete_header(unsigned char *header)
{
	enum { CHANGES = 24, CHANGES_BY_VERSION = 92, VERSION = 96 };
	const uint32_t one = htobe32(1);
	const uint32_t version = htobe32((uint32_t)sqlite3_libversion_number());

	memcpy(header + CHANGES, &one, sizeof(one));
	memcpy(header + CHANGES_BY_VERSION, &one, sizeof(one));
	memcpy(header + VERSION, &version, sizeof(version));
}

/* Keep the pages that SQLite makes of @db, which is in memory. */
static int keep_pages(sqlite3 *db, struct err *err)
{
	sqlite3_int64 size = 0;
	unsigned char *pages = sqlite3_serialize(db, "main", &size, 0);

	if (!pages)
		return err_set(err, -ENOMEM, "out of memory");
	complete_header(pages);
	model.pages = pages;
	model.n = (uint32_t)(size / BTREE_PAGE);
	return find_roots(db, err);
}

static void make_model(void)
{
	CLEANUP(sqlite3_close) sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(":memory:", &db,
	                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	                         NULL);
	int r = rc == SQLITE_OK ? make_schema(db, &model.err) : sqlite_failed(db, rc, &model.err);

	model.result = r < 0 ? r : keep_pages(db, &model.err);
}

void index_writer_prepare(void)
{
	(void)pthread_once(&model.once, make_model);
}

/* What a function of btree.h has returned. */
static int written(int r, struct err *err)
{
	return r < 0 ? err_set(err, r, "index could not be written: %s", strerrordesc_np(-r)) : 0;
}

int index_writer_open(const char *path, struct index_writer **ret, struct err *err)
{
	CLEANUP(index_writer_free) struct index_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	w->fd = open(path, O_WRONLY | O_CLOEXEC);
	if (w->fd < 0)
		return err_set_errno(err, "'%s' could not be opened", path);
	index_writer_prepare();
	if (model.result < 0)
		return err_set(err, model.result, "%s", model.err.msg);
	if (btree_file_init(&w->file, w->fd, model.pages, model.n) < 0 ||
	    btree_record_init(&w->record, VALUES_MAX) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < N_TREES; i++)
		w->tree[i] = (struct btree){
			.file = &w->file,
			.root = model.root[i],
			.is_table = trees[i].is_table,
		};
	*ret = TAKE_PTR(w);
	return 0;
}

/* Begin a row of the tree @id, whose key (@a, @b, @name) has to follow the one before. */
static int begin(struct index_writer *w, unsigned id, uint64_t a, uint64_t b, const char *name,
                 struct err *err)
{
	struct last_key *last = &w->last[id];
	const size_t len = strlen(name);
	bool follows = last->a < a || (last->a == a && last->b < b) ||
	               (last->a == a && last->b == b && strcmp(last->name, name) < 0);

	if (len > FORMAT_NAME_MAX)
		return err_set(err, -EINVAL, "index: a name in '%s' is too long", trees[id].name);
	if (w->n[id] > 0 && !follows)
		return err_set(err, -EINVAL, "index: rows of '%s' are not in order",
		               trees[id].name);
	last->a = a;
	last->b = b;
	memcpy(last->name, name, len + 1);
	btree_record_begin(&w->record);
	return 0;
}

static void put(struct index_writer *w, uint64_t value)
{
	btree_record_int(&w->record, (int64_t)value);
}

static void put_blob(struct index_writer *w, const void *data, size_t len)
{
	btree_record_blob(&w->record, data, len);
}

/* Add the row that was put together to the tree @id, a table's under the number @rowid. */
static int add(struct index_writer *w, unsigned id, uint64_t rowid, struct err *err)
{
	w->n[id]++;
	return written(btree_add(&w->tree[id], rowid, &w->record), err);
}

/* As begin(), of a table whose key is the row's number: its column is empty. */
static int begin_numbered(struct index_writer *w, unsigned id, uint64_t number, struct err *err)
{
	int r = begin(w, id, number, 0, "", err);

	btree_record_null(&w->record);
	return r;
}

int index_writer_pack(struct index_writer *w, uint32_t pack, const struct pack_info *info,
                      struct err *err)
{
	int r = begin_numbered(w, TREE_PACK, pack, err);

	if (r < 0)
		return r;
	put_blob(w, info->digest.bytes, DIGEST_SIZE);
	put(w, info->size);
	return add(w, TREE_PACK, pack, err);
}

int index_writer_chunk(struct index_writer *w, const struct chunk *chunk, struct err *err)
{
	int r = begin_numbered(w, TREE_CHUNK, chunk->id, err);

	if (r < 0)
		return r;
	put_blob(w, chunk->digest.bytes, DIGEST_SIZE);
	put(w, chunk->pack);
	put(w, chunk->frame_off);
	put(w, chunk->frame_size);
	put(w, chunk->size);
	return add(w, TREE_CHUNK, chunk->id, err);
}

int index_writer_content(struct index_writer *w, const struct content *content, struct err *err)
{
	int r = w->contents_ended ? err_set(err, -EINVAL, "index: the contents have ended")
	                          : begin_numbered(w, TREE_CONTENT, content->id, err);

	if (r == 0)
		r = index_order_content(&w->order, content, err);
	if (r < 0)
		return r;
	put_blob(w, content->digest.bytes, DIGEST_SIZE);
	put(w, content->size);
	w->content_bytes += content->size;
	return add(w, TREE_CONTENT, content->id, err);
}

int index_writer_extent(struct index_writer *w, const struct extent *extent, struct err *err)
{
	int r = w->contents_ended ? err_set(err, -EINVAL, "index: the contents have ended")
	                          : begin(w, TREE_EXTENT, extent->content, extent->off, "", err);

	if (r == 0)
		r = index_order_extent(&w->order, extent, err);
	if (r < 0)
		return r;
	put(w, extent->content);
	put(w, extent->off);
	put(w, extent->len);
	put(w, extent->chunk.id);
	put(w, extent->chunk_off);
	return add(w, TREE_EXTENT, 0, err);
}

static int write_content_digest(void *arg, const struct digest *digest, uint64_t content,
                                struct err *err)
{
	struct index_writer *w = arg;

	btree_record_begin(&w->record);
	put_blob(w, digest->bytes, DIGEST_SIZE);
	put(w, content);
	return add(w, TREE_CONTENT_DIGEST, 0, err);
}

static int write_extent_chunk(void *arg, const struct ordered_extent *extent, struct err *err)
{
	struct index_writer *w = arg;

	btree_record_begin(&w->record);
	put(w, extent->chunk);
	put(w, extent->content);
	put(w, extent->off);
	return add(w, TREE_EXTENT_CHUNK, 0, err);
}

int index_writer_end_contents(struct index_writer *w, struct index_place *ret, struct err *err)
{
	int r = 0;

	if (!w->contents_ended) {
		r = index_order_digests(&w->order, write_content_digest, w, err);
		if (r == 0)
			r = index_order_chunks(&w->order, write_extent_chunk, w, err);
		index_order_release(&w->order);
		w->contents_ended = true;
	}
	ret->off = (uint64_t)w->file.n_front * BTREE_PAGE;
	ret->size = (uint64_t)w->file.n * BTREE_PAGE - ret->off;
	return r;
}

int index_writer_flush(struct index_writer *w, struct err *err)
{
	return written(btree_file_flush(&w->file), err);
}

int index_writer_node(struct index_writer *w, const struct node *node, const char *target,
                      struct err *err)
{
	int r = begin_numbered(w, TREE_NODE, node->ino, err);

	if (r == 0 && target && strlen(target) > FORMAT_TARGET_MAX)
		r = err_set(err, -EINVAL, "index: the target of a link is too long");
	if (r < 0)
		return r;
	put(w, node->mode);
	put(w, node->nlink);
	put(w, node->uid);
	put(w, node->gid);
	put(w, (uint64_t)node->mtime_s);
	put(w, node->mtime_ns);
	put(w, node->size);
	if (node->content != 0)
		put(w, node->content);
	else
		btree_record_null(&w->record);
	if (target)
		put_blob(w, target, strlen(target));
	else
		btree_record_null(&w->record);
	if (S_ISREG(node->mode)) {
		w->n_files++;
		w->bytes += node->size;
	}
	return add(w, TREE_NODE, node->ino, err);
}

int index_writer_entry(struct index_writer *w, uint64_t parent, uint64_t seq, const char *name,
                       uint64_t ino, struct err *err)
{
	int r = begin(w, TREE_ENTRY, parent, 0, name, err);

	if (r < 0)
		return r;
	put(w, parent);
	put_blob(w, name, strlen(name));
	put(w, ino);
	put(w, seq);
	r = add(w, TREE_ENTRY, 0, err);
	if (r == 0)
		r = begin(w, TREE_ENTRY_SEQ, parent, seq, "", err);
	if (r < 0)
		return r;
	put(w, parent);
	put(w, seq);
	put_blob(w, name, strlen(name));
	return add(w, TREE_ENTRY_SEQ, 0, err);
}

int index_writer_xattr(struct index_writer *w, uint64_t ino, const char *name, const void *value,
                       size_t len, struct err *err)
{
	int r = len > INDEX_XATTR_MAX ? err_set(err, -EINVAL, "index: an xattr is too long")
	                              : begin(w, TREE_XATTR, ino, 0, name, err);

	if (r < 0)
		return r;
	put(w, ino);
	put_blob(w, name, strlen(name));
	put_blob(w, value, len);
	return add(w, TREE_XATTR, 0, err);
}

static int write_meta(struct index_writer *w, struct err *err)
{
	/* In order of the key, like every table. */
	const struct {
		const char *key;
		uint64_t value;
	} metas[] = {
		{ "bytes", w->bytes },
		{ "chunks", w->n[TREE_CHUNK] },
		{ "compat", 0 },
		{ "content_bytes", w->content_bytes },
		{ "contents", w->n[TREE_CONTENT] },
		{ "files", w->n_files },
		{ "incompat", 0 },
		{ "nodes", w->n[TREE_NODE] },
		{ "xattrs", w->n[TREE_XATTR] },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(metas) / sizeof(metas[0]); i++) {
		btree_record_begin(&w->record);
		btree_record_text(&w->record, metas[i].key);
		put(w, metas[i].value);
		r = add(w, TREE_META, 0, err);
	}
	return r;
}

int index_writer_finish(struct index_writer *w, struct err *err)
{
	struct index_place contents;
	int r = index_writer_end_contents(w, &contents, err);

	if (r == 0)
		r = write_meta(w, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < N_TREES; i++)
		r = btree_finish(&w->tree[i]);
	if (r == 0)
		r = btree_file_finish(&w->file);
	return written(r, err);
}

void index_writer_free(struct index_writer *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < N_TREES; i++)
		btree_release(&w->tree[i]);
	index_order_release(&w->order);
	btree_record_release(&w->record);
	btree_file_release(&w->file);
	if (w->fd >= 0)
		(void)close(w->fd);
	free(w);
}
