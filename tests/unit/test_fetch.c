/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "far_blob.h"
#include "stats.h"

#define MIB ((uint64_t)1 << 20)

/* A store with blobs, of which there may be several one after another. */
struct bench {
	char path[48];
	char blobs[64];
	int dir; /* of blobs */
	struct stats *stats;
	struct store_db *db;
	struct fetch *fetch;
	struct far_place place;
	struct origin *origin;
	bool again; /* what was damaged may be had from others */
	unsigned timeout_s; /* far above what a busy machine takes; less where somebody is to wait in vain */
};

static void open_bench(struct bench *b, uint64_t size, uint64_t rate)
{
	struct fetch_config config = { .size = size, .rate = rate, .timeout_s = b->timeout_s };
	const struct fetch_from from = far_from(&b->place);
	struct err err = ERR_INIT;

	cr_assert_eq(store_db_open(b->path, &b->db, &err), 0, "%s", err.msg);
	config.dir = b->blobs;
	config.db = b->db;
	config.stats = b->stats;
	cr_assert_eq(fetch_new(&config, &b->fetch, &err), 0, "%s", err.msg);
	b->origin = origin_new(b->fetch, &from);
	cr_assert_not_null(b->origin);
}

static void close_bench(struct bench *b)
{
	origin_unref(b->origin);
	cr_assert(fetch_stop(b->fetch));
	fetch_free(b->fetch);
	store_db_close(b->db);
}

