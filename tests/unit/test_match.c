/* SPDX-License-Identifier: Apache-2.0 */
/* match: what is found is true and much, whatever the windows and views, and costs little. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "match.h"
#include "prng.h"

#define SIZE ((size_t)1 << 20)

enum { MIN = 256 };

struct bytes {
	uint8_t *data; /* owned */
	size_t len;
};

static void bytes_release_cleanup(struct bytes *b)
{
	free(b->data);
}

static struct bytes random_bytes(size_t len, uint64_t seed)
{
	struct bytes b = { malloc(len + 1), len };
	struct prng prng = PRNG_INIT(seed);

	cr_assert_not_null(b.data);
	for (size_t i = 0; i < len; i++)
		b.data[i] = (uint8_t)prng_next(&prng);
	return b;
}

static void append(struct bytes *to, const uint8_t *data, size_t len)
{
	to->data = realloc(to->data, to->len + len + 1);
	cr_assert_not_null(to->data);
	memcpy(to->data + to->len, data, len);
	to->len += len;
}

/* Shows old bytes in views of about @step bytes that begin before what is asked for. */
struct shown {
	const struct bytes *old;
	size_t step;
	struct prng *prng; /* NULL: views are as large as they can be */
	uint8_t *copy;     /* owned; the last view: earlier ones are gone */
	size_t n_calls;
	size_t fail_at; /* the number of the call that fails; 0: none */
};

static void shown_release_cleanup(struct shown *s)
{
	free(s->copy);
}

static int show(void *arg, uint64_t off, struct old_view *ret, struct err *err)
{
	struct shown *s = arg;
	size_t len = s->prng ? 1 + prng_below(s->prng, s->step) : s->step;
	size_t start = (size_t)(s->prng ? off - prng_below(s->prng, off < len ? off + 1 : len)
	                                : off / len * len);

	cr_assert_lt(off, s->old->len);
	if (++s->n_calls == s->fail_at)
		return err_set(err, -EIO, "no view");
	if (len > s->old->len - start)
		len = s->old->len - start;
	free(s->copy);
	s->copy = malloc(len);
	cr_assert_not_null(s->copy);
	memcpy(s->copy, s->old->data + start, len);
	*ret = (struct old_view){ .data = s->copy, .start = start, .len = len };
	return 0;
}

static void check(const struct bytes *old, const struct bytes *new, const struct match *matches,
                  size_t n, uint64_t min)
{
	uint64_t end = 0;

	for (size_t i = 0; i < n; i++) {
		const struct match *m = &matches[i];

		cr_assert(m->len >= min && m->off >= end, "match %zu: %llu bytes at %llu", i,
		          (unsigned long long)m->len, (unsigned long long)m->off);
		end = m->off + m->len;
		cr_assert(end <= new->len && m->len <= old->len && m->old_off <= old->len - m->len);
		cr_assert_arr_eq(new->data + m->off, old->data + m->old_off, m->len);
	}
}

/* Pass @new in windows of up to @window bytes. */
static struct matcher *match(struct shown *s, const struct bytes *new, uint64_t min, size_t window,
                             struct prng *prng)
{
	struct matcher *m = NULL;
	const struct match *matches;
	size_t n;

	cr_assert_eq(matcher_new(s->old->len, show, s, &m, NULL), 0);
	for (size_t off = 0; off < new->len;) {
		size_t len = prng ? 1 + prng_below(prng, window) : window;
		uint8_t *exact;

		if (len > new->len - off)
			len = new->len - off;
		exact = malloc(len);
		cr_assert_not_null(exact);
		memcpy(exact, new->data + off, len);
		off += len;
		cr_assert_eq(matcher_next(m, exact, len, min, off == new->len, NULL), 0);
		free(exact);
	}
	matches = matcher_matches(m, &n);
	check(s->old, new, matches, n, min);
	return m;
}

/* The matches of @new in one window; the caller frees the matcher. */
static struct matcher *match_all(const struct bytes *old, const struct bytes *new)
{
	CLEANUP(shown_release) struct shown s = { .old = old, .step = 64 << 10 };

