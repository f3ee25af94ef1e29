/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store remembers of blobs that come bit by bit, in STORE/store.db: which ranges are there,
 * and when a blob was last used. SQLite, in WAL mode, and not synchronous: after a loss of power it
 * may tell of bytes that never reached the disk, or not tell of some that did. Both show when they are read:
 * every byte is compared with a digest before its first use.
 *
 * Functions may be called from any thread; they take turns.
 */
#pragma once

#include "base/hash.h"

#define STORE_DB_FILE "store.db"

struct store_db;

/* A range of a blob that is there. */
struct stored_range {
	struct digest digest; /* of the blob */
	uint64_t size;        /* of the blob */
	uint64_t used;        /* the larger, the later it was used */
	uint64_t start, end;
};

/*
 * Open the database in directory @dir; one that is damaged or of another version begins anew.
 * Returns 0, -ENOMEM or -errno.
 */
MUST_CHECK int store_db_open(const char *dir, struct store_db **ret, struct err *err);

/* Accepts NULL. */
void store_db_close(struct store_db *db);
DEFINE_CLEANUP(struct store_db *, store_db_close)

/* Returns 0 to go on, or -errno to stop. */
typedef int (*stored_range_fn)(void *arg, const struct stored_range *range);

/* Call @fn for all ranges, those of a blob together. Returns what the last call returned, or -errno. */
MUST_CHECK int store_db_each(struct store_db *db, stored_range_fn fn, void *arg, struct err *err);

/* Remember that @range is there; it may touch others. Returns 0 or -errno. */
MUST_CHECK int store_db_add(struct store_db *db, const struct stored_range *range, struct err *err);

/* Forget the bytes of @range; size and used are ignored. Returns 0 or -errno. */
MUST_CHECK int store_db_remove(struct store_db *db, const struct stored_range *range,
                               struct err *err);

/* Forget all of blob @digest. Returns 0 or -errno. */
MUST_CHECK int store_db_forget(struct store_db *db, const struct digest *digest, struct err *err);
