/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is handed out bit by bit and freed at once: no header and no
 * rounding for each piece. One thread at a time.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* owned; the one that is being used first */
	size_t used;                /* bytes of that one */
};

#define ARENA_INIT ((struct arena){ .blocks = NULL })

/*
 * @size bytes, not set to anything, at a multiple of @align, a power of two of
 * at most 16. Returns NULL when memory runs out.
 */
MUST_CHECK void *arena_alloc(struct arena *a, size_t size, size_t align);

/* Room for @n elements of @size bytes for any type of at most 8 bytes' alignment; as arena_alloc(). */
MUST_CHECK void *arena_array(struct arena *a, size_t n, size_t size);

/* A copy of the @len bytes at @data with a NUL behind them; as arena_alloc(). */
MUST_CHECK void *arena_copy(struct arena *a, const void *data, size_t len);

/* Free all pieces. */
void arena_release(struct arena *a);

static inline void arena_release_cleanup(struct arena *a)
{
	arena_release(a);
}
