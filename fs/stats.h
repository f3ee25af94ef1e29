/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and latencies of the daemon.
 *
 * They lie in a page of memory that is a file of the store, STORE/stats, mapped
 * by the daemon: whoever may read it sees them, without asking the daemon, while
 * it is busy, stuck or dead. The next daemon of the store goes on from them.
 * Slots carry their names, so that a reader of another version takes what it knows.
 *
 * Each number is a relaxed atomic of its own: adding costs a few nanoseconds on
 * any thread, and a snapshot of several need not be consistent.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

#define STATS_FILE "stats" /* in the store's directory */

/*
 * Every counter, once: its constant; object and name in JSON (fs/report.h); its
 * name for Prometheus; what it counts. Exact definitions: docs/man/fsstat.1.scd.
 */
/* clang-format off */
#define STATS_COUNTERS(X) \
	X(STAT_OPENS, "cache", "opens_total", "assetfs_opens_total", \
	  "Opens of files that are not empty.") \
	X(STAT_OPEN_HITS, "cache", "open_hits_total", "assetfs_open_hits_total", \
	  "Opens that found the whole file in the region.") \
	X(STAT_FILES_AHEAD, "cache", "files_ahead_total", "assetfs_files_ahead_total", \
	  "Files that began to be filled before anybody had opened them, because those before them were.") \
	X(STAT_CHUNK_REQUESTS, "cache", "chunk_requests_total", "assetfs_chunk_requests_total", \
	  "Extents that an open, a read or background fill needed.") \
	X(STAT_CHUNK_HITS, "cache", "chunk_hits_total", "assetfs_chunk_hits_total", \
	  "Extents that nothing had to be decompressed for.") \
	X(STAT_CHUNKS_DECOMPRESSED, "cache", "chunks_decompressed_total", "assetfs_chunks_decompressed_total", \
	  "Chunks decompressed and verified.") \
	X(STAT_CHUNKS_DECOMPRESSED_AGAIN, "cache", "chunks_decompressed_again_total", \
	  "assetfs_chunks_decompressed_again_total", \
	  "Chunks decompressed of which the region had bytes already.") \
	X(STAT_CHUNKS_COPIED, "cache", "chunks_copied_total", "assetfs_chunks_copied_total", \
	  "Extents copied from bytes that lay in the region.") \
	X(STAT_BYTES_DECOMPRESSED, "cache", "bytes_decompressed_total", "assetfs_decompressed_bytes_total", \
	  "Plain bytes of the chunks decompressed.") \
	X(STAT_CHUNKS_PAST_REGION, "cache", "chunks_past_region_total", "assetfs_chunks_past_region_total", \
	  "Chunks decompressed for one read because the region had no room.") \
	X(STAT_FETCH_REQUESTS, "cache", "fetch_requests_total", "assetfs_fetch_requests_total", \
	  "Frames and other ranges that were wanted of blobs in registries.") \
	X(STAT_FETCH_HITS, "cache", "fetch_hits_total", "assetfs_fetch_hits_total", \
	  "Such ranges that the store had.") \
	X(STAT_FETCHES, "cache", "fetches_total", "assetfs_fetches_total", \
	  "Transfers of ranges that were begun; each wants one connection.") \
	X(STAT_BYTES_FETCHED, "cache", "bytes_fetched_total", "assetfs_fetched_bytes_total", \
	  "Bytes of blobs that came from registries.") \
	X(STAT_FETCH_ERRORS, "cache", "fetch_errors_total", "assetfs_fetch_errors_total", \
	  "Transfers that failed, after the tries that belong to each.") \
	X(STAT_FETCH_TIMEOUTS, "cache", "fetch_timeouts_total", "assetfs_fetch_timeouts_total", \
	  "Times that somebody has waited for a registry in vain.") \
	X(STAT_FETCH_DAMAGED, "cache", "fetch_damaged_total", "assetfs_fetch_damaged_total", \
	  "Ranges that were fetched, had wrong bytes, and were thrown away.") \
	X(STAT_STORE_EVICTIONS, "store", "store_evictions_total", "assetfs_store_evictions_total", \
	  "Blobs that left the store to make room for others.") \
	X(STAT_STORE_BYTES_EVICTED, "store", "store_bytes_evicted_total", "assetfs_store_evicted_bytes_total", \
	  "Bytes of blobs that left the store to make room for others.") \
	X(STAT_EVICTIONS, "region", "evictions_total", "assetfs_region_evictions_total", \
	  "Files that left the region to make room for others.") \
	X(STAT_BYTES_EVICTED, "region", "bytes_evicted_total", "assetfs_region_evicted_bytes_total", \
	  "Bytes of files that left the region to make room for others.") \
	X(STAT_REGION_FULL, "region", "full_total", "assetfs_region_full_total", \
	  "Times that the region was full and nothing more could leave it.") \
	X(STAT_TAKEOVERS, "cache", "takeovers_total", "assetfs_takeovers_total", \
	  "Daemons that went on where another one had died or left.") \
	X(STAT_REQUESTS_TIMED_OUT, "cache", "requests_timed_out_total", "assetfs_requests_timed_out_total", \
	  "Requests that failed because they took too long.") \
	X(STAT_ERRORS, "cache", "errors_total", "assetfs_errors_total", \
	  "Requests that failed because of damage, a missing pack, lack of memory or a fault of the daemon.")

