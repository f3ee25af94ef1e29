/* SPDX-License-Identifier: Apache-2.0 */
/* One function at work in a thread of its own while its caller does something else. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

/* Returns 0 or -errno with a message. */
typedef int (*aside_fn)(void *arg, struct err *err);

/* The caller's, who neither moves nor reads it between begin and end. */
struct aside {
	aside_fn fn;
	void *arg;
	pthread_t thread;
	bool threaded;
	int result;
	struct err err;
};

/* Let a thread run @fn; without @threaded, or when none can be had, it is run before this returns. */
void aside_begin(struct aside *aside, aside_fn fn, void *arg, bool threaded);

/* Wait for it. Returns what @fn returned, to the thread that began it, also when asked again. */
MUST_CHECK int aside_end(struct aside *aside, struct err *err);
