/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of a blob are disjoint and do not touch. The lock is the connection's, and is held across
 * SQLite: a transaction has several statements. Nobody waits for it but who writes here, too.
 */
#include "store_db.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

enum {
	APPLICATION_ID = 0x61737464, /* "astd" */
	USER_VERSION = 1,
	BUSY_MS = 5000, /* somebody looks at it from outside */
};

static const char schema[] =
	"PRAGMA application_id = 0x61737464;"
	"PRAGMA user_version = 1;"
	"CREATE TABLE blob (digest BLOB PRIMARY KEY, size INTEGER NOT NULL, used INTEGER NOT NULL)"
	" STRICT, WITHOUT ROWID;"
	"CREATE TABLE fetched (digest BLOB NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,"
	" PRIMARY KEY (digest, start)) STRICT, WITHOUT ROWID;";

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	PUT_BLOB,
	BOUNDS,
	DELETE_TOUCHING,
	PUT_RANGE,
	FORGET_RANGES,
	FORGET_BLOB,
	EACH,
	N_STATEMENTS,
};

static const char *const texts[N_STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT_BLOB] = "INSERT INTO blob VALUES (?1, ?2, ?3)"
		     " ON CONFLICT DO UPDATE SET size = ?2, used = max(used, ?3)",
	[BOUNDS] = "SELECT min(start), max(stop) FROM fetched"
		   " WHERE digest = ?1 AND start <= ?3 AND stop >= ?2",
	[DELETE_TOUCHING] = "DELETE FROM fetched WHERE digest = ?1 AND start <= ?3 AND stop >= ?2",
	[PUT_RANGE] = "INSERT INTO fetched VALUES (?1, ?2, ?3)",
	[FORGET_RANGES] = "DELETE FROM fetched WHERE digest = ?1",
	[FORGET_BLOB] = "DELETE FROM blob WHERE digest = ?1",
	[EACH] = "SELECT digest, size, used, start, stop FROM fetched JOIN blob USING (digest)"
		 " ORDER BY digest, start",
};

struct store_db {
	pthread_mutex_t lock;
	/* under lock */
	sqlite3 *db;                           /* owned */
	sqlite3_stmt *statement[N_STATEMENTS]; /* owned */
};

static int errno_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

static int failed(const struct store_db *db, int rc, struct err *err)
{
	return err_set(err, errno_of(rc), "'" STORE_DB_FILE "': %.150s",
	               db->db ? sqlite3_errmsg(db->db) : sqlite3_errstr(rc));
}

/* The number that PRAGMA @text gives. */
static int64_t pragma_number(sqlite3 *db, const char *text)
{
	sqlite3_stmt *stmt = NULL;
	int64_t n = -1;

	if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		n = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	return n;
}

/* Make the tables of a new database. Returns a code of SQLite; SQLITE_NOTADB for one of somebody else. */
static int check_schema(sqlite3 *db)
{
	int64_t version = pragma_number(db, "PRAGMA user_version");

	if (version == USER_VERSION && pragma_number(db, "PRAGMA application_id") == APPLICATION_ID)
		return SQLITE_OK;
	if (version != 0 || pragma_number(db, "PRAGMA schema_version") != 0)
		return SQLITE_NOTADB;
	return sqlite3_exec(db, schema, NULL, NULL, NULL);
}

static int prepare(struct store_db *db)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; rc == SQLITE_OK && i < N_STATEMENTS; i++)
		rc = sqlite3_prepare_v3(db->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
		                        &db->statement[i], NULL);
	return rc;
}

static void close_connection(struct store_db *db)
{
	for (unsigned i = 0; i < N_STATEMENTS; i++) {
		(void)sqlite3_finalize(db->statement[i]);
		db->statement[i] = NULL;
	}
	(void)sqlite3_close(db->db);
	db->db = NULL;
}

static int open_connection(struct store_db *db, const char *path, struct err *err)
{
	int rc = sqlite3_open_v2(path, &db->db,
	                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	                         NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db->db, BUSY_MS);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;",
		                  NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = check_schema(db->db);
	if (rc == SQLITE_OK)
		rc = prepare(db);
	return rc == SQLITE_OK ? 0 : failed(db, rc, err);
}

static void remove_files(const char *path)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		CLEANUP(free) char *name = NULL;

		if (asprintf(&name, "%s%s", path, suffixes[i]) < 0)
			name = NULL;
		else
			(void)unlink(name);
	}
}

