/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transaction, no journal: an unfinished file is thrown away, never
 * repaired. Tables are made before the rows and indexes after them, so that
 * every B-tree is filled in key order and its pages are full.
 */
#include "index_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "index_internal.h"

enum insert_id {
	INSERT_META,
	INSERT_PACK,
	INSERT_CHUNK,
	INSERT_CONTENT,
	INSERT_EXTENT,
	INSERT_NODE,
	INSERT_ENTRY,
	INSERT_XATTR,
	N_INSERTS,
};

static const char *const inserts[N_INSERTS] = {
	[INSERT_META] = "INSERT INTO meta VALUES (?1, ?2)",
	[INSERT_PACK] = "INSERT INTO pack VALUES (?1, ?2, ?3)",
	[INSERT_CHUNK] = "INSERT INTO chunk VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[INSERT_CONTENT] = "INSERT INTO content VALUES (?1, ?2, ?3)",
	[INSERT_EXTENT] = "INSERT INTO extent VALUES (?1, ?2, ?3, ?4, ?5)",
	[INSERT_NODE] = "INSERT INTO node VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[INSERT_ENTRY] = "INSERT INTO entry VALUES (?1, ?2, ?3, ?4)",
	[INSERT_XATTR] = "INSERT INTO xattr VALUES (?1, ?2, ?3)",
};

struct index_writer {
	sqlite3 *db;                   /* owned */
	sqlite3_stmt *stmt[N_INSERTS]; /* owned */
	uint64_t n[N_INSERTS];         /* rows inserted */
	uint64_t n_files;
	uint64_t bytes;
	uint64_t content_bytes;
};

/* SQLite opens a name that starts with "file:" as a URI, wherever that was compiled in. */
static int open_db(const char *path, sqlite3 **ret, struct err *err)
{
	char *plain = NULL;
	int rc;

	if (path[0] != '/' && path[0] != '.' && asprintf(&plain, "./%s", path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = sqlite3_open_v2(plain ? plain : path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
	                     NULL);
	free(plain);
	if (rc != SQLITE_OK)
		return err_set(err, sqlite_errno(rc), "'%s' could not be opened: %s", path,
		               sqlite3_errstr(rc));
	return 0;
}

static int run(sqlite3 *db, const char *sql, struct err *err)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : sqlite_failed(db, rc, err);
}

static int prepare_db(struct index_writer *w, struct err *err)
{
	char identity[120];
	int r;

	(void)snprintf(identity, sizeof(identity),
	               "PRAGMA application_id = %d; PRAGMA user_version = %d;",
	               FORMAT_APPLICATION_ID, FORMAT_USER_VERSION);
	r = run(w->db,
	        "PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-8'; PRAGMA auto_vacuum = NONE;"
	        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
	        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -8192; BEGIN;",
	        err);
	if (r == 0)
		r = run(w->db, identity, err);
	if (r == 0)
		r = schema_create(w->db, "table", err);
	for (size_t i = 0; r == 0 && i < N_INSERTS; i++) {
		int rc = sqlite3_prepare_v3(w->db, inserts[i], -1, SQLITE_PREPARE_PERSISTENT,
		                            &w->stmt[i], NULL);

		if (rc != SQLITE_OK)
			r = sqlite_failed(w->db, rc, err);
	}
	return r;
}

int index_writer_open(const char *path, struct index_writer **ret, struct err *err)
{
	CLEANUP(index_writer_free) struct index_writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	r = open_db(path, &w->db, err);
	if (r == 0)
		r = prepare_db(w, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

/* Insert the row that was bound. */
static int insert(struct index_writer *w, enum insert_id id, struct err *err)
{
	int rc = sqlite3_step(w->stmt[id]);

	(void)sqlite3_reset(w->stmt[id]);
	(void)sqlite3_clear_bindings(w->stmt[id]);
	if (rc != SQLITE_DONE)
		return sqlite_failed(w->db, rc, err);
	w->n[id]++;
	return 0;
}

/*
 * Binding can fail for want of memory only where SQLite copies, which it does
 * not do here: bytes are borrowed until insert().
 */
static void bind(sqlite3_stmt *stmt, int i, uint64_t value)
{
	(void)sqlite3_bind_int64(stmt, i, (int64_t)value);
}

static void bind_blob(sqlite3_stmt *stmt, int i, const void *data, size_t len)
{
	/* A NULL pointer would become NULL, which is not the empty blob. */
	(void)sqlite3_bind_blob64(stmt, i, data ? data : "", len, SQLITE_STATIC);
}

int index_writer_pack(struct index_writer *w, uint32_t pack, const struct pack_info *info,
                      struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_PACK];

	bind(stmt, 1, pack);
	bind_blob(stmt, 2, info->digest.bytes, DIGEST_SIZE);
	bind(stmt, 3, info->size);
	return insert(w, INSERT_PACK, err);
}

int index_writer_chunk(struct index_writer *w, const struct chunk *chunk, struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_CHUNK];

	bind(stmt, 1, chunk->id);
	bind_blob(stmt, 2, chunk->digest.bytes, DIGEST_SIZE);
	bind(stmt, 3, chunk->pack);
	bind(stmt, 4, chunk->frame_off);
	bind(stmt, 5, chunk->frame_size);
	bind(stmt, 6, chunk->size);
	return insert(w, INSERT_CHUNK, err);
}

int index_writer_content(struct index_writer *w, const struct content *content, struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_CONTENT];

	bind(stmt, 1, content->id);
	bind_blob(stmt, 2, content->digest.bytes, DIGEST_SIZE);
	bind(stmt, 3, content->size);
	w->content_bytes += content->size;
	return insert(w, INSERT_CONTENT, err);
}

