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
	bool checked; /* by its digest */
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

/* The slot that has @chunk, or NULL. */
static struct slot *find_slot(struct plain_cache *cache, const struct image *img,
                              const struct chunk *chunk)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &cache->slots[i];

		if (slot->img == img && slot->chunk == chunk->id)
			return slot;
	}
	return NULL;
}

/* Bytes that are not checked are good enough for who does not ask for more. */
static int read_slot(struct plain_cache *cache, struct image *img, const struct chunk *chunk,
                     bool check, const uint8_t **ret, struct err *err)
{
	struct slot *slot = find_slot(cache, img, chunk);
	int r;

	if (slot && check && !slot->checked) {
		empty_slot(cache, slot);
		slot = NULL;
	}
	if (!slot) {
		CLEANUP(free) uint8_t *plain = malloc(chunk->size);

		if (!plain)
			return err_set(err, -ENOMEM, "out of memory");
		chunk_reader_set_checks(cache->reader, check ? CHECK_DIGEST : 0);
		r = image_read_chunk_to(img, cache->reader, chunk, plain, err);
		if (r < 0)
			return r;
		slot = make_room(cache, chunk->size);
		*slot = (struct slot){
			.img = img,
			.chunk = chunk->id,
			.plain = TAKE_PTR(plain),
			.size = chunk->size,
			.checked = check,
		};
		cache->bytes += chunk->size;
	}
	slot->used = ++cache->clock;
	*ret = slot->plain;
	return 0;
}

int plain_cache_read(struct plain_cache *cache, struct image *img, const struct chunk *chunk,
                     const uint8_t **ret, struct err *err)
{
	return read_slot(cache, img, chunk, /* check= */ true, ret, err);
}

int plain_cache_read_unchecked(struct plain_cache *cache, struct image *img,
                               const struct chunk *chunk, const uint8_t **ret, struct err *err)
{
	return read_slot(cache, img, chunk, /* check= */ false, ret, err);
}
