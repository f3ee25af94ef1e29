/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the index share: connections with prepared statements,
 * rows turned into checked structs, the schema.
 */
#pragma once

#include <pthread.h>
#include <sqlite3.h>

#include "index.h"

enum {
	INDEX_XATTR_MAX = 65536, /* bytes of a value, format.md §4.3 */
};

/* -errno for a result code of SQLite: whatever a damaged file can cause is -EBADMSG. */
int sqlite_errno(int rc);

/* Record what @db says about its failure @rc, in plain text, and return its -errno. */
int sqlite_failed(sqlite3 *db, int rc, struct err *err);

/* Make the objects of schema.sql in @db: tables, then indexes. */
MUST_CHECK int schema_create(sqlite3 *db, struct err *err);

/* Check that @db has the objects of schema.sql as they are there, and no triggers or views. */
MUST_CHECK int schema_check(sqlite3 *db, struct err *err);

static inline void sqlite3_close_cleanup(sqlite3 **db)
{
	(void)sqlite3_close(*db);
}

static inline void sqlite3_finalize_cleanup(sqlite3_stmt **stmt)
{
	(void)sqlite3_finalize(*stmt);
}

/* Every question that the index asks its database. */
enum query_id {
	QUERY_META,
	QUERY_PACKS,
	QUERY_NODE,
	QUERY_EACH_NODE,
	QUERY_LOOKUP,
	QUERY_LIST,
	QUERY_DIRS,
	QUERY_NAME,
	QUERY_NAME_IN,
	QUERY_CONTENT,
	QUERY_EACH_CONTENT,
	QUERY_FIND_CONTENT,
	QUERY_EXTENTS,
	QUERY_EXTENTS_IN,
	QUERY_CHUNK_EXTENTS,
	QUERY_EACH_CHUNK,
	QUERY_XATTR_NAMES,
	QUERY_XATTR,
	QUERY_CHECK,
	QUERY_SCHEMA, /* none: borrows a connection for schema_check() */
	QUERY_EACH_CONTENT_OF,
	QUERY_EACH_EXTENT_OF,
	QUERY_CHUNK,
	N_QUERIES,
};

/* The database file, as connections of its index open it: by the VFS @name. */
struct index_file {
	int fd;                     /* owned */
	uint64_t size;              /* bytes */
	uint8_t *map;               /* owned; NULL when there is no room for it */
	struct index_source source; /* owned; need is NULL: all bytes are there */

	/* atomic */
	uint64_t *touched; /* owned; a bit for each block of the map that was used since all were unmapped */
	uint64_t n_touched; /* how often a bit was set */

	sqlite3_vfs vfs;
	char name[32];
};

/*
 * Map the file open at @fd. @file owns it, and what @source (may be NULL) says, from now on, also on
 * failure. Returns 0 or -errno.
 */
MUST_CHECK int index_file_open(struct index_file *file, int fd, const struct index_source *source,
                               struct err *err);

/* Make the @len bytes at @off be there. Returns 0 or -errno. */
MUST_CHECK int index_file_need(const struct index_file *file, uint64_t off, uint64_t len,
                               struct err *err);
void index_file_close(struct index_file *file);

/* Let the file's pages go from memory, but for those that are not on the disk yet. */
void index_file_trim(struct index_file *file);

struct index_conn;
struct dir_map;

struct index {
	/* constant after index_open() */
	struct index_file file;
	struct index_info info;
	struct pack_info *packs; /* owned; info.n_packs */

	/* under lock */
	pthread_mutex_t lock;
	struct index_conn *idle; /* owned list; grows to as many as are ever in use at once */

	/* atomic */
	struct dir_map *dirs; /* owned; NULL until someone asks for a parent */
};

/* One question being asked, on a connection of its own. */
struct query {
	struct index *idx;       /* borrowed */
	struct index_conn *conn; /* borrowed from the index; NULL when nothing is asked */
	sqlite3 *db;             /* the connection's */
	sqlite3_stmt *stmt;      /* the connection's */
};

