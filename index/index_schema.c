/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema, made and compared. Both sides of the comparison come from SQLite
 * itself, so that it does not matter how a version of it stores the text.
 */
#include "index_internal.h"

#include <errno.h>

#include "plain.h"

static const char index_schema[] =
#include "schema.sql.inc"
	;

int sqlite_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_TOOBIG:
	case SQLITE_ERROR:
	case SQLITE_SCHEMA:
	case SQLITE_INTERRUPT: /* over_budget() */
		return -EBADMSG;
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_MISUSE:
	case SQLITE_RANGE:
		return -EINVAL;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

int sqlite_failed(sqlite3 *db, int rc, struct err *err)
{
	const char *reason = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
	int code = sqlite_errno(rc);

	/* SQLite quotes the file, which may say anything. */
	return err_set(err, code, "index %s: %.*s", code == -EBADMSG ? "is damaged" : "failed",
	               plain_len(reason), reason);
}

/* A database in memory with nothing but the schema. */
static int open_model(sqlite3 **ret, struct err *err)
{
	CLEANUP(sqlite3_close) sqlite3 *model = NULL;
	int rc = sqlite3_open_v2(":memory:", &model,
	                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	                         NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(model, index_schema, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return sqlite_failed(model, rc, err);
	*ret = TAKE_PTR(model);
	return 0;
}

int schema_create(sqlite3 *db, struct err *err)
{
	CLEANUP(sqlite3_close) sqlite3 *model = NULL;
	CLEANUP(sqlite3_finalize) sqlite3_stmt *stmt = NULL;
	int rc;
	int r = open_model(&model, err);

	if (r < 0)
		return r;
	rc = sqlite3_prepare_v2(model,
	                        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL "
	                        "ORDER BY type = 'index', rowid",
	                        -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	for (; rc == SQLITE_ROW; rc = sqlite3_step(stmt)) {
		const char *sql = (const char *)sqlite3_column_text(stmt, 0);

		rc = sql ? sqlite3_exec(db, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
		if (rc != SQLITE_OK)
			return sqlite_failed(db, rc, err);
	}
	return rc == SQLITE_DONE ? 0 : sqlite_failed(model, rc, err);
}

/* Find object @want's row in @db and compare it, column by column. */
static int check_object(sqlite3_stmt *find, sqlite3_stmt *want, struct err *err)
{
	const char *name = (const char *)sqlite3_column_text(want, 0);
	int rc;

	if (!name)
		return err_set(err, -ENOMEM, "out of memory");
	(void)sqlite3_reset(find);
	for (int i = 0; i < 4; i++) {
		if (sqlite3_bind_value(find, i + 1, sqlite3_column_value(want, i)) != SQLITE_OK)
			return err_set(err, -ENOMEM, "out of memory");
	}
	rc = sqlite3_step(find);
	if (rc == SQLITE_ROW)
		return 0;
	if (rc != SQLITE_DONE)
		return sqlite_failed(sqlite3_db_handle(find), rc, err);
	return err_set(err, -EBADMSG, "table or index '%s' is missing or is not the format's",
	               name);
}

/* Views and triggers could answer a query with anything. */
static int check_kinds(sqlite3 *db, struct err *err)
{
	CLEANUP(sqlite3_finalize) sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db,
	                            "SELECT 1 FROM sqlite_schema "
	                            "WHERE type NOT IN ('table', 'index') LIMIT 1",
	                            -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc == SQLITE_ROW)
		return err_set(err, -EBADMSG, "has a view or a trigger");
	return sqlite_failed(db, rc, err);
}

static int compare_schema(sqlite3 *db, sqlite3 *model, struct err *err)
{
	CLEANUP(sqlite3_finalize) sqlite3_stmt *want = NULL;
	CLEANUP(sqlite3_finalize) sqlite3_stmt *find = NULL;
	int rc;
	int r;

	if (sqlite3_prepare_v2(model, "SELECT name, type, tbl_name, sql FROM sqlite_schema", -1,
	                       &want, NULL) != SQLITE_OK)
		return sqlite_failed(model, sqlite3_errcode(model), err);
	rc = sqlite3_prepare_v2(db,
	                        "SELECT 1 FROM sqlite_schema WHERE name = ?1 AND type = ?2 "
	                        "AND tbl_name = ?3 AND sql IS ?4",
	                        -1, &find, NULL);
	if (rc != SQLITE_OK)
		return sqlite_failed(db, rc, err);
	while ((rc = sqlite3_step(want)) == SQLITE_ROW) {
		r = check_object(find, want, err);
		if (r < 0)
			return r;
	}
	return rc == SQLITE_DONE ? 0 : sqlite_failed(model, rc, err);
}

int schema_check(sqlite3 *db, struct err *err)
{
	CLEANUP(sqlite3_close) sqlite3 *model = NULL;
	int r = open_model(&model, err);

	if (r == 0)
		r = compare_schema(db, model, err);
	if (r == 0)
		r = check_kinds(db, err);
	return r;
}
