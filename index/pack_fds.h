/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of packs. An image may have thousands of packs: each is opened when a chunk of it
 * is read, and of those that nobody reads just now only so many stay open, in the whole process,
 * the ones used last.
 *
 * All functions may be called from any thread, but for what is said of pack_fd_close().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* One pack of one image. Its owner keeps it in one place. */
struct pack_fd {
	/* under the lock of the module */
	int fd; /* owned; -1 while closed */
	uint32_t readers;
	bool was_read;                 /* since the last pack_fds_trim() */
	struct pack_fd *older, *newer; /* in the list of open ones without readers */
};

#define PACK_FD_INIT ((struct pack_fd){ .fd = -1, .readers = 0, .older = NULL, .newer = NULL })

/* How many descriptors may stay open, beside those in use; 256 unless this is called. */
void pack_fds_limit(size_t n);

/* Number of descriptors that are open now. */
size_t pack_fds_open(void);

/*
 * The descriptor of @file, which is @name in @dirfd, opened if need be. Good until
 * pack_fd_put(). Returns -errno when it cannot be opened.
 */
MUST_CHECK int pack_fd_get(struct pack_fd *file, int dirfd, const char *name);

/* Give back what pack_fd_get() has returned for @file. */
void pack_fd_put(struct pack_fd *file);

/* Drop pages of packs that were read ahead and that nobody has come for. When it is quiet. */
void pack_fds_trim(void);

/* Close @file, which has no readers and gets none meanwhile. */
void pack_fd_close(struct pack_fd *file);