	return match(&s, new, MIN, new->len, NULL);
}

static uint64_t sum(const struct matcher *m)
{
	size_t n;
	const struct match *matches = matcher_matches(m, &n);
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += matches[i].len;
	return total;
}

static void expect_matches(const struct matcher *m, const struct match *wanted, size_t n_wanted)
{
	size_t n;
	const struct match *matches = matcher_matches(m, &n);

	cr_assert_eq(n, n_wanted, "%zu matches, not %zu", n, n_wanted);
	for (size_t i = 0; i < n; i++)
		cr_expect(matches[i].off == wanted[i].off && matches[i].len == wanted[i].len &&
		                  matches[i].old_off == wanted[i].old_off,
		          "match %zu: %llu bytes at %llu are those at %llu", i,
		          (unsigned long long)matches[i].len, (unsigned long long)matches[i].off,
		          (unsigned long long)matches[i].old_off);
}

#define EXPECT(m, ...)                                             \
	expect_matches((m), (const struct match[]){ __VA_ARGS__ }, \
	               sizeof((const struct match[]){ __VA_ARGS__ }) / sizeof(struct match))

Test(match, equal_bytes_are_one_match)
{
	static const size_t sizes[] = { MIN, 1000, SIZE };

	for (size_t i = 0; i < 3; i++) {
		CLEANUP(bytes_release) struct bytes b = random_bytes(sizes[i], 1);
		CLEANUP(matcher_free) struct matcher *m = match_all(&b, &b);

		EXPECT(m, { 0, sizes[i], 0 });
	}
}

/* New bytes: old ones up to @at, then @n others, then the old ones from @at + @gone on. */
static struct bytes edit(const struct bytes *old, size_t at, size_t n, size_t gone)
{
	CLEANUP(bytes_release) struct bytes other = random_bytes(n, 99);
	struct bytes new = { NULL, 0 };

	/* What is matched ends where it should, not later by chance. */
	if (n > 0 && at < old->len)
		other.data[0] = (uint8_t)~old->data[at];
	if (n > 0 && at + gone > 0)
		other.data[n - 1] = (uint8_t)~old->data[at + gone - 1];
	append(&new, old->data, at);
	append(&new, other.data, n);
	append(&new, old->data + at + gone, old->len - at - gone);
	return new;
}

Test(match, finds_all_but_what_was_inserted)
{
	CLEANUP(bytes_release) struct bytes old = random_bytes(SIZE, 2);
	CLEANUP(bytes_release) struct bytes start = edit(&old, 0, 77, 0);
	CLEANUP(bytes_release) struct bytes middle = edit(&old, SIZE / 3, 5000, 0);
	CLEANUP(bytes_release) struct bytes end = edit(&old, SIZE, 300, 0);
	CLEANUP(matcher_free) struct matcher *a = match_all(&old, &start);
	CLEANUP(matcher_free) struct matcher *b = match_all(&old, &middle);
	CLEANUP(matcher_free) struct matcher *c = match_all(&old, &end);

	EXPECT(a, { 77, SIZE, 0 });
	EXPECT(b, { 0, SIZE / 3, 0 }, { SIZE / 3 + 5000, SIZE - SIZE / 3, SIZE / 3 });
	EXPECT(c, { 0, SIZE, 0 });
}

Test(match, finds_all_around_what_was_deleted)
{
	CLEANUP(bytes_release) struct bytes old = random_bytes(SIZE, 3);
	CLEANUP(bytes_release) struct bytes start = edit(&old, 0, 0, 77);
	CLEANUP(bytes_release) struct bytes middle = edit(&old, SIZE / 2, 0, 5000);
	CLEANUP(bytes_release) struct bytes end = edit(&old, SIZE - 5000, 0, 5000);
	CLEANUP(matcher_free) struct matcher *a = match_all(&old, &start);
	CLEANUP(matcher_free) struct matcher *b = match_all(&old, &middle);
	CLEANUP(matcher_free) struct matcher *c = match_all(&old, &end);
	size_t n;

	EXPECT(a, { 0, SIZE - 77, 77 });
	(void)matcher_matches(b, &n);
	cr_expect_eq(n, 2);
	cr_expect_eq(sum(b), SIZE - 5000);
	EXPECT(c, { 0, SIZE - 5000, 0 });
}

