/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline_delta.h"

#include <errno.h>
#include <string.h>

#include "base.h"
#include "base/grow.h"
#include "codec.h"

enum {
	PREFIX_SHARE = 2,       /* a prefix has so many times the bytes of a slice, */
	PREFIX_MIN = 256 << 10, /* or this many: to index it costs as much as to compress it */
	TABLE_ENTRY_BYTES = 48, /* what a delta costs beside its frame */
	WORTH_NUM = 9,          /* a delta is kept below 9/10 of the frame */
	WORTH_DEN = 10,
};

struct delta_maker {
	int level;
	struct codec *codec;       /* owned */
	struct plain_cache *cache; /* owned */
	/* owned; room for the largest, of which only what is used is ever touched */
	uint8_t *prefix; /* FORMAT_PREFIX_MAX bytes */
	uint8_t *frame;  /* frame_max bytes */
	size_t frame_max;
};

/* The chunks that a prefix is made of, and where each comes from. */
struct prefix_list {
	const struct chunk *chunks[DELTA_BASES_MAX];
	struct image *images[DELTA_BASES_MAX];
	uint32_t n;
};

struct delta_maker *delta_maker_new(int level)
{
	CLEANUP(delta_maker_free) struct delta_maker *maker = calloc(1, sizeof(*maker));

	if (!maker)
		return NULL;
	maker->level = level;
	maker->codec = codec_new();
	maker->cache = plain_cache_new();
	maker->prefix = malloc(FORMAT_PREFIX_MAX);
	maker->frame_max = codec_bound(FORMAT_CHUNK_MAX);
	maker->frame = malloc(maker->frame_max);
	if (!maker->codec || !maker->cache || !maker->prefix || !maker->frame)
		return NULL;
	return TAKE_PTR(maker);
}

void delta_maker_free(struct delta_maker *maker)
{
	if (!maker)
		return;
	codec_free(maker->codec);
	plain_cache_free(maker->cache);
	free(maker->prefix);
	free(maker->frame);
	free(maker);
}

static uint64_t prefix_budget(uint32_t len)
{
	uint64_t bytes = (uint64_t)len * PREFIX_SHARE;

	if (bytes < PREFIX_MIN)
		bytes = PREFIX_MIN;
	return bytes < FORMAT_PREFIX_MAX ? bytes : FORMAT_PREFIX_MAX;
}

/* What the parts of @s stand in for. */
static void list_bases(const struct block *b, const struct slice *s, struct prefix_list *list)
{
	uint64_t budget = prefix_budget(s->len);

	for (uint32_t i = 0; i < s->n_parts && list->n < DELTA_BASES_MAX; i++) {
		const struct part *part = &b->parts[s->first_part + i];
		const struct base *base = part->content->base;
		uint32_t before = list->n;

		if (!base)
			continue;
		list->n = base_chunks(base, part->off + part->len / 2, budget, list->chunks,
		                      list->n, DELTA_BASES_MAX);
		for (uint32_t k = before; k < list->n; k++)
			list->images[k] = base->img;
	}
}

/* Join the chunks' bytes. Returns how many there are, 0 when one cannot be read. */
static size_t read_prefix(const struct delta_maker *maker, const struct prefix_list *list)
{
	size_t size = 0;

	for (uint32_t i = 0; i < list->n; i++) {
		const struct chunk *chunk = list->chunks[i];
		const uint8_t *plain;

		if (plain_cache_read(maker->cache, list->images[i], chunk, &plain, NULL) < 0)
			return 0;
		memcpy(maker->prefix + size, plain, chunk->size);
		size += chunk->size;
	}
	return size;
}

/* Put the @size bytes at @frame into the block, as the delta of @s. */
static int keep(struct block *b, struct slice *s, const struct prefix_list *list,
                const uint8_t *frame, size_t size)
{
	if (size > b->deltas_size - b->deltas_used) {
		size_t room = b->deltas_size * 2 + size;
		uint8_t *deltas = realloc(b->deltas, room);

		if (!deltas)
			return -ENOMEM;
		b->deltas = deltas;
		b->deltas_size = room;
	}
	memcpy(b->deltas + b->deltas_used, frame, size);
	s->delta_start = b->deltas_used;
	s->delta_size = (uint32_t)size;
	s->first_base = (uint32_t)b->n_bases;
	s->n_bases = list->n;
	b->deltas_used += size;
	for (uint32_t i = 0; i < list->n; i++) {
		struct digest *bases =
			array_grow(b->bases, b->n_bases, &b->bases_max, sizeof(*bases));

		if (!bases)
			return -ENOMEM;
		b->bases = bases;
		bases[b->n_bases++] = list->chunks[i]->digest;
	}
	return 0;
}

int delta_maker_try(struct delta_maker *maker, struct block *b, struct slice *s)
{
	struct prefix_list list = { .n = 0 };
	size_t prefix_size, size;
	int r;

	list_bases(b, s, &list);
	prefix_size = list.n > 0 ? read_prefix(maker, &list) : 0;
	if (prefix_size == 0)
		return 0;
	r = codec_compress_delta(maker->codec, maker->level, maker->prefix, prefix_size,
	                         b->plain + s->start, s->len, maker->frame, maker->frame_max,
	                         &size);
	if (r < 0)
		return r;
	if (size + TABLE_ENTRY_BYTES >= (uint64_t)s->frame_size * WORTH_NUM / WORTH_DEN)
		return 0;
	return keep(b, s, &list, maker->frame, size);
}
