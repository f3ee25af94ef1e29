/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks that have names: of targets, of images. They are held across I/O. Any thread;
 * one that holds a lock of a set takes no other one of the same set.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct name_locks {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct name_lock *held; /* under lock; borrowed */
};

#define NAME_LOCKS_INIT                                                                            \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER, .held = NULL \
	}

/* A lock that is held: on the stack of who holds it. */
struct name_lock {
	struct name_locks *set; /* NULL: not held */
	const char *name;       /* borrowed */
	struct name_lock *next;
};

#define NAME_LOCK_INIT ((struct name_lock){ .set = NULL })

/* Take the lock @name, which stays where it is until it is given back. Returns whether nobody had it. */
bool name_lock_try(struct name_locks *set, const char *name, struct name_lock *ret);

/* As name_lock_try(), but waits. */
void name_lock_wait(struct name_locks *set, const char *name, struct name_lock *ret);

/* Give it back; one that is not held is fine. */
void name_lock_release(struct name_lock *held);

static inline void name_lock_release_cleanup(struct name_lock *held)
{
	name_lock_release(held);
}
