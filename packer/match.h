/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding in new bytes the runs that old bytes have too, wherever they moved.
 *
 * Anchors are places of the old bytes whose last 64 bytes have a gear hash with
 * certain bits zero: they depend on content alone, so that equal bytes have
 * equal anchors. Where the new bytes have an anchor that is known, the match
 * is compared byte by byte and extended both ways. Matches are thus exact, at
 * byte granularity, for memory that depends on the number of anchors only.
 *
 * One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A run of old bytes in memory: [start, start + len). */
struct old_view {
	const uint8_t *data;
	uint64_t start;
	size_t len;
};

/* Show the old bytes around @off; the view holds until the next call. Returns 0 or -errno. */
typedef int (*old_view_fn)(void *arg, uint64_t off, struct old_view *ret, struct err *err);

/* New bytes [off, off + len) are the old bytes from old_off on. */
struct match {
	uint64_t off;
	uint64_t len;
	uint64_t old_off;
};

struct matcher;

/*
 * Index the @size old bytes, at least 1, that @view shows. Returns 0 and sets
 * *@ret, which keeps @view and @arg; -ENOMEM; what @view returned.
 */
MUST_CHECK int matcher_new(uint64_t size, old_view_fn view, void *arg, struct matcher **ret,
                           struct err *err);

/* Accepts NULL. */
void matcher_free(struct matcher *m);
DEFINE_CLEANUP(struct matcher *, matcher_free)

/*
 * Look for matches of at least @min bytes, the same number each time, in the
 * next @len new bytes at @data; @last says that no bytes follow them. Bytes are
 * passed from the first to the last, in windows of any size: the matches are the same.
 * Returns 0; -ENOMEM; what the view returned.
 */
MUST_CHECK int matcher_next(struct matcher *m, const uint8_t *data, size_t len, uint64_t min,
                            bool last, struct err *err);

/* Matches found so far: ascending, without overlap. Borrowed until the next call. */
const struct match *matcher_matches(const struct matcher *m, size_t *ret_n);
