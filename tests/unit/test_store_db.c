/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "ranges.h"
#include "store_db.h"

enum { SPACE = 64 };

static char path[] = "/tmp/test-store-db.XXXXXX";

static struct store_db *open_db(void)
{
	struct err err = ERR_INIT;
	struct store_db *db;

	cr_assert_eq(store_db_open(path, &db, &err), 0, "%s", err.msg);
	return db;
}

static void set_up(void)
{
	cr_assert_not_null(mkdtemp(path));
}

static void tear_down(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r '%s'", path);
	/* The only thread. NOLINTNEXTLINE(concurrency-mt-unsafe,cert-env33-c) */
	cr_assert_eq(system(command), 0);
}

static struct stored_range range_of(uint8_t name, uint64_t start, uint64_t end)
{
	struct stored_range range = { .size = SPACE, .used = 7, .start = start, .end = end };

	memset(range.digest.bytes, name, sizeof(range.digest.bytes));
	return range;
}

/* What the database has of one blob. */
struct found {
	struct digest digest;
	struct ranges ranges;
	size_t n;
};

static int note_range(void *arg, const struct stored_range *range)
{
	struct found *found = arg;

	if (!digest_equal(&range->digest, &found->digest))
		return 0;
	cr_assert_eq(range->size, SPACE);
	cr_assert_eq(range->used, 7);
	found->n++;
	return ranges_add(&found->ranges, range->start, range->end);
}

static void load(struct store_db *db, uint8_t name, struct found *ret)
{
	*ret = (struct found){ .digest = range_of(name, 0, 0).digest };
	cr_assert_eq(store_db_each(db, note_range, ret, NULL), 0);
	/* None touch. */
	cr_assert_eq(ret->n, ret->ranges.n);
}

/* The same as a set of ranges in memory, over restarts, whatever happens. */
Test(store_db, behaves_like_a_set_of_ranges, .init = set_up, .fini = tear_down)
{
	struct store_db *db = open_db();
	struct ranges model = RANGES_INIT;
	const struct stored_range other = range_of(2, 3, 30);

	cr_assert_eq(store_db_add(db, &other, NULL), 0);
	srandom(1);
	for (int i = 0; i < 300; i++) {
		uint64_t start = (uint64_t)random() % SPACE;
		uint64_t end = start + 1 + (uint64_t)random() % 8;
		struct stored_range range = range_of(1, start, end < SPACE ? end : SPACE);
		struct found found;

		if (random() % 2 == 0) {
			cr_assert_eq(store_db_add(db, &range, NULL), 0);
			cr_assert_eq(ranges_add(&model, range.start, range.end), 0);
		} else {
			cr_assert_eq(store_db_remove(db, &range, NULL), 0);
			cr_assert_eq(ranges_remove(&model, range.start, range.end), 0);
		}
		if (i % 50 == 0) {
			store_db_close(db);
			db = open_db();
		}
		load(db, 1, &found);
		cr_assert_eq(found.ranges.n, model.n);
		cr_assert(model.n == 0 || memcmp(found.ranges.range, model.range,
		                                 model.n * sizeof(model.range[0])) == 0);
		ranges_release(&found.ranges);
	}
	ranges_release(&model);
	store_db_close(db);
}

Test(store_db, a_blob_that_is_forgotten_has_nothing, .init = set_up, .fini = tear_down)
{
	struct store_db *db = open_db();
	const struct stored_range a = range_of(1, 0, 5), b = range_of(2, 0, 5);
	struct found found;

	cr_assert_eq(store_db_add(db, &a, NULL), 0);
	cr_assert_eq(store_db_add(db, &b, NULL), 0);
	cr_assert_eq(store_db_forget(db, &a.digest, NULL), 0);
	load(db, 1, &found);
	cr_assert_eq(found.n, 0);
	load(db, 2, &found);
	cr_assert_eq(found.n, 1);
	ranges_release(&found.ranges);
	store_db_close(db);
}

Test(store_db, one_that_is_damaged_begins_anew, .init = set_up, .fini = tear_down)
{
	const struct stored_range a = range_of(1, 0, 5);
	struct store_db *db = open_db();
	struct found found;
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cr_assert_eq(store_db_add(db, &a, NULL), 0);
	store_db_close(db);
	cr_assert_eq(io_publish_bytes(dir, STORE_DB_FILE, "no database, but some text", 26, 0644,
	                              NULL),
	             0);
	(void)close(dir);
	db = open_db();
	load(db, 1, &found);
	cr_assert_eq(found.n, 0);
	cr_assert_eq(store_db_add(db, &a, NULL), 0);
	store_db_close(db);
}