/* Every latency: its constant; name in JSON; name for Prometheus; what it measures. */
#define STATS_LATENCIES(X) \
	X(LATENCY_OPEN, "open", "assetfs_open_seconds", \
	  "Time from the daemon's receipt of an open of a file that is not empty to its answer.") \
	X(LATENCY_CHUNK_FILL, "chunk_fill", "assetfs_chunk_fill_seconds", \
	  "Time to read, decompress, verify and place a chunk; to fetch it, too, where it has to be.") \
	X(LATENCY_FETCH, "fetch", "assetfs_fetch_seconds", \
	  "Time of a transfer from a registry that came to its end.")
/* clang-format on */

#define STATS_CONSTANT(constant, ...) constant,
enum stat_counter { STATS_COUNTERS(STATS_CONSTANT) STAT_COUNTERS };
enum stat_latency { STATS_LATENCIES(STATS_CONSTANT) STAT_LATENCIES };
#undef STATS_CONSTANT

struct stat_info {
	const char *object; /* of the JSON that it is in; NULL for latencies */
	const char *name;
	const char *metric;
	const char *help;
};

extern const struct stat_info stat_counters[STAT_COUNTERS];
extern const struct stat_info stat_latencies[STAT_LATENCIES];

enum {
	/* Log-linear: 8 buckets for each power of two nanoseconds from 2^10 to 2^36 (69 s). */
	LATENCY_SUB_BITS = 3,
	LATENCY_MIN_BITS = 10,
	LATENCY_MAX_BITS = 36,
	LATENCY_BUCKETS =
		((LATENCY_MAX_BITS - LATENCY_MIN_BITS) << LATENCY_SUB_BITS) + 2, /* below, above */
	STATS_NAME_MAX = 56,
};

/* A counter, alone in its cache line. */
struct stats_slot {
	char name[STATS_NAME_MAX];
	uint64_t value; /* atomic */
};

struct stats_latency {
	char name[STATS_NAME_MAX];
	uint64_t sum_ns;                  /* atomic */
	uint64_t bucket[LATENCY_BUCKETS]; /* atomic; not cumulative */
};

/* The page. Zeros serve for counting in memory only. */
struct stats {
	char magic[8];
	uint32_t version;
	uint32_t size; /* of the page, bytes */
	uint32_t n_counters, n_latencies, n_buckets;
	int32_t pid;      /* of the daemon that counts, or that counted last */
	uint64_t started; /* when it started; seconds since 1970 */
	uint64_t since;   /* when counting began */
	uint8_t reserved[16];
	struct stats_slot counter[STAT_COUNTERS];
	struct stats_latency latency[STAT_LATENCIES];
};

static inline void stats_add(struct stats *s, enum stat_counter which, uint64_t n)
{
	(void)__atomic_fetch_add(&s->counter[which].value, n, __ATOMIC_RELAXED);
}

static inline uint64_t stats_get(const struct stats *s, enum stat_counter which)
{
	return __atomic_load_n(&s->counter[which].value, __ATOMIC_RELAXED);
}

/* A time to give to stats_took(), in nanoseconds. */
uint64_t stats_clock(void);

/* Count what began at @start and ends now. */
void stats_took(struct stats *s, enum stat_latency which, uint64_t start);

/* The bucket of @ns, and the most nanoseconds that bucket @i counts (UINT64_MAX for the last). */
unsigned stats_bucket(uint64_t ns);
uint64_t stats_bucket_limit(unsigned i);

/*
 * Map a new page in the store's directory @dirfd, for this process to count in,
 * in the place of the one that is there. What that one has counted is gone on
 * from; one that is no page, or of a layout not known, is left out of account.
 * The caller owns the store. Returns 0 or -errno. stats_close() gives *@ret back.
 */
MUST_CHECK int stats_open(int dirfd, struct stats **ret, struct err *err);

/* As stats_open(), in memory that nobody else sees. Returns NULL when there is none. */
struct stats *stats_private(void);

/* Accepts NULL. The file stays. */
void stats_close(struct stats *s);

/* Read the page in the store's directory @dirfd into *@ret. Returns 0; -ENOENT; -EBADMSG; -errno. */
MUST_CHECK int stats_read(int dirfd, struct stats *ret, struct err *err);

/* Read the @len bytes of a page at @bytes into *@ret, by names. Performs no I/O. Returns 0 or -EBADMSG. */
MUST_CHECK int stats_parse(const void *bytes, size_t len, struct stats *ret);
