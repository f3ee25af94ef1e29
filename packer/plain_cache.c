/* SPDX-License-Identifier: Apache-2.0 */
#include "plain_cache.h"

#include <errno.h>

enum {
	SLOTS = 128,
	BYTES_MAX = 4 << 20, /* of all slots but the one in use */
};

struct slot {
	const struct image *img; /* borrowed; NULL: the slot is free */
	uint64_t chunk;
	uint64_t used;  /* the larger, the later */
	uint8_t *plain; /* owned */
	size_t size;
};

struct plain_cache {
	struct chunk_reader *reader; /* owned */
	struct slot slots[SLOTS];
	uint64_t clock;
	size_t bytes;
};

struct plain_cache *plain_cache_new(void)
{
	CLEANUP(plain_cache_free) struct plain_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->reader = chunk_reader_new();
	return cache->reader ? TAKE_PTR(cache) : NULL;
}

void plain_cache_free(struct plain_cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		free(cache->slots[i].plain);
	chunk_reader_free(cache->reader);
	free(cache);
}

static void empty_slot(struct plain_cache *cache, struct slot *slot)
{
	cache->bytes -= slot->size;
	free(slot->plain);
	*slot = (struct slot){ .img = NULL };
}

/* The slot that is free, or else the one that has not been used for longest. */
static struct slot *oldest_slot(struct plain_cache *cache, bool in_use)
{
	struct slot *oldest = &cache->slots[0];

	for (size_t i = 1; i < SLOTS; i++) {
		struct slot *s = &cache->slots[i];

		if (in_use && (!s->img || (oldest->img && s->used >= oldest->used)))
			continue;
		if (in_use || s->used < oldest->used)
			oldest = s;
	}
	return oldest;
}

/* An empty slot, with room for @size bytes beside the others. A free one has not been used ever. */
static struct slot *make_room(struct plain_cache *cache, size_t size)
{
	struct slot *slot;

	while (cache->bytes > 0 && cache->bytes + size > BYTES_MAX)
		empty_slot(cache, oldest_slot(cache, /* in_use= */ true));
	slot = oldest_slot(cache, /* in_use= */ false);
	empty_slot(cache, slot);
	return slot;
}

int plain_cache_read(struct plain_cache *cache, struct image *img, const struct chunk *chunk,
                     const uint8_t **ret, struct err *err)
{
	const void *plain;
	struct slot *slot;
	int r;

	for (size_t i = 0; i < SLOTS; i++) {
		slot = &cache->slots[i];
		if (slot->img == img && slot->chunk == chunk->id) {
			slot->used = ++cache->clock;
			*ret = slot->plain;
			return 0;
		}
	}
	r = image_read_chunk(img, cache->reader, chunk, &plain, err);
	if (r < 0)
		return r;
	slot = make_room(cache, chunk->size);
	slot->plain = malloc(chunk->size);
	if (!slot->plain)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(slot->plain, plain, chunk->size);
	slot->img = img;
	slot->chunk = chunk->id;
	slot->size = chunk->size;
	slot->used = ++cache->clock;
	cache->bytes += chunk->size;
	*ret = slot->plain;
	return 0;
}
