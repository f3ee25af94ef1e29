/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items of one size that live long, in blocks of their own: among what comes and goes they would
 * keep pages of the heap alive, a few of them each. What is put back is used again; a block is freed
 * with the pool.
 *
 * No locking: whoever owns the pool serialises its use.
 */
#pragma once

#include <stddef.h>

struct pool {
	size_t size;               /* of an item, in bytes; a multiple of what aligns it */
	struct pool_item *spare;   /* that were put back */
	struct pool_block *blocks; /* owned; first the one that is being dealt out */
	size_t n_left;             /* items of it that were never dealt out */
};

#define POOL_INIT(type) ((struct pool){ .size = sizeof(type) })

/* An item of zeros, which belongs to the pool, or NULL when memory runs out. */
void *pool_get(struct pool *pool);

/* Accepts NULL. */
void pool_put(struct pool *pool, void *item);

/* Free the blocks. All items have been put back. */
void pool_release(struct pool *pool);