#define QUERY_INIT ((struct query){ .conn = NULL })

/* Begin @id on an idle connection, or a new one. Parameters are bound by the caller. */
MUST_CHECK int query_begin(struct index *idx, enum query_id id, struct query *ret, struct err *err);

/* Returns 1 when there is a row, 0 when there are no more, or -errno. */
MUST_CHECK int query_step(struct query *q, struct err *err);

/* Begin @id, another question, on the connection of @q, which has to end later. */
MUST_CHECK int query_begin_beside(const struct query *q, enum query_id id, struct query *ret,
                                  struct err *err);

/* Give the connection back. */
void query_end_cleanup(struct query *q);

/* End what was begun beside another query. */
void query_end_beside_cleanup(struct query *q);

/* Bind ?@i. Numbers that no row can have match no row. */
void query_bind(struct query *q, int i, uint64_t value);
void query_bind_bytes(struct query *q, int i, const void *data, size_t len);

/* Close all idle connections. */
void index_close_connections(struct index *idx);

/*
 * Columns of a row: take the value if it has the type and is in bounds,
 * else return false. Needed though tables are STRICT: SQLite checks types
 * when it writes a row, not when it reads one.
 */
bool col_uint(sqlite3_stmt *stmt, int i, uint64_t max, uint64_t *ret);
bool col_u32(sqlite3_stmt *stmt, int i, uint32_t *ret);
bool col_digest(sqlite3_stmt *stmt, int i, struct digest *ret);

/* Bytes of a blob, borrowed until the next step. NULL when it has not @min to @max bytes. */
const void *col_blob(sqlite3_stmt *stmt, int i, size_t min, size_t max, size_t *ret_len);

/* -EBADMSG with a message about row @id of @table, or -ENOMEM if that is why a column was missing. */
int row_bad(sqlite3_stmt *stmt, const char *table, uint64_t id, const char *what, struct err *err);

/* The columns, in this order, that each row_*() below wants from column @at on. */
#define NODE_COLUMNS                                                                                 \
	"n.ino, n.mode, n.nlink, n.uid, n.gid, n.mtime_s, n.mtime_ns, n.size, n.content, n.target, " \
	"c.size"
#define NODE_CONTENT    " LEFT JOIN content c ON c.content = n.content "
#define CONTENT_COLUMNS "c.content, c.digest, c.size"
#define CHUNK_COLUMNS   "k.chunk, k.digest, k.pack, k.frame_offset, k.frame_size, k.size"
#define EXTENT_COLUMNS  "e.offset, e.length, e.chunk_offset, " CHUNK_COLUMNS

enum {
	N_NODE_COLUMNS = 11,
	N_CONTENT_COLUMNS = 3,
	N_EXTENT_COLUMNS = 9,
};

/* Check a row against format.md §4.3 and hand it out. Return 0, -EBADMSG or -ENOMEM. */
MUST_CHECK int row_node(const struct query *q, int at, struct node *ret, struct err *err);
MUST_CHECK int row_content(const struct query *q, int at, struct content *ret, struct err *err);
MUST_CHECK int row_chunk(const struct query *q, int at, struct chunk *ret, struct err *err);
MUST_CHECK int row_extent(const struct query *q, int at, const struct content *content,
                          struct extent *ret, struct err *err);

/* As row_extent(), of a row whose chunk is known: @chunk. */
MUST_CHECK int row_extent_of(const struct query *q, int at, const struct content *content,
                             const struct chunk *chunk, struct extent *ret, struct err *err);

/* Check an entry's name and its place in directory @parent. */
MUST_CHECK int row_name(const struct query *q, int at, uint64_t parent, const char **ret,
                        size_t *ret_len, struct err *err);

/* Frees the map that index_parent() makes. Accepts NULL. */
void dir_map_free(struct dir_map *map);
