/* SPDX-License-Identifier: Apache-2.0 */
/* Several threads at one task; the first failure ends it for all. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"
#include "progress.h"

struct crew {
	pthread_mutex_t lock;
	int result;     /* atomic; of the first failure */
	struct err err; /* under lock; of that failure */
};

#define CREW_INIT ((struct crew){ .lock = PTHREAD_MUTEX_INITIALIZER, .err = ERR_INIT })

/* Body of each thread. @progress is NULL in all threads but one. Returns 0 or -errno with a message. */
typedef int (*crew_fn)(void *arg, struct progress *progress, struct err *err);

/*
 * Run @fn in @jobs threads, this one included, and wait for all. Ends @progress.
 * Returns 0, or what the first failure returned.
 */
MUST_CHECK int crew_run(struct crew *crew, unsigned jobs, crew_fn fn, void *arg,
                        struct progress *progress, struct err *err);

/* Whether a thread has failed: the others stop then. */
static inline bool crew_failed(struct crew *crew)
{
	return __atomic_load_n(&crew->result, __ATOMIC_RELAXED) != 0;
}
