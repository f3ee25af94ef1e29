/* SPDX-License-Identifier: Apache-2.0 */
/* chunker: the laws of content-defined cuts, and cuts that must never change. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "chunker.h"
#include "prng.h"

enum { SIZE = 3 << 20, CUTS_MAX = SIZE / (CHUNKER_TARGET_MIN / 4) + 1 };

static uint8_t *random_bytes(size_t size, uint64_t seed)
{
	struct prng prng = PRNG_INIT(seed);
	uint8_t *data = malloc(size);

	cr_assert_not_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)prng_next(&prng);
	return data;
}

/* Cut all of @data; fills @ends with the offsets where chunks end. Returns their number. */
static size_t cut_all(const struct chunker *c, const uint8_t *data, size_t size, size_t *ends)
{
	size_t n = 0;

	for (size_t off = 0; off < size; ends[n++] = off)
		off += chunker_cut(c, data + off, size - off, /* last= */ true);
	return n;
}

Test(chunker, chunks_add_up_and_keep_their_bounds)
{
	enum { LARGE = 9 << 20 }; /* more than two of the largest chunks */
	CLEANUP(free) uint8_t *data = random_bytes(LARGE, 1);

	for (uint32_t target = CHUNKER_TARGET_MIN; target <= CHUNKER_TARGET_MAX; target *= 2) {
		struct chunker c;
		size_t off = 0;

		chunker_init(&c, target);
		cr_assert_leq(c.max, FORMAT_CHUNK_MAX);
		while (off < LARGE) {
			size_t n = chunker_cut(&c, data + off, LARGE - off, /* last= */ true);

			cr_assert(n > 0 && n <= c.max && n <= LARGE - off);
			cr_assert(n >= c.min || off + n == LARGE);
			off += n;
		}
		cr_expect_eq(off, LARGE);
	}
}

Test(chunker, mean_size_is_near_the_target)
{
	CLEANUP(free) uint8_t *data = random_bytes(SIZE, 2);
	CLEANUP(free) size_t *ends = calloc(CUTS_MAX, sizeof(*ends));
	struct chunker c;
	size_t mean;

	chunker_init(&c, 8 << 10);
	mean = SIZE / cut_all(&c, data, SIZE, ends);
	cr_expect(mean > 7 << 10 && mean < 12 << 10, "mean is %zu", mean);
}

Test(chunker, cuts_are_the_same_whatever_is_there_to_look_at)
{
	CLEANUP(free) uint8_t *data = random_bytes(SIZE, 3);
	struct prng prng = PRNG_INIT(4);
	struct chunker c;
	size_t off = 0;

	chunker_init(&c, 16 << 10);
	while (off < SIZE) {
		size_t whole = chunker_cut(&c, data + off, SIZE - off, /* last= */ true);
		size_t seen = 1 + prng_below(&prng, c.max);
		size_t got;

		if (seen > SIZE - off)
			seen = SIZE - off;
		got = chunker_cut(&c, data + off, seen, /* last= */ off + seen == SIZE);
		/* Either it wants more bytes, or it says what it says with all of them. */
		cr_assert(got == whole || (got == 0 && seen <= whole));
		off += whole;
	}
}

Test(chunker, never_wants_more_than_the_largest_chunk)
{
	CLEANUP(free) uint8_t *data = calloc(1, 64 << 10);
	struct chunker c;

	chunker_init(&c, 16 << 10);
	cr_expect_eq(chunker_cut(&c, data, c.max, /* last= */ false), c.max,
	             "bytes without any cut give the largest chunk");
	cr_expect_eq(chunker_cut(&c, data, c.max - 1, /* last= */ false), 0);
	cr_expect_eq(chunker_cut(&c, data, c.max - 1, /* last= */ true), c.max - 1);
	cr_expect_eq(chunker_cut(&c, data, 1, /* last= */ true), 1);
	cr_expect_eq(chunker_cut(&c, data, 0, /* last= */ true), 0);
}

/* The law of format.md §5.4, byte by byte. */
static size_t cut_by_the_law(const struct chunker *c, const uint8_t *data, size_t len)
{
	unsigned bits = (unsigned)__builtin_ctz(c->target);
	size_t end = len < c->max ? len : c->max;
	uint64_t hash = 0;

	for (size_t i = c->min; i < end; i++) {
		hash = (hash << 1) + c->gear[data[i]];
		if (hash >> (64 - (i < c->target ? bits + 2 : bits - 2)) == 0)
			return i + 1;
	}
	return end;
}

Test(chunker, cuts_where_the_format_says)
{
	CLEANUP(free) uint8_t *data = random_bytes(SIZE, 7);
	struct prng prng = PRNG_INIT(8);

	for (uint32_t target = CHUNKER_TARGET_MIN; target <= 256 << 10; target *= 4) {
		struct chunker c;

		chunker_init(&c, target);
		for (size_t off = 0; off < SIZE;) {
			/* Ends of all remainders by four. */
			size_t len = 1 + prng_below(&prng, c.max);
			size_t n;

			if (len > SIZE - off)
				len = SIZE - off;
			n = chunker_cut(&c, data + off, len, /* last= */ true);
			cr_assert_eq(n, cut_by_the_law(&c, data + off, len));
			off += n;
		}
	}
}

