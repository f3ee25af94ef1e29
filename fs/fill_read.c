/* SPDX-License-Identifier: Apache-2.0 */
/* Reads past the region, when it has no room. */
#include <stdlib.h>
#include <string.h>

#include "fill_internal.h"

/* A read past the region: the @len bytes at @off of a content. */
struct reading {
	struct fill *fill;
	struct image *img;
	struct pooled_reader *pooled;
	uint64_t off;
	size_t len;
	uint8_t *buf;         /* borrowed; for these bytes */
	const uint8_t *plain; /* the chunk at hand; NULL when it was not decompressed */
};

/*
 * Put @len bytes at @off of @chunk at @to: from the chunk at hand, from where they are
 * placed, or from the chunk decompressed, which is at hand then. Returns 1
 * when it was not decompressed for that, 0 when it was, -errno.
 */
static int read_run(struct reading *read, const struct chunk *chunk, uint32_t off, uint32_t len,
                    uint8_t *to, struct err *err)
{
	bool is_at_hand = read->plain != NULL;

	if (!is_at_hand) {
		const void *plain;
		int r = seen_read(read->fill, chunk, off, len, to);

		if (r < 0)
			return err_set(err, r, "region: %s", strerrordesc_np(-r));
		if (r > 0)
			return 1;
		read->pooled->plain = NULL;
		r = decompress(read->fill, read->img, read->pooled->reader, chunk, &plain, err);
		if (r < 0)
			return r;
		stats_add(read->fill->stats, STAT_CHUNKS_PAST_REGION, 1);
		read->plain = plain;
		read->pooled->plain = plain;
		read->pooled->digest = chunk->digest;
	}
	memcpy(to, read->plain + off, len);
	return is_at_hand;
}

/* Read what is wanted of @x. */
static int read_extent(struct reading *read, const struct extent *x, struct err *err)
{
	uint64_t start = x->off > read->off ? x->off : read->off;
	uint64_t end = x->off + x->len;
	int r;

	if (end > read->off + read->len)
		end = read->off + read->len;
	stats_add(read->fill->stats, STAT_CHUNK_REQUESTS, 1);
	r = read_run(read, &x->chunk, x->chunk_off + (uint32_t)(start - x->off),
	             (uint32_t)(end - start), read->buf + (start - read->off), err);
	if (r > 0)
		stats_add(read->fill->stats, STAT_CHUNK_HITS, 1);
	return r < 0 ? r : 0;
}

static int compare_chunks(const void *a, const void *b)
{
	const struct extent *x = *(const struct extent *const *)a;
	const struct extent *y = *(const struct extent *const *)b;

	if (x->chunk.id != y->chunk.id)
		return x->chunk.id < y->chunk.id ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

/* The plain bytes of @chunk if @pooled has read them last; else NULL. */
static const uint8_t *at_hand(const struct pooled_reader *pooled, const struct chunk *chunk)
{
	return pooled->plain && digest_equal(&pooled->digest, &chunk->digest) ? pooled->plain
	                                                                      : NULL;
}

/* Read the @n extents at @x, chunk after chunk: one that has several is decompressed once. */
static int read_extents(struct reading *read, const struct extent *x, uint32_t n, struct err *err)
{
	CLEANUP(free) const struct extent **order = calloc(n + (size_t)1, sizeof(struct extent *));
	int r = 0;

	if (!order)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < n; i++)
		order[i] = &x[i];
	qsort(order, n, sizeof(struct extent *), compare_chunks);
	for (uint32_t i = 0; i < n && r == 0; i++) {
		if (i == 0 || order[i]->chunk.id != order[i - 1]->chunk.id)
			read->plain = at_hand(read->pooled, &order[i]->chunk);
		r = read_extent(read, order[i], err);
	}
	return r;
}

int fill_read(struct fill *fill, struct extent_map *map, uint64_t off, size_t len, void *buf,
              struct err *err)
{
	struct reading read = { .fill = fill, .img = map->img, .off = off, .len = len, .buf = buf };
	uint32_t first = first_extent(map, off);
	uint32_t end = first;
	int r;

	r = borrow_reader(fill, map->img, first < map->n ? &map->extent[first].chunk.digest : NULL,
	                  &read.pooled, err);
	if (r < 0)
		return r;
	background_yield(fill->background);
	while (end < map->n && map->extent[end].off < off + len)
		end++;
	memset(buf, 0, len); /* holes */
	r = read_extents(&read, &map->extent[first], end - first, err);
	background_resume(fill->background);
	return_reader(fill, read.pooled);
	return r;
}
