/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership.
 *
 * CLEANUP(f) on a local variable runs f on it when the scope ends, whichever
 * way it ends. An owned local is always initialised on the line that declares
 * it, to its empty value (NULL or -1) or to the resource itself; ownership
 * leaves the scope only through TAKE_PTR() or TAKE_FD().
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn##_cleanup)))

/* Give destructor @fn, which takes a @type, a form that CLEANUP() can use. */
#define DEFINE_CLEANUP(type, fn)                   \
	static inline void fn##_cleanup(type *obj) \
	{                                          \
		if (*obj)                          \
			fn(*obj);                  \
	}

/* Move a pointer or descriptor out of its variable, leaving it empty. */
#define TAKE_PTR(ptr)                         \
	({                                    \
		__typeof__(ptr) taken_ = ptr; \
		(ptr) = NULL;                 \
		taken_;                       \
	})

#define TAKE_FD(fd)                \
	({                         \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	})

static inline void free_cleanup(void *slot)
{
	void *ptr;

	memcpy(&ptr, slot, sizeof(ptr));
	free(ptr);
}

static inline void close_cleanup(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	errno = saved;
}