int store_db_open(const char *dir, struct store_db **ret, struct err *err)
{
	CLEANUP(store_db_close) struct store_db *db = calloc(1, sizeof(*db));
	CLEANUP(free) char *path = NULL;
	struct err why = ERR_INIT;
	int r;

	if (!db)
		return err_set(err, -ENOMEM, "out of memory");
	(void)pthread_mutex_init(&db->lock, NULL);
	if (asprintf(&path, "%s/" STORE_DB_FILE, dir) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	r = open_connection(db, path, &why);
	if (r == -EBADMSG) {
		log_warn("the store forgets what it has of packs: %s", why.msg);
		close_connection(db);
		remove_files(path);
		r = open_connection(db, path, &why);
	}
	if (r < 0)
		return err_set(err, r, "%s", why.msg);
	*ret = TAKE_PTR(db);
	return 0;
}

void store_db_close(struct store_db *db)
{
	if (!db)
		return;
	close_connection(db);
	(void)pthread_mutex_destroy(&db->lock);
	free(db);
}

/* Bind a digest, and @n numbers, to statement @which. With the lock held. */
static sqlite3_stmt *bind(struct store_db *db, enum statement which, const struct digest *digest,
                          const uint64_t *numbers, int n)
{
	sqlite3_stmt *stmt = db->statement[which];

	if (digest)
		(void)sqlite3_bind_blob(stmt, 1, digest->bytes, DIGEST_SIZE, SQLITE_TRANSIENT);
	for (int i = 0; i < n; i++)
		(void)sqlite3_bind_int64(stmt, 2 + i, (sqlite3_int64)numbers[i]);
	return stmt;
}

/* Run a statement that gives no rows. With the lock held. Returns a code of SQLite. */
static int run(struct store_db *db, enum statement which, const struct digest *digest,
               const uint64_t *numbers, int n)
{
	sqlite3_stmt *stmt = bind(db, which, digest, numbers, n);
	int rc = sqlite3_step(stmt);

	(void)sqlite3_reset(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int begin(struct store_db *db)
{
	(void)pthread_mutex_lock(&db->lock);
	return run(db, BEGIN, NULL, NULL, 0);
}

/* End what begin() began, with @rc so far. */
static int end(struct store_db *db, int rc, struct err *err)
{
	int r = 0;

	if (rc == SQLITE_OK)
		rc = run(db, COMMIT, NULL, NULL, 0);
	if (rc != SQLITE_OK) {
		r = failed(db, rc, err);
		(void)run(db, ROLLBACK, NULL, NULL, 0);
	}
	(void)pthread_mutex_unlock(&db->lock);
	return r;
}

/* The ends of all ranges that touch [@at[0], @at[1]]; these themselves when there are none. */
static int bounds(struct store_db *db, const struct digest *digest, const uint64_t at[static 2],
                  uint64_t ret[static 2])
{
	sqlite3_stmt *stmt = bind(db, BOUNDS, digest, at, 2);
	int rc = sqlite3_step(stmt);

	ret[0] = at[0];
	ret[1] = at[1];
	if (rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL) {
		ret[0] = (uint64_t)sqlite3_column_int64(stmt, 0);
		ret[1] = (uint64_t)sqlite3_column_int64(stmt, 1);
	}
	(void)sqlite3_reset(stmt);
	return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int store_db_add(struct store_db *db, const struct stored_range *range, struct err *err)
{
	const uint64_t at[2] = { range->start, range->end };
	const uint64_t blob[2] = { range->size, range->used };
	uint64_t merged[2];
	int rc = begin(db);

	if (rc == SQLITE_OK)
		rc = run(db, PUT_BLOB, &range->digest, blob, 2);
	if (rc == SQLITE_OK)
		rc = bounds(db, &range->digest, at, merged);
	if (rc == SQLITE_OK)
		rc = run(db, DELETE_TOUCHING, &range->digest, at, 2);
	if (rc == SQLITE_OK) {
		merged[0] = merged[0] < at[0] ? merged[0] : at[0];
		merged[1] = merged[1] > at[1] ? merged[1] : at[1];
		rc = run(db, PUT_RANGE, &range->digest, merged, 2);
	}
	return end(db, rc, err);
}

int store_db_remove(struct store_db *db, const struct stored_range *range, struct err *err)
{
	const uint64_t at[2] = { range->start, range->end };
	uint64_t all[2] = { range->start, range->end }, left[2], right[2];
	int rc = begin(db);

	if (rc == SQLITE_OK)
		rc = bounds(db, &range->digest, at, all);
	if (rc == SQLITE_OK)
		rc = run(db, DELETE_TOUCHING, &range->digest, at, 2);
	left[0] = all[0];
	left[1] = at[0];
	right[0] = at[1];
	right[1] = all[1];
	if (rc == SQLITE_OK && left[0] < left[1])
		rc = run(db, PUT_RANGE, &range->digest, left, 2);
	if (rc == SQLITE_OK && right[0] < right[1])
		rc = run(db, PUT_RANGE, &range->digest, right, 2);
	return end(db, rc, err);
}

int store_db_forget(struct store_db *db, const struct digest *digest, struct err *err)
{
	int rc = begin(db);

	if (rc == SQLITE_OK)
		rc = run(db, FORGET_RANGES, digest, NULL, 0);
	if (rc == SQLITE_OK)
		rc = run(db, FORGET_BLOB, digest, NULL, 0);
	return end(db, rc, err);
}

/* Returns whether the row makes sense. */
static bool get_row(sqlite3_stmt *stmt, struct stored_range *ret)
{
	if (sqlite3_column_bytes(stmt, 0) != (int)DIGEST_SIZE)
		return false;
	memcpy(ret->digest.bytes, sqlite3_column_blob(stmt, 0), DIGEST_SIZE);
	ret->size = (uint64_t)sqlite3_column_int64(stmt, 1);
	ret->used = (uint64_t)sqlite3_column_int64(stmt, 2);
	ret->start = (uint64_t)sqlite3_column_int64(stmt, 3);
	ret->end = (uint64_t)sqlite3_column_int64(stmt, 4);
	return ret->start < ret->end && ret->end <= ret->size && ret->size <= INT64_MAX;
}

int store_db_each(struct store_db *db, stored_range_fn fn, void *arg, struct err *err)
{
	sqlite3_stmt *stmt;
	struct stored_range range;
	int rc = SQLITE_DONE, r = 0;

	(void)pthread_mutex_lock(&db->lock);
	stmt = db->statement[EACH];
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (get_row(stmt, &range))
			r = fn(arg, &range);
	}
	if (r == 0 && rc != SQLITE_DONE)
		r = failed(db, rc, err);
	(void)sqlite3_reset(stmt);
	(void)pthread_mutex_unlock(&db->lock);
	return r;
}
