/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "ranges.h"

enum { SPACE = 256 };

Test(ranges, empty_set_covers_only_the_empty_range)
{
	struct ranges set = RANGES_INIT;

	cr_assert(ranges_cover(&set, 5, 5));
	cr_assert_not(ranges_cover(&set, 0, 1));
	cr_assert_eq(ranges_bytes(&set), 0);
}

Test(ranges, neighbours_merge)
{
	struct ranges set = RANGES_INIT;

	cr_assert_eq(ranges_add(&set, 10, 20), 0);
	cr_assert_eq(ranges_add(&set, 30, 40), 0);
	cr_assert_eq(set.n, 2);
	cr_assert_eq(ranges_add(&set, 20, 30), 0);
	cr_assert_eq(set.n, 1);
	cr_assert(ranges_cover(&set, 10, 40));
	cr_assert_not(ranges_cover(&set, 9, 11));
	cr_assert_not(ranges_cover(&set, 39, 41));
	ranges_release(&set);
}

Test(ranges, a_range_is_cut_in_the_middle)
{
	struct ranges set = RANGES_INIT;

	cr_assert_eq(ranges_add(&set, 10, 40), 0);
	cr_assert_eq(ranges_remove(&set, 20, 30), 0);
	cr_assert_eq(set.n, 2);
	cr_assert(ranges_cover(&set, 10, 20));
	cr_assert(ranges_cover(&set, 30, 40));
	cr_assert_not(ranges_touch(&set, 20, 30));
	cr_assert_eq(ranges_remove(&set, 0, 100), 0);
	cr_assert_eq(set.n, 0);
	ranges_release(&set);
}

/* The first run of [@start, @end) that @model lacks. */
static void check_gap(const struct ranges *set, const bool *model, uint64_t start, uint64_t end)
{
	struct range gap;
	bool found = ranges_gap(set, start, end, &gap);
	uint64_t stop;

	while (start < end && model[start])
		start++;
	cr_assert_eq(found, start < end);
	if (!found)
		return;
	for (stop = start; stop < end && !model[stop]; stop++)
		;
	cr_assert_eq(gap.start, start);
	cr_assert_eq(gap.end, stop);
}

/* Add [@start, @end), or take it out, or leave all as it is. */
static void change(struct ranges *set, bool *model, uint64_t start, uint64_t end)
{
	long what = random() % 4;

	if (what < 2)
		cr_assert_eq(ranges_add(set, start, end), 0);
	else if (what == 2)
		cr_assert_eq(ranges_remove(set, start, end), 0);
	for (uint64_t k = start; k < end && what < 3; k++)
		model[k] = what < 2;
}

/* Against a plain array of flags, for many random sets. */
Test(ranges, behaves_like_an_array_of_bytes)
{
	srandom(1);
	for (int round = 0; round < 200; round++) {
		struct ranges set = RANGES_INIT;
		bool model[SPACE] = { false };
		uint64_t bytes = 0;

		for (int i = 0; i < 40; i++) {
			uint64_t start = (uint64_t)random() % SPACE;
			uint64_t end = start + (uint64_t)random() % (SPACE - start + 1);
			uint64_t from = (uint64_t)random() % SPACE;
			uint64_t to = from + (uint64_t)random() % 16;
			bool covered = true, touched = false;

			change(&set, model, start, end);
			check_gap(&set, model, start, end);
			for (uint64_t k = from; k < to; k++) {
				covered = covered && k < SPACE && model[k];
				touched = touched || (k < SPACE && model[k]);
			}
			cr_assert_eq(ranges_cover(&set, from, to), covered);
			cr_assert_eq(ranges_touch(&set, from, to), touched);
		}
		for (size_t k = 0; k < SPACE; k++)
			bytes += model[k];
		cr_assert_eq(ranges_bytes(&set), bytes);
		for (size_t k = 1; k < set.n; k++)
			cr_assert_lt(set.range[k - 1].end, set.range[k].start);
		ranges_release(&set);
	}
}
