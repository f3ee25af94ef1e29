/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "ahead.h"

#define MAX UINT64_C(16)

static struct ahead ahead;
static struct ahead_guess guess;

static void init(void)
{
	ahead_init(&ahead, MAX);
}

static void fini(void)
{
	ahead_release(&ahead);
}

TestSuite(ahead, .init = init, .fini = fini);

/* Open contents @first to before @end, of which those are missing that were not guessed. Returns how many were. */
static uint64_t read_through(uint64_t first, uint64_t end)
{
	uint64_t filled = 0;
	uint64_t missing = 0;

	for (uint64_t id = first; id < end; id++) {
		bool is_missing = id >= filled;

		missing += is_missing;
		if (!ahead_opened(&ahead, id, is_missing, &guess))
			continue;
		cr_assert_gt(guess.first, id);
		cr_assert_gt(guess.end, guess.first);
		cr_assert_leq(guess.end - guess.first, MAX);
		cr_assert_leq(guess.end, id + 1 + MAX);
		/* None is left out, and none is guessed twice. */
		cr_assert_eq(guess.first, filled > id ? filled : id + 1);
		filled = guess.end;
		ahead_tried(&ahead, &guess, guess.end, true);
	}
	return missing;
}

Test(ahead, a_reader_in_order_misses_two)
{
	cr_assert_eq(read_through(1, 1000), 2);
}

Test(ahead, one_file_tells_nothing)
{
	cr_assert_not(ahead_opened(&ahead, 100, true, &guess));
	cr_assert_not(ahead_opened(&ahead, 500, true, &guess));
	cr_assert_not(ahead_opened(&ahead, 100, true, &guess));
	cr_assert_not(ahead_opened(&ahead, 99, true, &guess));
}

Test(ahead, what_is_there_is_not_guessed)
{
	for (uint64_t id = 1; id < 100; id++)
		cr_assert_not(ahead_opened(&ahead, id, false, &guess));
}

Test(ahead, guesses_end_where_nothing_is_missing)
{
	cr_assert_not(ahead_opened(&ahead, 1, true, &guess));
	cr_assert(ahead_opened(&ahead, 2, true, &guess));
	ahead_tried(&ahead, &guess, guess.end, false);
	for (uint64_t id = 3; id < 100; id++)
		cr_assert_not(ahead_opened(&ahead, id, false, &guess));
	cr_assert(ahead_opened(&ahead, 100, true, &guess));
	cr_assert_eq(guess.first, 101);
}

Test(ahead, what_was_there_and_has_left_is_guessed_again)
{
	cr_assert_not(ahead_opened(&ahead, 1, true, &guess));
	cr_assert(ahead_opened(&ahead, 2, true, &guess));
	ahead_tried(&ahead, &guess, guess.end, true);
	cr_assert(ahead_opened(&ahead, 4, false, &guess));
	ahead_tried(&ahead, &guess, guess.end, false);
	cr_assert_gt(guess.end, 10);
	cr_assert(ahead_opened(&ahead, 5, true, &guess));
	cr_assert_eq(guess.first, 6);
	cr_assert_gt(guess.end, guess.first);
}

Test(ahead, what_was_not_tried_comes_with_the_next_guess)
{
	cr_assert_not(ahead_opened(&ahead, 1, true, &guess));
	cr_assert(ahead_opened(&ahead, 2, true, &guess));
	cr_assert_eq(guess.first, 3);
	ahead_tried(&ahead, &guess, 4, true);
	cr_assert(ahead_opened(&ahead, 3, false, &guess));
	cr_assert_eq(guess.first, 4);
}

Test(ahead, large_files_are_not_heaped_up)
{
	uint64_t filled = 3;

	cr_assert_not(ahead_opened(&ahead, 1, true, &guess));
	cr_assert(ahead_opened(&ahead, 2, true, &guess));
	for (uint64_t id = 3; id < 100; id++) {
		/* No more than two fit. */
		filled = guess.first + 2 < guess.end ? guess.first + 2 : guess.end;
		ahead_tried(&ahead, &guess, filled, true);
		cr_assert_leq(filled, id + 4);
		while (id < filled && !ahead_opened(&ahead, id, false, &guess))
			id++;
		cr_assert_lt(id, filled, "nothing was guessed");
	}
}

Test(ahead, a_few_may_be_left_out)
{
	cr_assert_not(ahead_opened(&ahead, 1, true, &guess));
	cr_assert(ahead_opened(&ahead, 8, true, &guess));
	cr_assert_eq(guess.first, 9);
}

Test(ahead, readers_do_not_disturb_each_other)
{
	enum { STEPS = 100 };
	unsigned missing[AHEAD_STREAMS] = { 0 };
	uint64_t filled[AHEAD_STREAMS] = { 0 };

	for (uint64_t i = 0; i < STEPS; i++) {
		for (uint64_t k = 0; k < AHEAD_STREAMS; k++) {
			uint64_t id = 1 + k * 1000 + i;

			missing[k] += id >= filled[k];
			if (!ahead_opened(&ahead, id, id >= filled[k], &guess))
				continue;
			cr_assert_eq(guess.first, filled[k] > id ? filled[k] : id + 1);
			filled[k] = guess.end;
			ahead_tried(&ahead, &guess, guess.end, true);
		}
	}
	for (uint64_t k = 0; k < AHEAD_STREAMS; k++)
		cr_assert_eq(missing[k], 2);
}

Test(ahead, the_oldest_reader_is_forgotten)
{
	for (uint64_t k = 0; k <= AHEAD_STREAMS; k++)
		cr_assert_not(ahead_opened(&ahead, 1 + k * 1000, true, &guess));
	cr_assert_not(ahead_opened(&ahead, 2, true, &guess));
	cr_assert(ahead_opened(&ahead, 2 + AHEAD_STREAMS * 1000, true, &guess));
}

Test(ahead, none_when_it_is_off)
{
	struct ahead off;

	ahead_init(&off, 0);
	for (uint64_t id = 1; id < 100; id++)
		cr_assert_not(ahead_opened(&off, id, true, &guess));
	ahead_release(&off);
}