/* At @at, @removed bytes give way to @inserted others. */
struct edit {
	size_t at;
	size_t removed;
	size_t inserted;
};

/* Owned bytes: @data with @edit done to it; *@ret_size is their number. */
static uint8_t *edited(const uint8_t *data, size_t size, const struct edit *edit, size_t *ret_size)
{
	size_t rest = edit->at + edit->removed;
	uint8_t *other = random_bytes(size - edit->removed + edit->inserted, edit->at + 1);

	memcpy(other, data, edit->at);
	memcpy(other + edit->at + edit->inserted, data + rest, size - rest);
	*ret_size = size - edit->removed + edit->inserted;
	return other;
}

/* Cuts of bytes before and after an edit. */
struct cuts {
	size_t *before; /* owned */
	size_t *after;  /* owned */
	size_t n_before, n_after;
};

static void cuts_release_cleanup(struct cuts *cuts)
{
	free(cuts->before);
	free(cuts->after);
}

/* No cut before the edit moves: a chunk depends on nothing that follows it. */
static void check_before(const struct cuts *cuts, const struct edit *edit)
{
	for (size_t i = 0; i < cuts->n_before && cuts->before[i] <= edit->at; i++)
		cr_assert(i < cuts->n_after && cuts->after[i] == cuts->before[i],
		          "the cut at %zu is before the edit at %zu", cuts->before[i], edit->at);
}

/*
 * Behind the edit cuts meet again, within @reach, and stay together: from a
 * common cut on, both see the same bytes.
 */
static void check_behind(const struct cuts *cuts, const struct edit *edit, size_t reach)
{
	size_t i = cuts->n_before, k = cuts->n_after;

	while (i > 0 && k > 0 && cuts->before[i - 1] >= edit->at + edit->removed &&
	       cuts->before[i - 1] - edit->removed + edit->inserted == cuts->after[k - 1]) {
		i--;
		k--;
	}
	/* The first i cuts and the first k cuts have no common one behind the edit. */
	cr_assert(i < cuts->n_before, "nothing behind the edit at %zu is as it was", edit->at);
	cr_assert(cuts->before[i] < edit->at + edit->removed + reach,
	          "the edit at %zu moves cuts up to %zu", edit->at, cuts->before[i]);
	while (i > 0 && cuts->before[i - 1] >= edit->at + edit->removed) {
		size_t moved = cuts->before[--i] - edit->removed + edit->inserted;

		for (size_t j = 0; j < k; j++)
			cr_assert_neq(cuts->after[j], moved, "cuts that met at %zu part again",
			              moved);
	}
}

static void check_edit(const struct chunker *c, const uint8_t *data, const struct edit *edit)
{
	size_t size;
	CLEANUP(free) uint8_t *other = edited(data, SIZE, edit, &size);
	CLEANUP(cuts_release)
	struct cuts cuts = {
		.before = calloc(CUTS_MAX, sizeof(size_t)),
		.after = calloc(CUTS_MAX + edit->inserted, sizeof(size_t)),
	};

	cuts.n_before = cut_all(c, data, SIZE, cuts.before);
	cuts.n_after = cut_all(c, other, size, cuts.after);
	cr_assert_eq(cuts.after[cuts.n_after - 1], size);
	check_before(&cuts, edit);
	check_behind(&cuts, edit, 4 * (size_t)c->max);
}

Test(chunker, an_edit_moves_only_the_cuts_near_it)
{
	static const size_t lengths[] = { 0, 1, 11, 5000, 100000 };
	enum { N_LENGTHS = sizeof(lengths) / sizeof(lengths[0]), EDITS = 12 };
	CLEANUP(free) uint8_t *data = random_bytes(SIZE, 5);
	struct prng prng = PRNG_INIT(6);

	for (uint32_t target = CHUNKER_TARGET_MIN; target <= 128 << 10; target *= 2) {
		struct chunker c;

		chunker_init(&c, target);
		for (int i = 0; i < EDITS; i++) {
			/* The first two at the very start; all with much behind them. */
			struct edit edit = {
				.at = i < 2 ? 0 : prng_below(&prng, SIZE / 5),
				.removed = lengths[prng_below(&prng, N_LENGTHS)],
				.inserted = lengths[prng_below(&prng, N_LENGTHS)],
			};

			check_edit(&c, data, &edit);
		}
	}
}

/*
 * Another function would be as good, but every chunk of every file would be
 * new to the nodes that hold the images of today.
 */
Test(chunker, cuts_are_those_of_format_version_1)
{
	static const size_t wanted[] = { 90030,  174203, 227483, 282321, 361448, 440874,  506547,
		                         627177, 714719, 789422, 875341, 962249, 1033180, 1048576 };
	CLEANUP(free) uint8_t *data = random_bytes(1 << 20, 7);
	CLEANUP(free) size_t *ends = calloc(CUTS_MAX, sizeof(*ends));
	struct chunker c;
	size_t n;

	chunker_init(&c, 64 << 10);
	n = cut_all(&c, data, 1 << 20, ends);
	cr_assert_eq(n, sizeof(wanted) / sizeof(wanted[0]), "%zu chunks", n);
	for (size_t i = 0; i < n; i++)
		cr_expect_eq(ends[i], wanted[i], "cut %zu is at %zu", i, ends[i]);
}
