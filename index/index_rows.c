/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows against the rules of format.md §4.3. Nothing leaves the index without
 * passing here, so that the rest of the program may trust every bound that
 * index.h states.
 */
#include "index_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { MODE_PERMISSIONS = 01777 };

bool col_uint(sqlite3_stmt *stmt, int i, uint64_t max, uint64_t *ret)
{
	int64_t value;

	if (sqlite3_column_type(stmt, i) != SQLITE_INTEGER)
		return false;
	value = sqlite3_column_int64(stmt, i);
	if (value < 0 || (uint64_t)value > max)
		return false;
	*ret = (uint64_t)value;
	return true;
}

bool col_u32(sqlite3_stmt *stmt, int i, uint32_t *ret)
{
	uint64_t value;

	if (!col_uint(stmt, i, UINT32_MAX, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

const void *col_blob(sqlite3_stmt *stmt, int i, size_t min, size_t max, size_t *ret_len)
{
	const void *bytes;
	size_t len;

	if (sqlite3_column_type(stmt, i) != SQLITE_BLOB)
		return NULL;
	bytes = sqlite3_column_blob(stmt, i);
	len = (size_t)sqlite3_column_bytes(stmt, i);
	if (!bytes && len == 0)
		bytes = ""; /* how SQLite hands out an empty blob */
	if (len < min || len > max)
		return NULL;
	*ret_len = len;
	return bytes;
}

bool col_digest(sqlite3_stmt *stmt, int i, struct digest *ret)
{
	size_t len;
	const void *bytes = col_blob(stmt, i, DIGEST_SIZE, DIGEST_SIZE, &len);

	if (!bytes)
		return false;
	memcpy(ret->bytes, bytes, DIGEST_SIZE);
	return true;
}

int row_bad(sqlite3_stmt *stmt, const char *table, uint64_t id, const char *what, struct err *err)
{
	if (sqlite3_errcode(sqlite3_db_handle(stmt)) == SQLITE_NOMEM)
		return err_set(err, -ENOMEM, "out of memory");
	return err_set(err, -EBADMSG, "index is damaged: %s %llu %s", table, (unsigned long long)id,
	               what);
}

/* Columns of a node that are the same for every type. */
static bool node_columns(sqlite3_stmt *stmt, int at, struct node *n)
{
	uint32_t type;

	if (!col_u32(stmt, at + 1, &n->mode) || !col_u32(stmt, at + 2, &n->nlink) ||
	    !col_u32(stmt, at + 3, &n->uid) || !col_u32(stmt, at + 4, &n->gid) ||
	    sqlite3_column_type(stmt, at + 5) != SQLITE_INTEGER ||
	    !col_u32(stmt, at + 6, &n->mtime_ns) || !col_uint(stmt, at + 7, INT64_MAX, &n->size))
		return false;
	n->mtime_s = sqlite3_column_int64(stmt, at + 5);
	type = n->mode & S_IFMT;
	return (type == S_IFREG || type == S_IFDIR || type == S_IFLNK) &&
	       (n->mode & ~((uint32_t)S_IFMT | MODE_PERMISSIONS)) == 0 &&
	       n->mtime_ns <= 999999999 && n->nlink >= (type == S_IFDIR ? 2u : 1u) &&
	       (n->ino != FORMAT_ROOT_INO || type == S_IFDIR);
}

/* A file's content must exist and have the file's size. */
static bool node_content(sqlite3_stmt *stmt, int at, struct node *n)
{
	uint64_t size;

	n->content = 0;
	if (sqlite3_column_type(stmt, at + 8) == SQLITE_NULL)
		return !S_ISREG(n->mode) || n->size == 0;
	return S_ISREG(n->mode) && col_uint(stmt, at + 8, INT64_MAX, &n->content) &&
	       n->content > 0 && col_uint(stmt, at + 10, FORMAT_FILE_MAX, &size) && size > 0 &&
	       size == n->size;
}

static bool node_target(sqlite3_stmt *stmt, int at, const struct node *n)
{
	const void *target;
	size_t len;

	if (!S_ISLNK(n->mode))
		return sqlite3_column_type(stmt, at + 9) == SQLITE_NULL;
	target = col_blob(stmt, at + 9, 1, FORMAT_TARGET_MAX, &len);
	return target && len == n->size && !memchr(target, '\0', len);
}

int row_node(const struct query *q, int at, struct node *ret, struct err *err)
{
	struct node n = { .ino = 0 };

	if (!col_uint(q->stmt, at, INT64_MAX, &n.ino) || n.ino < FORMAT_ROOT_INO)
		return row_bad(q->stmt, "node", n.ino, "has no inode number", err);
	if (!node_columns(q->stmt, at, &n))
		return row_bad(q->stmt, "node", n.ino, "has attributes that no file can have", err);
	if (!node_content(q->stmt, at, &n))
		return row_bad(q->stmt, "node", n.ino, "has not the size of its content", err);
	if (!node_target(q->stmt, at, &n))
		return row_bad(q->stmt, "node", n.ino, "has a bad link target", err);
	*ret = n;
	return 0;
}

int row_content(const struct query *q, int at, struct content *ret, struct err *err)
{
	struct content c = { .id = 0 };

	if (!col_uint(q->stmt, at, INT64_MAX, &c.id) || c.id < 1)
		return row_bad(q->stmt, "content", c.id, "does not exist", err);
	if (!col_digest(q->stmt, at + 1, &c.digest))
		return row_bad(q->stmt, "content", c.id, "has no digest", err);
	if (!col_uint(q->stmt, at + 2, FORMAT_FILE_MAX, &c.size) || c.size < 1)
		return row_bad(q->stmt, "content", c.id, "has a size out of bounds", err);
	*ret = c;
	return 0;
}

int row_chunk(const struct query *q, int at, struct chunk *ret, struct err *err)
{
	struct chunk c = { .id = 0 };
	const struct pack_info *pack;

	if (!col_uint(q->stmt, at, INT64_MAX, &c.id) || c.id < 1)
		return row_bad(q->stmt, "chunk", c.id, "does not exist", err);
	if (!col_digest(q->stmt, at + 1, &c.digest))
		return row_bad(q->stmt, "chunk", c.id, "has no digest", err);
	if (!col_u32(q->stmt, at + 5, &c.size) || c.size < 1 || c.size > FORMAT_CHUNK_MAX ||
	    !col_u32(q->stmt, at + 4, &c.frame_size) || c.frame_size < 1 ||
	    c.frame_size > FORMAT_FRAME_MAX)
		return row_bad(q->stmt, "chunk", c.id, "has a size out of bounds", err);
	pack = col_u32(q->stmt, at + 2, &c.pack) ? index_pack(q->idx, c.pack) : NULL;
	if (!pack)
		return row_bad(q->stmt, "chunk", c.id, "is in a pack that does not exist", err);
	if (c.frame_size > pack->size ||
	    !col_uint(q->stmt, at + 3, pack->size - c.frame_size, &c.frame_off))
		return row_bad(q->stmt, "chunk", c.id, "goes beyond the end of its pack", err);
	*ret = c;
	return 0;
}

int row_extent(const struct query *q, int at, const struct content *content, struct extent *ret,
               struct err *err)
{
	struct chunk chunk;
	int r = row_chunk(q, at + 3, &chunk, err);

	if (r < 0)
		return err_wrap(err, r, "extent of content %llu", (unsigned long long)content->id);
	return row_extent_of(q, at, content, &chunk, ret, err);
}

int row_extent_of(const struct query *q, int at, const struct content *content,
                  const struct chunk *chunk, struct extent *ret, struct err *err)
{
	struct extent e = { .content = content->id, .chunk = *chunk };

	if (!col_uint(q->stmt, at, content->size - 1, &e.off) ||
	    !col_u32(q->stmt, at + 1, &e.len) || e.len < 1 || e.len > content->size - e.off)
		return row_bad(q->stmt, "content", content->id, "has an extent beyond its end",
		               err);
	if (!col_u32(q->stmt, at + 2, &e.chunk_off) || e.len > e.chunk.size ||
	    e.chunk_off > e.chunk.size - e.len)
		return row_bad(q->stmt, "content", content->id,
		               "has an extent beyond the end of its chunk", err);
	*ret = e;
	return 0;
}

int row_name(const struct query *q, int at, uint64_t parent, const char **ret, size_t *ret_len,
             struct err *err)
{
	size_t len;
	const char *name = col_blob(q->stmt, at, 1, FORMAT_NAME_MAX, &len);

	if (!name || memchr(name, '/', len) || memchr(name, '\0', len) ||
	    (len <= 2 && memcmp(name, "..", len) == 0))
		return row_bad(q->stmt, "directory", parent, "has an entry with a bad name", err);
	*ret = name;
	*ret_len = len;
	return 0;
}
