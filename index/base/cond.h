/* SPDX-License-Identifier: Apache-2.0 */
/* Condition variables for waits that have an end. */
#pragma once

#include <pthread.h>
#include <time.h>

/* Prepare @cond for pthread_cond_timedwait() with times of CLOCK_MONOTONIC. */
static inline void cond_init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}
