/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to an index's database. SQLite serialises the use of one
 * connection, so each query takes one for itself from a list; the list's lock
 * is held for a push or a pop only. Statements are prepared once for each
 * connection.
 *
 * The file is immutable (no locks, no change detection) and mapped once, see
 * index_vfs.c: its pages are the kernel's page cache, and the connections' own
 * caches stay small.
 */
#include "index_internal.h"

#include <errno.h>

struct index_conn {
	struct index_conn *next;
	sqlite3 *db;                   /* owned */
	sqlite3_stmt *stmt[N_QUERIES]; /* owned; NULL until used */
	uint64_t n_slices;             /* of work, spent on the current query */
	uint64_t n_slices_max;
};

enum {
	/* A damaged file can claim any length; the longest honest value is an xattr's. */
	VALUE_MAX = 4 * INDEX_XATTR_MAX,
	/*
	 * Pages of a damaged file can form a maze in which a scan never ends. An
	 * honest scan takes some tens of SQLite's instructions for each row, of
	 * several bytes: far below this for each byte of the file.
	 */
	OPS_PER_BYTE = 64,
	OPS_PER_SLICE = 1 << 16,
	SLICES_MIN = 64, /* also for the smallest file */
};

static const char *const sql[N_QUERIES] = {
	[QUERY_META] = "SELECT value FROM meta WHERE key = ?1",
	[QUERY_PACKS] = "SELECT pack, digest, size FROM pack ORDER BY pack",
	[QUERY_NODE] = "SELECT " NODE_COLUMNS " FROM node n" NODE_CONTENT "WHERE n.ino = ?1",
	[QUERY_EACH_NODE] = "SELECT " NODE_COLUMNS " FROM node n" NODE_CONTENT "ORDER BY n.ino",
	[QUERY_LOOKUP] = "SELECT " NODE_COLUMNS ", e.ino "
			 "FROM entry e LEFT JOIN node n ON n.ino = e.ino" NODE_CONTENT
			 "WHERE e.parent = ?1 AND e.name = ?2",
	[QUERY_LIST] = "SELECT " NODE_COLUMNS ", e.name, e.seq "
		       "FROM entry e LEFT JOIN node n ON n.ino = e.ino" NODE_CONTENT
		       "WHERE e.parent = ?1 AND e.seq > ?2 ORDER BY e.seq",
	[QUERY_DIRS] = "SELECT e.ino, e.parent FROM entry e JOIN node n ON n.ino = e.ino "
		       "WHERE n.mode & 61440 = 16384", /* S_IFMT, S_IFDIR */
	[QUERY_NAME] = "SELECT name, parent FROM entry WHERE ino = ?1 LIMIT 1",
	[QUERY_NAME_IN] = "SELECT name FROM entry WHERE parent = ?1 AND ino = ?2 LIMIT 1",
	[QUERY_CONTENT] = "SELECT " CONTENT_COLUMNS " FROM content c WHERE c.content = ?1",
	[QUERY_EACH_CONTENT] = "SELECT " CONTENT_COLUMNS " FROM content c ORDER BY c.content",
	[QUERY_FIND_CONTENT] = "SELECT " CONTENT_COLUMNS " FROM content c WHERE c.digest = ?1",
	[QUERY_EXTENTS] = "SELECT " EXTENT_COLUMNS " "
			  "FROM extent e LEFT JOIN chunk k ON k.chunk = e.chunk "
			  "WHERE e.content = ?1 ORDER BY e.offset",
	/* The first one may begin before the range. */
	[QUERY_EXTENTS_IN] =
		"SELECT " EXTENT_COLUMNS " "
		"FROM extent e LEFT JOIN chunk k ON k.chunk = e.chunk "
		"WHERE e.content = ?1 AND e.offset < ?3 AND e.offset >= ifnull((SELECT max(offset) "
		"FROM extent WHERE content = ?1 AND offset <= ?2), 0) ORDER BY e.offset",
	[QUERY_EACH_CONTENT_OF] = "SELECT " CONTENT_COLUMNS " FROM content c "
				  "WHERE c.content BETWEEN ?1 AND ?2 ORDER BY c.content",
	[QUERY_EACH_EXTENT_OF] = "SELECT e.offset, e.length, e.chunk_offset, e.content, e.chunk "
				 "FROM extent e WHERE e.content BETWEEN ?1 AND ?2 "
				 "ORDER BY e.content, e.offset",
	[QUERY_CHUNK] = "SELECT " CHUNK_COLUMNS " FROM chunk k WHERE k.chunk = ?1",
	[QUERY_CHUNK_EXTENTS] = "SELECT " EXTENT_COLUMNS ", " CONTENT_COLUMNS " "
				"FROM extent e LEFT JOIN chunk k ON k.chunk = e.chunk "
				"LEFT JOIN content c ON c.content = e.content "
				"WHERE e.chunk = ?1 ORDER BY e.content, e.offset",
	[QUERY_EACH_CHUNK] = "SELECT " CHUNK_COLUMNS " FROM chunk k ORDER BY k.chunk",
	[QUERY_XATTR_NAMES] = "SELECT name FROM xattr WHERE ino = ?1 ORDER BY name",
	[QUERY_XATTR] = "SELECT value FROM xattr WHERE ino = ?1 AND name = ?2",
	[QUERY_CHECK] = "PRAGMA integrity_check(1)",
};