Test(match, finds_blocks_wherever_they_moved)
{
	enum { BLOCKS = 16, BLOCK = SIZE / BLOCKS };
	CLEANUP(bytes_release) struct bytes old = random_bytes(SIZE, 4);
	CLEANUP(bytes_release) struct bytes new = { NULL, 0 };
	CLEANUP(matcher_free) struct matcher *m = NULL;
	size_t n;

	for (size_t i = 0; i < BLOCKS; i++)
		append(&new, old.data + i * 7 % BLOCKS * BLOCK, BLOCK);
	m = match_all(&old, &new);
	(void)matcher_matches(m, &n);
	cr_expect_eq(n, BLOCKS);
	cr_expect_eq(sum(m), SIZE);
}

Test(match, finds_what_is_between_edits_every_few_kib)
{
	CLEANUP(bytes_release) struct bytes old = random_bytes(SIZE, 5);
	CLEANUP(bytes_release) struct bytes in_place = { NULL, 0 }, shifted = { NULL, 0 };
	CLEANUP(matcher_free) struct matcher *a = NULL, *b = NULL;
	struct prng prng = PRNG_INIT(6);
	size_t edits = 0;

	append(&in_place, old.data, SIZE);
	for (size_t at = 0; at < SIZE; edits++) {
		size_t len = 2048 + prng_below(&prng, 4096);
		const uint8_t byte = (uint8_t)prng_next(&prng);

		in_place.data[at] ^= 0x55;
		if (len > SIZE - at)
			len = SIZE - at;
		append(&shifted, &byte, 1);
		append(&shifted, old.data + at, len);
		at += len;
	}
	a = match_all(&old, &in_place);
	b = match_all(&old, &shifted);
	/* A run that has no anchor can be missed when it moved. */
	cr_expect(sum(a) >= SIZE - edits - 2 * (uint64_t)MIN, "%zu edits leave %llu bytes", edits,
	          (unsigned long long)sum(a));
	cr_expect(sum(b) >= SIZE - SIZE / 100, "%zu insertions leave %llu bytes", edits,
	          (unsigned long long)sum(b));
}

Test(match, finds_nothing_in_other_bytes)
{
	CLEANUP(bytes_release) struct bytes old = random_bytes(SIZE, 7);
	CLEANUP(bytes_release) struct bytes new = random_bytes(SIZE, 8);
	CLEANUP(matcher_free) struct matcher *m = match_all(&old, &new);

	expect_matches(m, NULL, 0);
}

/* Old bytes of runs, repeats and noise, and new ones that are pieces of them. */
static void make_pair(struct prng *prng, struct bytes *old, struct bytes *new)
{
	for (size_t pieces = 1 + prng_below(prng, 8); pieces > 0; pieces--) {
		CLEANUP(bytes_release)
		struct bytes piece = random_bytes(1 + prng_below(prng, 4000), prng_next(prng));
		size_t period = prng_below(prng, 3) ? piece.len : 1 + prng_below(prng, 100);

		if (prng_below(prng, 5) == 0)
			memset(piece.data, 0, piece.len);
		for (size_t i = period; i < piece.len; i++)
			piece.data[i] = piece.data[i % period];
		append(old, piece.data, piece.len);
	}
	for (size_t pieces = 1 + prng_below(prng, 8); pieces > 0; pieces--) {
		size_t at = prng_below(prng, old->len);
		CLEANUP(bytes_release)
		struct bytes noise = random_bytes(prng_below(prng, 300), prng_next(prng));

		append(new, old->data + at, 1 + prng_below(prng, old->len - at));
		append(new, noise.data, noise.len);
	}
}

