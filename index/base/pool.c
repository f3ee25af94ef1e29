/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* AddressSanitizer is to see each item come and go. */
#ifdef __SANITIZE_ADDRESS__

void *pool_get(struct pool *pool)
{
	return calloc(1, pool->size);
}

void pool_put(struct pool *pool, void *item)
{
	(void)pool;
	free(item);
}

void pool_release(struct pool *pool)
{
	(void)pool;
}

#else

/* Bytes, less what malloc() adds to them. */
enum { BLOCK = (16 << 10) - 16 };

struct pool_item {
	struct pool_item *next;
};

struct pool_block {
	struct pool_block *next;
	_Alignas(max_align_t) uint8_t items[];
};

/* Returns false without memory. */
static bool add_block(struct pool *pool)
{
	size_t n = (BLOCK - sizeof(struct pool_block)) / pool->size;
	struct pool_block *block;

	n = n > 0 ? n : 1;
	block = malloc(sizeof(*block) + n * pool->size);
	if (!block)
		return false;
	block->next = pool->blocks;
	pool->blocks = block;
	pool->n_left = n;
	return true;
}

void *pool_get(struct pool *pool)
{
	struct pool_item *item = pool->spare;

	if (item) {
		pool->spare = item->next;
		return memset(item, 0, pool->size);
	}
	if (pool->n_left == 0 && !add_block(pool))
		return NULL;
	pool->n_left--;
	return memset(pool->blocks->items + pool->n_left * pool->size, 0, pool->size);
}

void pool_put(struct pool *pool, void *item)
{
	struct pool_item *spare = item;

	if (!spare)
		return;
	spare->next = pool->spare;
	pool->spare = spare;
}

void pool_release(struct pool *pool)
{
	struct pool_block *block;

	while ((block = pool->blocks) != NULL) {
		pool->blocks = block->next;
		free(block);
	}
	pool->spare = NULL;
	pool->n_left = 0;
}

#endif
