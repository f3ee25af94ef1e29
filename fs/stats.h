/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the daemon. Each is a relaxed atomic: adding costs a few
 * nanoseconds on any thread, and a snapshot of several need not be consistent.
 */
#pragma once

#include <stdint.h>

enum stat_counter {
	STAT_OPENS,                     /* regular files opened with success, empty ones left out */
	STAT_OPEN_HITS,                 /* of these: content was complete in the region */
	STAT_CHUNK_REQUESTS,            /* extents that an open, a read or background fill needed */
	STAT_CHUNK_HITS,                /* of these: answered without decompressing */
	STAT_CHUNKS_DECOMPRESSED,       /* chunks decompressed and verified */
	STAT_CHUNKS_DECOMPRESSED_AGAIN, /* of these: bytes of it were in the region already */
	STAT_CHUNKS_COPIED,             /* extents placed by copying what was placed before */
	STAT_BYTES_DECOMPRESSED,        /* plain bytes */
	STAT_CHUNKS_PAST_REGION, /* chunks decompressed for a read because the region had no room */
	STAT_EVICTIONS,          /* objects that left the region to make room */
	STAT_BYTES_EVICTED,      /* placed bytes of these */
	STAT_REGION_FULL,        /* times that nothing more could leave: an alarm */
	STAT_COUNTERS,
};

struct stats {
	uint64_t counter[STAT_COUNTERS]; /* atomic */
};

static inline void stats_add(struct stats *s, enum stat_counter which, uint64_t n)
{
	(void)__atomic_fetch_add(&s->counter[which], n, __ATOMIC_RELAXED);
}

static inline uint64_t stats_get(const struct stats *s, enum stat_counter which)
{
	return __atomic_load_n(&s->counter[which], __ATOMIC_RELAXED);
}
