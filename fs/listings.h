/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small directories whose listings the kernel may have in its page cache: a page each, charged
 * to who has listed them first. What was listed at a start is seldom listed again.
 *
 * Hints: the kernel may drop a listing at any time. Thread rule: any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct listings;

/* Returns NULL when memory runs out. */
struct listings *listings_new(void);

/* Accepts NULL. */
void listings_free(struct listings *listings);

/*
 * Directory @ino, of @entries, was listed to its end. Forgotten when it is large, when there are too
 * many, and without memory: then its listing stays.
 */
void listings_add(struct listings *listings, uint64_t ino, uint64_t entries);

/* Call @fn for each that was added since the last time, without a lock. */
void listings_take(struct listings *listings, void (*fn)(void *arg, uint64_t ino), void *arg);
