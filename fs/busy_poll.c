/* SPDX-License-Identifier: Apache-2.0 */
#include "busy_poll.h"

#include <poll.h>
#include <sched.h>

#include "stats.h"

/* Nanoseconds. A look that takes longer was interrupted: another thread has had the processor. */
enum { LOOK_MAX = 20000 };

/* Nanoseconds in vain: so many at a time, and later one of so many that pass. */
#define IN_VAIN_BURST UINT64_C(100000000)
enum { IN_VAIN_SHARE = 20 };

/* Note @ns in vain, up to @now: a leaky bucket, kept as the time when it will be empty. */
static void spend(struct busy_poll *bp, uint64_t now, uint64_t ns)
{
	const uint64_t lag = IN_VAIN_BURST * IN_VAIN_SHARE;
	uint64_t due = __atomic_load_n(&bp->due, __ATOMIC_RELAXED);

	if (due + lag < now)
		due = now - lag;
	__atomic_store_n(&bp->due, due + ns * IN_VAIN_SHARE, __ATOMIC_RELAXED);
}

void busy_poll_wait(struct busy_poll *bp, int fd)
{
	struct pollfd request = { .fd = fd, .events = POLLIN };
	const uint64_t begin = stats_clock();
	uint64_t now = begin;
	uint64_t last;

	if (bp->longest == 0 || begin < __atomic_load_n(&bp->due, __ATOMIC_RELAXED))
		return;
	do {
		last = now;
		if (poll(&request, 1, 0) != 0)
			return;
		(void)sched_yield();
		now = stats_clock();
	} while (now - last < LOOK_MAX && now - begin < bp->longest);
	spend(bp, now, now - begin < bp->longest ? now - begin : bp->longest);
}
