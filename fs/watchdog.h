/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog: a request that takes too long, because a disk hangs, is answered with EIO, so that
 * nobody waits for ever and who waits can be killed.
 *
 * It waits for nothing that the daemon's other threads hold while they wait for a disk. It counts
 * seconds while this process runs: one that was stopped for an hour has lost one second.
 */
#pragma once

#include <stdint.h>

#include "fuse_io.h"
#include "session_threads.h"
#include "stats.h"

struct watchdog;

/* A session, for as long as it is watched. */
struct watched {
	struct watched *next;
	struct fuse_io *io;              /* borrowed */
	struct session_threads *threads; /* borrowed */
	const char *name;                /* borrowed; of the image */
	uint64_t *errors;                /* atomic, borrowed */
};

/* Start the thread. A request may take @seconds; @stats outlives the watchdog. 0 or -errno. */
MUST_CHECK int watchdog_new(unsigned seconds, struct stats *stats, struct watchdog **ret,
                            struct err *err);

/* Accepts NULL. Nothing is watched any more. */
void watchdog_free(struct watchdog *dog);

/* Watch @session, which the caller keeps where it is, until watchdog_remove(), which waits for the thread. */
void watchdog_add(struct watchdog *dog, struct watched *session);
void watchdog_remove(struct watchdog *dog, struct watched *session);
