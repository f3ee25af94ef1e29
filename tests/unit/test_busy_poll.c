/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <unistd.h>

#include "busy_poll.h"

#define LONGEST UINT64_C(1000000)

static int ends[2]; /* of a pipe that requests come from */

static void open_pipe(void)
{
	cr_assert_eq(pipe(ends), 0);
}

static void close_pipe(void)
{
	(void)close(ends[0]);
	(void)close(ends[1]);
}

TestSuite(busy_poll, .init = open_pipe, .fini = close_pipe);

Test(busy_poll, a_request_that_is_there_costs_nothing)
{
	struct busy_poll bp = { .longest = LONGEST };

	cr_assert_eq(write(ends[1], "x", 1), 1);
	busy_poll_wait(&bp, ends[0]);
	cr_assert_eq(bp.due, 0);
}

Test(busy_poll, does_not_look_when_it_is_off)
{
	struct busy_poll bp = { .longest = 0 };

	busy_poll_wait(&bp, ends[0]);
	cr_assert_eq(bp.due, 0);
}

Test(busy_poll, what_was_in_vain_adds_up)
{
	struct busy_poll bp = { .longest = LONGEST };
	uint64_t due;

	busy_poll_wait(&bp, ends[0]);
	due = bp.due;
	busy_poll_wait(&bp, ends[0]);
	cr_assert_gt(bp.due, due);
}

Test(busy_poll, does_not_look_before_it_is_due)
{
	struct busy_poll bp = { .longest = LONGEST, .due = UINT64_MAX / 2 };

	busy_poll_wait(&bp, ends[0]);
	cr_assert_eq(bp.due, UINT64_MAX / 2);
}
