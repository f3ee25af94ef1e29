/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunks that were decompressed, and where their bytes lie. The lock is
 * held for a look or an addition, never while bytes are read: a piece that was
 * found stays good, and what is covered stays covered (pieces.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "fill_internal.h"
#include "pieces.h"

/* A chunk that has been decompressed. */
struct seen {
	struct table_node node; /* in fill->seen */
	struct digest digest;
	struct pieces pieces; /* of it; none when no object got any */
};

/* With fill->lock held. */
static struct seen *find_seen(const struct fill *fill, const struct digest *digest)
{
	struct table_node *n = table_first(&fill->seen, digest_key(digest));

	for (; n; n = table_next(n)) {
		struct seen *seen = TABLE_ENTRY(n, struct seen, node);

		if (digest_equal(&seen->digest, digest))
			return seen;
	}
	return NULL;
}

bool seen_note(struct fill *fill, const struct digest *digest)
{
	CLEANUP(free) struct seen *fresh = calloc(1, sizeof(*fresh));
	struct seen *seen;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, digest);
	if (!seen && fresh && table_insert(&fill->seen, &fresh->node, digest_key(digest)) == 0) {
		fresh->digest = *digest;
		fresh = NULL;
	}
	(void)pthread_mutex_unlock(&fill->lock);
	return seen != NULL;
}

void seen_add(struct fill *fill, const struct extent *x, struct object *obj)
{
	const struct piece piece = { .obj = obj,
		                     .off = x->off,
		                     .chunk_off = x->chunk_off,
		                     .len = x->len };
	struct seen *seen;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, &x->chunk.digest);
	if (seen)
		pieces_add(&seen->pieces, &piece);
	(void)pthread_mutex_unlock(&fill->lock);
}

bool seen_covers(struct fill *fill, const struct chunk *chunk, uint32_t off, uint32_t len)
{
	const struct seen *seen;
	bool covers;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, &chunk->digest);
	covers = seen && pieces_cover(&seen->pieces, off, len);
	(void)pthread_mutex_unlock(&fill->lock);
	return covers;
}

/* The piece of @chunk that reaches furthest from byte @pos, which pieces hold. */
static struct piece piece_at(struct fill *fill, const struct chunk *chunk, uint32_t pos)
{
	struct piece piece;

	(void)pthread_mutex_lock(&fill->lock);
	piece = *pieces_at(&find_seen(fill, &chunk->digest)->pieces, pos);
	(void)pthread_mutex_unlock(&fill->lock);
	return piece;
}

int seen_read(struct fill *fill, const struct chunk *chunk, uint32_t off, uint32_t len, void *buf)
{
	const uint32_t end = off + len;
	uint8_t *to = buf;

	if (!seen_covers(fill, chunk, off, len))
		return 0;
	while (off < end) {
		const struct piece piece = piece_at(fill, chunk, off);
		uint32_t skip = off - piece.chunk_off;
		uint32_t n = piece.len - skip < end - off ? piece.len - skip : end - off;
		int r = object_read(piece.obj, to, n, piece.off + skip);

		if (r < 0)
			return r;
		to += n;
		off += n;
	}
	return 1;
}

int seen_copy(struct fill *fill, const struct extent *x, struct object *obj)
{
	if (!seen_covers(fill, &x->chunk, x->chunk_off, x->len))
		return 0;
	for (uint32_t done = 0; done < x->len;) {
		uint32_t pos = x->chunk_off + done;
		const struct piece piece = piece_at(fill, &x->chunk, pos);
		uint32_t skip = pos - piece.chunk_off;
		uint32_t n = piece.len - skip < x->len - done ? piece.len - skip : x->len - done;
		int r = copy_between(piece.obj, piece.off + skip, obj, x->off + done, n);

		if (r < 0)
			return r;
		done += n;
	}
	return 1;
}

void seen_free(struct fill *fill)
{
	struct table_node *n;

	while ((n = table_walk(&fill->seen, NULL)) != NULL) {
		struct seen *seen = TABLE_ENTRY(n, struct seen, node);

		table_remove(&fill->seen, n);
		pieces_release(&seen->pieces);
		free(seen);
	}
	table_release(&fill->seen);
}