int index_writer_extent(struct index_writer *w, const struct extent *extent, struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_EXTENT];

	bind(stmt, 1, extent->content);
	bind(stmt, 2, extent->off);
	bind(stmt, 3, extent->len);
	bind(stmt, 4, extent->chunk.id);
	bind(stmt, 5, extent->chunk_off);
	return insert(w, INSERT_EXTENT, err);
}

int index_writer_node(struct index_writer *w, const struct node *node, const char *target,
                      struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_NODE];

	bind(stmt, 1, node->ino);
	bind(stmt, 2, node->mode);
	bind(stmt, 3, node->nlink);
	bind(stmt, 4, node->uid);
	bind(stmt, 5, node->gid);
	bind(stmt, 6, (uint64_t)node->mtime_s);
	bind(stmt, 7, node->mtime_ns);
	bind(stmt, 8, node->size);
	if (node->content != 0)
		bind(stmt, 9, node->content);
	if (target)
		bind_blob(stmt, 10, target, strlen(target));
	if (S_ISREG(node->mode)) {
		w->n_files++;
		w->bytes += node->size;
	}
	return insert(w, INSERT_NODE, err);
}

int index_writer_entry(struct index_writer *w, uint64_t parent, uint64_t seq, const char *name,
                       uint64_t ino, struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_ENTRY];

	bind(stmt, 1, parent);
	bind_blob(stmt, 2, name, strlen(name));
	bind(stmt, 3, ino);
	bind(stmt, 4, seq);
	return insert(w, INSERT_ENTRY, err);
}

int index_writer_xattr(struct index_writer *w, uint64_t ino, const char *name, const void *value,
                       size_t len, struct err *err)
{
	sqlite3_stmt *stmt = w->stmt[INSERT_XATTR];

	bind(stmt, 1, ino);
	bind_blob(stmt, 2, name, strlen(name));
	bind_blob(stmt, 3, value, len);
	return insert(w, INSERT_XATTR, err);
}

static int write_meta(struct index_writer *w, struct err *err)
{
	/* In order of the key, like every table. */
	const struct {
		const char *key;
		uint64_t value;
	} metas[] = {
		{ "bytes", w->bytes },
		{ "chunks", w->n[INSERT_CHUNK] },
		{ "compat", 0 },
		{ "content_bytes", w->content_bytes },
		{ "contents", w->n[INSERT_CONTENT] },
		{ "files", w->n_files },
		{ "incompat", 0 },
		{ "nodes", w->n[INSERT_NODE] },
		{ "xattrs", w->n[INSERT_XATTR] },
	};

	for (size_t i = 0; i < sizeof(metas) / sizeof(metas[0]); i++) {
		int r;

		(void)sqlite3_bind_text(w->stmt[INSERT_META], 1, metas[i].key, -1, SQLITE_STATIC);
		bind(w->stmt[INSERT_META], 2, metas[i].value);
		r = insert(w, INSERT_META, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void finalize_inserts(struct index_writer *w)
{
	for (size_t i = 0; i < N_INSERTS; i++) {
		(void)sqlite3_finalize(w->stmt[i]);
		w->stmt[i] = NULL;
	}
}

int index_writer_finish(struct index_writer *w, struct err *err)
{
	int rc;
	int r = write_meta(w, err);

	finalize_inserts(w);
	if (r == 0)
		r = schema_create(w->db, "index", err);
	if (r == 0)
		r = run(w->db, "COMMIT", err);
	if (r < 0)
		return r;
	rc = sqlite3_close(w->db);
	w->db = NULL;
	return rc == SQLITE_OK ? 0 : sqlite_failed(NULL, rc, err);
}

void index_writer_free(struct index_writer *w)
{
	if (!w)
		return;
	finalize_inserts(w);
	(void)sqlite3_close(w->db);
	free(w);
}
