/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon takes of the machine besides the region: descriptors and its own memory. */
#pragma once

#include <stdint.h>

enum {
	/* Of a mounted image: /dev/fuse, its layout, its index. */
	LIMITS_FDS_PER_SESSION = 6,
	/* Of a thread: an object, a pack and a client at once, at most. */
	LIMITS_FDS_PER_THREAD = 4,
	/* Sessions that a daemon should have room for. */
	LIMITS_SESSIONS = 64,
};

/* Descriptors that @sessions sessions may need, of which @threads threads are at work at once. */
uint64_t limits_needed(uint64_t sessions, uint64_t threads);

/* How many packs may stay open where @files descriptors are allowed. */
uint64_t limits_packs(uint64_t files);

/*
 * Raise this process's limit of open files as far as it may, share it out, and log when it is
 * too low for LIMITS_SESSIONS sessions. @threads: of a session. Call before threads start.
 */
void limits_apply(uint64_t threads);

/* Give memory that is free back to the system: after work that took much of it for a moment. */
void limits_trim(void);
