/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of byte ranges, kept sorted, disjoint and merged: which parts of an
 * object are placed, or of a blob are there. Files are mostly filled in order, so that the set is
 * mostly one range. No locking: the owner serialises.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct range {
	uint64_t start, end; /* start < end */
};

struct ranges {
	struct range *range; /* owned */
	size_t n, cap;
};

#define RANGES_INIT ((struct ranges){ .range = NULL, .n = 0, .cap = 0 })

void ranges_release(struct ranges *set);

/* Add [@start, @end). Returns 0, or -ENOMEM with the set unchanged. */
MUST_CHECK int ranges_add(struct ranges *set, uint64_t start, uint64_t end);

/* Take [@start, @end) out. Returns 0, or -ENOMEM with the set unchanged. */
MUST_CHECK int ranges_remove(struct ranges *set, uint64_t start, uint64_t end);

/* Whether every byte of [@start, @end) is in the set; the empty range always is. */
bool ranges_cover(const struct ranges *set, uint64_t start, uint64_t end);

/* Whether any byte of [@start, @end) is in the set. */
bool ranges_touch(const struct ranges *set, uint64_t start, uint64_t end);

/* Whether bytes of [@start, @end) are missing; sets *@ret to the first run of such. */
bool ranges_gap(const struct ranges *set, uint64_t start, uint64_t end, struct range *ret);

/* Bytes in the set. */
uint64_t ranges_bytes(const struct ranges *set);
