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
	static const uint32_t targets[] = { CHUNKER_TARGET_MIN, 64 << 10, CHUNKER_TARGET_MAX };
	CLEANUP(free) uint8_t *data = random_bytes(SIZE, 1);

	for (size_t t = 0; t < sizeof(targets) / sizeof(targets[0]); t++) {
		struct chunker c;
		size_t off = 0;

		chunker_init(&c, targets[t]);
		while (off < SIZE) {
			size_t n = chunker_cut(&c, data + off, SIZE - off, /* last= */ true);

			cr_assert(n > 0 && n <= c.max && n <= SIZE - off);
			cr_assert(n >= c.min || off + n == SIZE);
			off += n;
		}
		cr_expect_eq(off, SIZE);
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

static int compare_size(const void *a, const void *b)
{
	size_t x = *(const size_t *)a;
	size_t y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

Test(chunker, an_insertion_moves_only_the_cuts_near_it)
{
	enum { AT = SIZE / 2, INSERTED = 11 };
	CLEANUP(free) uint8_t *data = random_bytes(SIZE, 5);
	CLEANUP(free) uint8_t *longer = random_bytes(SIZE + INSERTED, 6);
	CLEANUP(free) size_t *before = calloc(CUTS_MAX, sizeof(*before));
	CLEANUP(free) size_t *after = calloc(CUTS_MAX, sizeof(*after));
	size_t n_before, n_after, n_lost = 0;
	struct chunker c;

	chunker_init(&c, 8 << 10);
	memcpy(longer, data, AT);
	memcpy(longer + AT + INSERTED, data + AT, SIZE - AT);
	n_before = cut_all(&c, data, SIZE, before);
	n_after = cut_all(&c, longer, SIZE + INSERTED, after);
	for (size_t i = 0; i < n_before; i++) {
		size_t moved = before[i] <= AT ? before[i] : before[i] + INSERTED;

		if (bsearch(&moved, after, n_after, sizeof(*after), compare_size))
			continue;
		n_lost++;
		cr_expect(before[i] > AT && before[i] < AT + 4 * (size_t)c.max,
		          "the cut at %zu is lost", before[i]);
	}
	cr_expect(n_lost < 20, "%zu cuts are lost", n_lost);
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