static void conn_free(struct index_conn *conn)
{
	for (size_t i = 0; i < N_QUERIES; i++)
		(void)sqlite3_finalize(conn->stmt[i]);
	(void)sqlite3_close(conn->db);
	free(conn);
}
DEFINE_CLEANUP(struct index_conn *, conn_free)

/* Nothing that a file brings along may run or widen what it can do to us. */
static int restrict_conn(sqlite3 *db)
{
	static const int off[] = { SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_ENABLE_TRIGGER,
		                   SQLITE_DBCONFIG_ENABLE_VIEW };
	int rc = sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < sizeof(off) / sizeof(off[0]); i++)
		rc = sqlite3_db_config(db, off[i], 0, NULL);
	(void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
	/*
	 * Any mmap_size makes SQLite ask for pages in place; index_vfs.c has all of
	 * them mapped. cell_size_check stays off: it would go through a whole page at
	 * each visit, where the access itself checks the cell that it reads.
	 */
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db,
		                  "PRAGMA cache_size = -256;"
		                  "PRAGMA mmap_size = 1; PRAGMA temp_store = MEMORY;",
		                  NULL, NULL, NULL);
	return rc;
}

/* Called by SQLite after each slice; ends the query when it returns 1. */
static int over_budget(void *arg)
{
	struct index_conn *conn = arg;

	return ++conn->n_slices > conn->n_slices_max;
}

static int conn_open(const struct index *idx, struct index_conn **ret, struct err *err)
{
	CLEANUP(conn_free) struct index_conn *conn = calloc(1, sizeof(*conn));
	int rc;

	if (!conn)
		return err_set(err, -ENOMEM, "out of memory");
	rc = sqlite3_open_v2("index", &conn->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
	                     idx->file.name);
	if (rc == SQLITE_OK)
		rc = restrict_conn(conn->db);
	if (rc != SQLITE_OK)
		return sqlite_failed(conn->db, rc, err);
	conn->n_slices_max = SLICES_MIN + idx->file.size * OPS_PER_BYTE / OPS_PER_SLICE;
	sqlite3_progress_handler(conn->db, OPS_PER_SLICE, over_budget, conn);
	*ret = TAKE_PTR(conn);
	return 0;
}

static int conn_get(struct index *idx, struct index_conn **ret, struct err *err)
{
	struct index_conn *conn;

	(void)pthread_mutex_lock(&idx->lock);
	conn = idx->idle;
	if (conn)
		idx->idle = conn->next;
	(void)pthread_mutex_unlock(&idx->lock);
	if (!conn)
		return conn_open(idx, ret, err);
	*ret = conn;
	return 0;
}

static void conn_put(struct index *idx, struct index_conn *conn)
{
	(void)pthread_mutex_lock(&idx->lock);
	conn->next = idx->idle;
	idx->idle = conn;
	(void)pthread_mutex_unlock(&idx->lock);
}

/* Set the statement of @q, which has a connection. */
static int take_statement(struct query *q, enum query_id id, struct err *err)
{
	sqlite3_stmt **stmt = &q->conn->stmt[id];
	int rc = SQLITE_OK;

	q->db = q->conn->db;
	if (!*stmt && sql[id])
		rc = sqlite3_prepare_v3(q->db, sql[id], -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
	if (rc != SQLITE_OK)
		return sqlite_failed(q->db, rc, err);
	q->stmt = *stmt;
	return 0;
}

int query_begin(struct index *idx, enum query_id id, struct query *ret, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r;

	q.idx = idx;
	r = conn_get(idx, &q.conn, err);
	if (!q.conn)
		return r;
	q.conn->n_slices = 0;
	r = take_statement(&q, id, err);
	if (r < 0)
		return r;
	*ret = q;
	q.conn = NULL;
	return 0;
}

int query_begin_beside(const struct query *q, enum query_id id, struct query *ret, struct err *err)
{
	*ret = (struct query){ .idx = q->idx, .conn = q->conn };
	return take_statement(ret, id, err);
}

void query_end_beside_cleanup(struct query *q)
{
	(void)sqlite3_reset(q->stmt);
}

int query_step(struct query *q, struct err *err)
{
	int rc = sqlite3_step(q->stmt);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return sqlite_failed(q->db, rc, err);
}

void query_end_cleanup(struct query *q)
{
	if (!q->conn)
		return;
	(void)sqlite3_reset(q->stmt);
	conn_put(q->idx, q->conn);
	q->conn = NULL;
}

void query_bind(struct query *q, int i, uint64_t value)
{
	(void)sqlite3_bind_int64(q->stmt, i, value <= INT64_MAX ? (int64_t)value : INT64_MAX);
}

void query_bind_bytes(struct query *q, int i, const void *data, size_t len)
{
	(void)sqlite3_bind_blob64(q->stmt, i, data, len, SQLITE_STATIC);
}

static void free_all(struct index_conn *conn)
{
	while (conn) {
		struct index_conn *next = conn->next;

		conn_free(conn);
		conn = next;
	}
}

void index_close_connections(struct index *idx)
{
	free_all(idx->idle);
	idx->idle = NULL;
}

void index_trim(struct index *idx)
{
	struct index_conn *surplus = NULL;

	(void)pthread_mutex_lock(&idx->lock);
	if (idx->idle) {
		surplus = idx->idle->next;
		idx->idle->next = NULL;
	}
	(void)pthread_mutex_unlock(&idx->lock);
	free_all(surplus);
	index_file_trim(&idx->file);
}
