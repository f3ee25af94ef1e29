/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK_SIZE = 1 << 20, /* far above malloc()'s threshold: pages not reached cost nothing */
	LARGE = BLOCK_SIZE / 4,
	ALIGN_MAX = 16,
};

struct arena_block {
	alignas(ALIGN_MAX) struct arena_block *next;
	alignas(ALIGN_MAX) uint8_t bytes[];
};

static struct arena_block *add_block(struct arena_block **where, size_t size)
{
	struct arena_block *b = NULL;

	if (size <= SIZE_MAX - sizeof(*b))
		b = malloc(sizeof(*b) + size);
	if (!b)
		return NULL;
	b->next = *where;
	*where = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t size, size_t align)
{
	size_t at = (a->used + align - 1) & ~(align - 1);
	struct arena_block *b;

	if (a->blocks && at <= BLOCK_SIZE && size <= BLOCK_SIZE - at) {
		a->used = at + size;
		return a->blocks->bytes + at;
	}
	/* A large piece has a block of its own, behind the one whose rest is still of use. */
	if (a->blocks && size >= LARGE) {
		b = add_block(&a->blocks->next, size);
		return b ? b->bytes : NULL;
	}
	b = add_block(&a->blocks, size > BLOCK_SIZE ? size : (size_t)BLOCK_SIZE);
	if (!b)
		return NULL;
	a->used = size;
	return b->bytes;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return arena_alloc(a, bytes, alignof(uint64_t));
}

void *arena_copy(struct arena *a, const void *data, size_t len)
{
	uint8_t *copy = len < SIZE_MAX ? arena_alloc(a, len + 1, 1) : NULL;

	if (!copy)
		return NULL;
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	return copy;
}

void arena_release(struct arena *a)
{
	for (struct arena_block *b = a->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	*a = ARENA_INIT;
}
