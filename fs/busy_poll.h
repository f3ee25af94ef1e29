/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for the next request for a moment, instead of sleeping.
 *
 * To wake a thread on a processor that sleeps takes several times as long as to answer what it is woken
 * for, most of all on virtual machines, where it is the host that has to do so. A program that starts
 * opens and looks up one name after another: whoever has answered it looks for what follows, as
 * drivers of fast networks and disks do. Only while no other thread wants the processor, and not often
 * in vain.
 *
 * Thread rule: any thread.
 */
#pragma once

#include <stdint.h>

/* Of all sessions together. */
struct busy_poll {
	uint64_t longest; /* constant: nanoseconds to look for a request; 0: never */
	uint64_t due;     /* atomic: when to look again, by stats_clock(); 0 at first */
};

/*
 * Before a request is read from @fd, which may wait: returns when there is one, or when it is not worth
 * while to look for it any longer.
 */
void busy_poll_wait(struct busy_poll *bp, int fd);