static void set_up(struct bench *b, uint64_t size, uint64_t rate)
{
	*b = (struct bench){ .path = "/tmp/test-fetch.XXXXXX", .timeout_s = 600 };
	cr_assert_not_null(mkdtemp(b->path));
	(void)snprintf(b->blobs, sizeof(b->blobs), "%s/blobs", b->path);
	cr_assert_eq(mkdir(b->blobs, 0755), 0);
	b->dir = open(b->blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(b->dir, 0);
	b->stats = stats_private();
	cr_assert_not_null(b->stats);
	open_bench(b, size, rate);
}

static void tear_down(struct bench *b)
{
	char command[80];

	close_bench(b);
	stats_close(b->stats);
	(void)close(b->dir);
	(void)snprintf(command, sizeof(command), "rm -r '%s'", b->path);
	/* One thread is left. NOLINTNEXTLINE(concurrency-mt-unsafe,cert-env33-c) */
	cr_assert_eq(system(command), 0);
}

static uint64_t given(const struct bench *b)
{
	return __atomic_load_n(&b->place.n_bytes, __ATOMIC_RELAXED);
}

static uint64_t count(const struct bench *b, enum stat_counter which)
{
	return stats_get(b->stats, which);
}

/* Hold a range, look at its bytes, give it back. */
static int look(struct bench *b, const struct descriptor *d, uint64_t off, uint64_t len)
{
	struct pack_hold hold = { .range = { .off = off, .len = len } };
	struct err err = ERR_INIT;
	int wrong;
	int r = fetch_hold(b->origin, d, &hold, &err);

	if (r < 0) {
		cr_assert_eq(err.code, r);
		cr_assert_str_not_empty(err.msg);
		return r;
	}
	wrong = far_wrong_bytes(b->dir, d, off, len);
	b->again = fetch_release(b->origin, d, &hold, /* damaged= */ wrong != 0);
	return wrong == 0 ? 0 : -EBADMSG;
}

Test(fetch, only_what_is_wanted_comes_and_once)
{
	const struct descriptor d = far_blob(1, 10 * MIB);
	struct bench b;

	set_up(&b, 0, 0);
	cr_assert_eq(look(&b, &d, 5 * MIB, 1000), 0);
	cr_assert_eq(given(&b), 1000);
	cr_assert_eq(look(&b, &d, 5 * MIB, 1000), 0);
	cr_assert_eq(given(&b), 1000);
	cr_assert_eq(count(&b, STAT_FETCH_REQUESTS), 2);
	cr_assert_eq(count(&b, STAT_FETCH_HITS), 1);
	cr_assert_eq(count(&b, STAT_BYTES_FETCHED), 1000);
	tear_down(&b);
}

Test(fetch, who_reads_in_order_needs_few_transfers)
{
	const struct descriptor d = far_blob(2, 16 * MIB);
	struct bench b;

	set_up(&b, 0, 0);
	for (uint64_t off = 0; off < d.size; off += 65536)
		cr_assert_eq(look(&b, &d, off, 65536), 0);
	cr_assert_eq(given(&b), d.size);
	cr_assert_lt(b.place.n_reads, 40);
	tear_down(&b);
}

/* What is ahead of a reader is never more than what it has read. */
Test(fetch, a_jump_costs_no_more_than_what_was_read)
{
	const struct descriptor d = far_blob(3, 64 * MIB);
	struct bench b;

	set_up(&b, 0, 0);
	for (uint64_t i = 0; i < 8; i++) {
		cr_assert_eq(look(&b, &d, i * 8 * MIB, 65536), 0);
		cr_assert_eq(look(&b, &d, i * 8 * MIB + 65536, 65536), 0);
	}
	tear_down(&b);
	cr_assert_leq(given(&b), (uint64_t)2 * 8 * 2 * 65536);
}

Test(fetch, what_came_is_there_after_a_restart)
{
	const struct descriptor d = far_blob(4, 3 * MIB);
	struct bench b;

	set_up(&b, 0, 0);
	cr_assert_eq(look(&b, &d, 0, MIB), 0);
	cr_assert_eq(look(&b, &d, 2 * MIB + 5, 1000), 0);
	close_bench(&b);
	b.timeout_s = 1;
	open_bench(&b, 0, 0);
	b.place.is_down = true;
	cr_assert_eq(look(&b, &d, 0, MIB), 0);
	cr_assert_eq(look(&b, &d, 2 * MIB + 5, 1000), 0);
	cr_assert_eq(look(&b, &d, 2 * MIB, 1000), -ETIMEDOUT);
	tear_down(&b);
}

Test(fetch, files_that_nobody_knows_are_removed_and_lost_ones_come_again)
{
	const struct descriptor d = far_blob(5, 1000);
	char hex[DIGEST_HEX_SIZE];
	struct bench b;

	set_up(&b, 0, 0);
	cr_assert_eq(look(&b, &d, 0, 1000), 0);
	close_bench(&b);
	cr_assert_eq(renameat(b.dir, digest_hex(&d.digest, hex), b.dir, "other"), 0);
	open_bench(&b, 0, 0);
	cr_assert_eq(faccessat(b.dir, "other", F_OK, 0), -1);
	cr_assert_eq(look(&b, &d, 0, 1000), 0);
	cr_assert_eq(given(&b), 2000);
	tear_down(&b);
}

Test(fetch, a_transfer_that_breaks_goes_on_where_it_was)
{
	const struct descriptor d = far_blob(6, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	b.place.n_failures = 2;
	cr_assert_eq(look(&b, &d, 0, MIB), 0);
	cr_assert_eq(given(&b), MIB);
	cr_assert_eq(count(&b, STAT_FETCH_ERRORS), 2);
	tear_down(&b);
}

Test(fetch, who_waits_in_vain_gets_an_error_until_it_is_well_again)
{
	const struct descriptor d = far_blob(7, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	close_bench(&b);
	b.timeout_s = 1;
	open_bench(&b, 0, 0);
	b.place.is_down = true;
	cr_assert_eq(look(&b, &d, 0, 1000), -ETIMEDOUT);
	cr_assert_eq(count(&b, STAT_FETCH_TIMEOUTS), 1);
	__atomic_store_n(&b.place.is_down, false, __ATOMIC_RELAXED);
	/* The next try may be some seconds away. */
	while (look(&b, &d, 0, 1000) != 0)
		(void)usleep(1000);
	tear_down(&b);
}

/* The time is that without a byte. */
Test(fetch, who_gets_something_is_patient)
{
	const struct descriptor d = far_blob(20, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	close_bench(&b);
	b.timeout_s = 4;
	b.place.step_us = 150000;
	open_bench(&b, 0, 0);
	cr_assert_eq(look(&b, &d, 0, MIB / 4), 0);
	cr_assert_eq(count(&b, STAT_FETCHES), 1);
	tear_down(&b);
}

Test(fetch, what_is_missing_is_not_waited_for)
{
	const struct descriptor d = far_blob(8, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	b.place.is_missing = true;
	cr_assert_eq(look(&b, &d, 0, 1000), -ENOENT);
	cr_assert_eq(b.place.n_reads, 1);
	tear_down(&b);
}

Test(fetch, wrong_bytes_come_again)
{
	const struct descriptor d = far_blob(9, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	b.place.n_lies = 1;
	cr_assert_eq(look(&b, &d, 500, 1000), -EBADMSG);
	cr_assert(b.again);
	cr_assert_eq(count(&b, STAT_FETCH_DAMAGED), 1);
	cr_assert_eq(look(&b, &d, 500, 1000), 0);
	tear_down(&b);
}

static unsigned asked(const struct bench *b, unsigned source)
{
	return __atomic_load_n(&b->place.asked[source], __ATOMIC_RELAXED);
}

/* As look(), until the bytes are right or nobody has others. */
static int look_on(struct bench *b, const struct descriptor *d, uint64_t off, uint64_t len)
{
	int r;

	do
		r = look(b, d, off, len);
	while (r == -EBADMSG && b->again);
	return r;
}

Test(fetch, wrong_bytes_come_from_the_next_source_and_no_more_from_the_first)
{
	const struct descriptor d = far_blob(9, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	b.place.n_sources = 3;
	b.place.liars = 1 | 2;
	cr_assert_eq(look_on(&b, &d, FAR_MARK, 1000), 0);
	cr_assert_eq(count(&b, STAT_FETCH_DAMAGED), 2);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(asked(&b, i), 1);
	tear_down(&b);
}

Test(fetch, who_lies_about_some_bytes_gives_the_others)
{
	const struct descriptor d = far_blob(9, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	b.place.n_sources = 2;
	b.place.liars = 1;
	cr_assert_eq(look(&b, &d, FAR_MARK, 1000), -EBADMSG);
	cr_assert_eq(look(&b, &d, 0, (uint64_t)2 * FAR_MARK), -EBADMSG);
	cr_assert_eq(look(&b, &d, 0, FAR_MARK + 1000), 0);
	cr_assert_eq(asked(&b, 0), 1);
	cr_assert_eq(asked(&b, 1), 2);
	tear_down(&b);
}

Test(fetch, when_all_are_wrong_nobody_is_asked_for_a_moment)
{
	const struct descriptor d = far_blob(9, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	b.place.n_sources = 2;
	b.place.liars = 3;
	cr_assert_eq(look_on(&b, &d, FAR_MARK, 1000), -EBADMSG);
	cr_assert_not(b.again);
	/* The last one twice. */
	cr_assert_eq(asked(&b, 0), 1);
	cr_assert_eq(asked(&b, 1), 2);
	cr_assert_eq(count(&b, STAT_FETCH_ERRORS), 0);
	/* The rest can be had. */
	cr_assert_eq(look_on(&b, &d, 0, 1000), 0);
	b.place.liars = 0;
	while (look_on(&b, &d, FAR_MARK, 1000) < 0)
		cr_assert_eq(asked(&b, 1), 2);
	cr_assert_eq(asked(&b, 0), 2);
	tear_down(&b);
}

/* Who finds out late that bytes were damaged does not blame who gave the right ones meanwhile. */
Test(fetch, damage_that_is_known_is_nobodys)
{
	const struct descriptor d = far_blob(9, MIB);
	struct pack_hold early = { .range = { .off = FAR_MARK, .len = 1000 } };
	struct err err = ERR_INIT;
	struct bench b;

	set_up(&b, 0, 0);
	b.place.n_sources = 2;
	b.place.liars = 1;
	cr_assert_eq(fetch_hold(b.origin, &d, &early, &err), 0, "%s", err.msg);
	cr_assert_eq(look_on(&b, &d, FAR_MARK, 1000), 0);
	cr_assert(fetch_release(b.origin, &d, &early, /* damaged= */ true));
	cr_assert_eq(count(&b, STAT_FETCH_DAMAGED), 1);
	cr_assert_eq(look(&b, &d, FAR_MARK, 1000), 0);
	cr_assert_eq(asked(&b, 1), 1);
	tear_down(&b);
}

static uint64_t lacks(const struct bench *b, const struct descriptor *d, uint64_t off, uint64_t len)
{
	const struct blob_range range = { .off = off, .len = len };

	return fetch_lacks(b->origin, d, &range);
}

Test(fetch, what_is_lacking_is_counted_and_not_fetched)
{
	const struct descriptor d = far_blob(11, MIB);
	struct descriptor longer = d;
	struct bench b;

	set_up(&b, 0, 0);
	cr_assert_eq(lacks(&b, &d, 0, d.size), d.size);
	cr_assert_eq(look(&b, &d, 5000, 1000), 0);
	cr_assert_eq(look(&b, &d, 500000, 1000), 0);
	cr_assert_eq(lacks(&b, &d, 5500, 1000), 500);
	cr_assert_eq(lacks(&b, &d, 5000, 1000), 0);
	cr_assert_eq(lacks(&b, &d, 4000, 500000), 498000);
	cr_assert_eq(lacks(&b, &d, 0, 0), 0);
	longer.size++;
	cr_assert_eq(lacks(&b, &longer, 5000, 1000), 1000);
	cr_assert_eq(given(&b), 2000);
	tear_down(&b);
}

Test(fetch, nobody_waits_after_a_cancel)
{
	const struct descriptor d = far_blob(10, MIB);
	struct bench b;

	set_up(&b, 0, 0);
	cr_assert_eq(look(&b, &d, 0, 1000), 0);
	origin_cancel(b.origin);
	cr_assert_eq(look(&b, &d, 0, 1000), 0);
	cr_assert_eq(look(&b, &d, 5000, 1000), -ECANCELED);
	tear_down(&b);
	cr_assert_eq(b.place.released, 1);
}

/* What is too much leaves when its flight has landed. */
static void wait_for_room(const struct bench *b)
{
	struct fetch_usage usage;

	for (fetch_usage(b->fetch, &usage); usage.used > usage.size; fetch_usage(b->fetch, &usage))
		(void)usleep(1000);
}

Test(fetch, what_was_not_used_for_longest_leaves)
{
	const struct descriptor a = far_blob(11, 4 * MIB), b2 = far_blob(12, 4 * MIB),
				c = far_blob(13, 4 * MIB);
	struct bench b;

	set_up(&b, 9 * MIB, 0);
	cr_assert_eq(look(&b, &a, 0, 4 * MIB), 0);
	cr_assert_eq(look(&b, &b2, 0, 4 * MIB), 0);
	cr_assert_eq(look(&b, &a, 0, 1000), 0);
	cr_assert_eq(look(&b, &c, 0, 4 * MIB), 0);
	wait_for_room(&b);
	cr_assert_eq(look(&b, &a, 0, 4 * MIB), 0);
	cr_assert_eq(given(&b), 12 * MIB);
	cr_assert_eq(look(&b, &b2, 0, 4 * MIB), 0);
	cr_assert_eq(given(&b), 16 * MIB);
	tear_down(&b);
}

Test(fetch, what_an_image_needs_leaves_last)
{
	const struct descriptor a = far_blob(14, 4 * MIB), b2 = far_blob(15, 4 * MIB),
				c = far_blob(16, 4 * MIB);
	struct bench b;

	set_up(&b, 9 * MIB, 0);
	cr_assert_eq(origin_needs(b.origin, &a, 1, 1), 0);
	cr_assert_eq(look(&b, &a, 0, 4 * MIB), 0);
	cr_assert_eq(look(&b, &b2, 0, 4 * MIB), 0);
	cr_assert_eq(look(&b, &c, 0, 4 * MIB), 0);
	wait_for_room(&b);
	cr_assert_eq(look(&b, &a, 0, 4 * MIB), 0);
	cr_assert_eq(given(&b), 12 * MIB);
	tear_down(&b);
}

Test(fetch, the_rest_comes_in_the_background)
{
	const struct descriptor packs[] = { far_blob(17, 3 * MIB), far_blob(18, 2 * MIB + 77) };
	struct fetch_usage usage;
	struct bench b;

	set_up(&b, 0, 1024 * MIB);
	b.place.n_failures = 1;
	cr_assert_eq(origin_needs(b.origin, packs, 2, 2), 0);
	for (fetch_usage(b.fetch, &usage); usage.used < packs[0].size + packs[1].size;
	     fetch_usage(b.fetch, &usage))
		(void)usleep(1000);
	b.place.is_down = true;
	cr_assert_eq(look(&b, &packs[0], 0, packs[0].size), 0);
	cr_assert_eq(look(&b, &packs[1], 0, packs[1].size), 0);
	cr_assert_eq(given(&b), usage.used);
	tear_down(&b);
}

Test(fetch, bytes_that_came_by_other_ways_are_there)
{
	struct descriptor d = far_blob(19, 100);
	struct err err = ERR_INIT;
	uint8_t bytes[100];
	struct bench b;

	for (uint64_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = far_byte(19, i);
	set_up(&b, 0, 0);
	cr_assert_eq(fetch_put(b.fetch, &d.digest, bytes, sizeof(bytes), &err), 0, "%s", err.msg);
	cr_assert_eq(look(&b, &d, 0, 100), 0);
	cr_assert_eq(given(&b), 0);
	tear_down(&b);
}