static void compare_windows(uint64_t seed)
{
	struct prng prng = PRNG_INIT(seed);
	CLEANUP(bytes_release) struct bytes old = { NULL, 0 }, new = { NULL, 0 };
	uint64_t min = 1 + prng_below(&prng, 500);

	make_pair(&prng, &old, &new);
	{
		CLEANUP(shown_release) struct shown whole = { .old = &old, .step = old.len };
		CLEANUP(shown_release)
		struct shown views = { .old = &old,
			               .step = 1 + prng_below(&prng, 5000),
			               .prng = &prng };
		size_t window = 1 + prng_below(&prng, prng_below(&prng, 2) ? 100 : new.len);
		CLEANUP(matcher_free) struct matcher *a = match(&whole, &new, min, new.len, NULL);
		CLEANUP(matcher_free) struct matcher *b = match(&views, &new, min, window, &prng);
		size_t n_a, n_b;
		const struct match *matches = matcher_matches(a, &n_a);

		(void)matcher_matches(b, &n_b);
		cr_assert_eq(n_a, n_b, "seed %llu: %zu matches, %zu in windows of %zu",
		             (unsigned long long)seed, n_a, n_b, window);
		expect_matches(b, matches, n_a);
	}
}

Test(match, does_not_depend_on_windows_or_views)
{
	for (uint64_t seed = 1; seed <= 300; seed++)
		compare_windows(seed);
}

Test(match, does_not_depend_on_windows_that_are_far_apart)
{
	/* So much that bytes at hand are let go. */
	CLEANUP(bytes_release) struct bytes old = random_bytes(6 * SIZE, 10);
	CLEANUP(bytes_release) struct bytes first = random_bytes(2 * SIZE, 11);
	CLEANUP(bytes_release) struct bytes new = { NULL, 0 };
	CLEANUP(matcher_free) struct matcher *m = NULL;
	static const size_t windows[] = { 37, 4096, 100000, SIZE };

	append(&new, first.data, first.len);
	append(&new, old.data + SIZE, 3 * SIZE);
	append(&new, first.data, first.len);
	append(&new, old.data, SIZE);
	m = match_all(&old, &new);
	EXPECT(m, { 2 * SIZE, 3 * SIZE, SIZE }, { 7 * SIZE, SIZE, 0 });
	for (size_t i = 0; i < 4; i++) {
		CLEANUP(shown_release) struct shown s = { .old = &old, .step = 4096 };
		CLEANUP(matcher_free)
		struct matcher *other = match(&s, &new, MIN, windows[i], NULL);

		EXPECT(other, { 2 * SIZE, 3 * SIZE, SIZE }, { 7 * SIZE, SIZE, 0 });
	}
}

/* Views that comparing @new with @old takes; those that have to be are not counted. */
static size_t count_views(const struct bytes *old, const struct bytes *new)
{
	enum { VIEW = 4096 };
	CLEANUP(shown_release) struct shown s = { .old = old, .step = VIEW };
	CLEANUP(matcher_free) struct matcher *m = match(&s, new, MIN, new->len, NULL);

	return s.n_calls - old->len / VIEW - (size_t)sum(m) / VIEW;
}

/*
 * New bytes have runs of @period that are too short to match, @len bytes each;
 * old ones have only longer ones of other ends.
 */
static void expect_cheap(size_t period, size_t len, uint64_t seed)
{
	CLEANUP(bytes_release) struct bytes pattern = random_bytes(period, seed);
	CLEANUP(bytes_release) struct bytes old = { NULL, 0 }, new = { NULL, 0 };
	CLEANUP(bytes_release) struct bytes run = { NULL, 0 };
	struct prng prng = PRNG_INIT(seed);
	size_t n_views;

	for (size_t done = 0; done < len; done += period)
		append(&run, pattern.data, period);
	append(&run, pattern.data, 1);
	old.data = malloc(SIZE + run.len);
	new.data = malloc(SIZE + run.len);
	cr_assert(old.data && new.data);
	for (; new.len < SIZE; old.len = new.len += run.len) {
		run.data[run.len - 1] = (uint8_t)prng_next(&prng);
		memcpy(old.data + new.len, run.data, run.len);
		run.data[run.len - 1] = (uint8_t)prng_next(&prng);
		memcpy(new.data + new.len, run.data, run.len);
	}
	n_views = count_views(&old, &new);
	cr_expect(n_views < new.len / 8, "period %zu, runs of %zu: %zu views", period, len,
	          n_views);
}

