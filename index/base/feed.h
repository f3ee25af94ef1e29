/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of a file, read by a thread of its own while the caller works on earlier ones. A short file
 * is read by the caller. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

#define FEED_BLOCK ((size_t)1 << 17) /* bytes of a block; the last one may have fewer */

struct feed;

/* Called with each block before feed_next() gives it out, in order; by whichever thread reads. */
typedef void (*feed_fn)(void *arg, const void *data, size_t len);

/*
 * Begin to read the first @size bytes of @fd (borrowed). @fn may be NULL. Returns 0 and sets *@ret,
 * or -ENOMEM.
 */
MUST_CHECK int feed_open(int fd, uint64_t size, feed_fn fn, void *arg, struct feed **ret);

/*
 * The next block: sets *@ret and *@ret_len, good until the next call. Returns 1; 0 after the last
 * one; -ENODATA when the file has become shorter; -errno.
 */
MUST_CHECK int feed_next(struct feed *feed, const void **ret, size_t *ret_len);

/* Accepts NULL. Waits for the thread: @fn is not called any more. */
void feed_free(struct feed *feed);
DEFINE_CLEANUP(struct feed *, feed_free)