Test(match, repeated_patterns_do_not_take_quadratic_time)
{
	/* Of the 256 bytes some are an anchor after every byte. */
	for (uint64_t seed = 1; seed <= 64; seed++)
		expect_cheap(1, MIN - 10, seed);
	for (uint64_t seed = 1; seed <= 4; seed++) {
		expect_cheap(2, MIN - 10, seed);
		expect_cheap(100, 200, seed);
		expect_cheap(64, 4 * (size_t)MIN, seed);
	}
}

Test(match, all_zeros_are_one_match)
{
	CLEANUP(bytes_release) struct bytes old = { calloc(1, SIZE), SIZE };
	CLEANUP(bytes_release) struct bytes longer = { calloc(1, 2 * SIZE), 2 * SIZE };
	CLEANUP(matcher_free) struct matcher *a = match_all(&old, &old);
	CLEANUP(matcher_free) struct matcher *b = match_all(&old, &longer);

	EXPECT(a, { 0, SIZE, 0 });
	cr_expect_geq(sum(b), SIZE);
	cr_expect_lt(count_views(&old, &longer), SIZE / 8);
}

Test(match, takes_tiny_inputs)
{
	for (size_t old_len = 1; old_len <= 70; old_len++) {
		CLEANUP(bytes_release) struct bytes old = random_bytes(old_len, 12);

		for (size_t new_len = 1; new_len <= 70; new_len++) {
			CLEANUP(bytes_release) struct bytes new = random_bytes(new_len, 12);
			size_t common = old_len < new_len ? old_len : new_len;
			CLEANUP(shown_release) struct shown s = { .old = &old, .step = 7 };
			CLEANUP(matcher_free)
			struct matcher *m = match(&s, &new, 1, new_len, NULL);

			EXPECT(m, { 0, common, 0 });
		}
	}
}

Test(match, takes_no_new_bytes)
{
	CLEANUP(bytes_release) struct bytes old = random_bytes(100, 13);
	CLEANUP(shown_release) struct shown s = { .old = &old, .step = 100 };
	CLEANUP(matcher_free) struct matcher *m = NULL;

	cr_assert_eq(matcher_new(100, show, &s, &m, NULL), 0);
	cr_assert_eq(matcher_next(m, NULL, 0, MIN, true, NULL), 0);
	expect_matches(m, NULL, 0);
}

Test(match, fails_as_the_view_does)
{
	CLEANUP(bytes_release) struct bytes old = random_bytes(10000, 14);
	size_t n_calls;

	{
		CLEANUP(shown_release) struct shown s = { .old = &old, .step = 1000 };

		matcher_free(match(&s, &old, MIN, 100, NULL));
		n_calls = s.n_calls;
	}
	cr_assert_gt(n_calls, 20);
	for (size_t fail_at = 1; fail_at <= n_calls; fail_at++) {
		CLEANUP(shown_release)
		struct shown s = { .old = &old, .step = 1000, .fail_at = fail_at };
		CLEANUP(matcher_free) struct matcher *m = NULL;
		struct err err = ERR_INIT;
		int r = matcher_new(old.len, show, &s, &m, &err);

		cr_expect_eq(m == NULL, r < 0);
		for (size_t off = 0; r == 0 && off < old.len; off += 100)
			r = matcher_next(m, old.data + off, 100, MIN, off + 100 == old.len, &err);
		cr_expect_eq(r, -EIO, "call %zu of %zu", fail_at, n_calls);
		cr_expect_str_eq(err.msg, "no view");
	}
}
