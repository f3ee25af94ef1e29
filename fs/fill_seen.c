/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunks of which objects hold bytes, and where they lie. The lock is held
 * for a look or an addition, never while bytes are read.
 *
 * An object that leaves the region takes its pieces along. So that this does
 * not need a search through all chunks, each object has notes of the chunks
 * that were placed in it.
 */
#include <errno.h>
#include <stdlib.h>

#include "fill_internal.h"
#include "pieces.h"

/* A chunk of which bytes were placed. */
struct seen {
	struct table_node node; /* in fill->seen */
	struct digest digest;
	struct pieces pieces; /* of it */
	uint32_t n_notes;     /* that name it; freed with the last */
	bool torn;            /* bytes of it have left the region */
};

/*
 * The chunks that were placed in an object; one may be there several times. Most objects are of one
 * chunk.
 */
struct notes {
	union {
		struct seen *one;    /* while cap is 0 */
		struct seen **chunk; /* owned */
	};
	uint32_t n, cap;
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

bool seen_whole(struct fill *fill, const struct digest *digest)
{
	struct seen *seen;
	bool whole;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, digest);
	whole = seen && !seen->torn;
	if (seen)
		seen->torn = false; /* its bytes are on their way back */
	(void)pthread_mutex_unlock(&fill->lock);
	return whole;
}

/* The entry of the chunk of @digest. With fill->lock held. Returns NULL without memory. */
static struct seen *find_or_add(struct fill *fill, const struct digest *digest)
{
	struct seen *seen = find_seen(fill, digest);

	if (seen)
		return seen;
	seen = pool_get(&fill->seen_pool);
	if (!seen || table_insert(&fill->seen, &seen->node, digest_key(digest)) < 0) {
		pool_put(&fill->seen_pool, seen);
		return NULL;
	}
	seen->digest = *digest;
	return seen;
}

static void free_seen(struct fill *fill, struct seen *seen)
{
	table_remove(&fill->seen, &seen->node);
	pieces_release(&seen->pieces);
	pool_put(&fill->seen_pool, seen);
}

/* The list of chunks, also of one. */
static struct seen **chunks_of(struct notes *notes)
{
	return notes->cap > 0 ? notes->chunk : &notes->one;
}

static bool make_room(struct notes *notes)
{
	uint32_t cap = notes->cap > 0 ? notes->cap * 2 : 2;
	struct seen **more;

	if (notes->n < (notes->cap > 0 ? notes->cap : 1))
		return true;
	more = reallocarray(notes->cap > 0 ? notes->chunk : NULL, cap, sizeof(struct seen *));
	if (!more)
		return false;
	if (notes->cap == 0)
		more[0] = notes->one;
	notes->chunk = more;
	notes->cap = cap;
	return true;
}

static void notes_release(struct notes *notes)
{
	if (notes->cap > 0)
		free(notes->chunk);
}

/* Note that @obj has bytes of @seen. With fill->lock held. Returns false without memory. */
static bool note(struct fill *fill, struct object *obj, struct seen *seen)
{
	void **slot = object_notes(obj);
	struct notes *notes = *slot;

	if (!notes)
		*slot = notes = pool_get(&fill->notes_pool);
	if (!notes)
		return false;
	if (notes->n > 0 && chunks_of(notes)[notes->n - 1] == seen)
		return true;
	if (!make_room(notes))
		return false;
	chunks_of(notes)[notes->n++] = seen;
	seen->n_notes++;
	return true;
}

void seen_add(struct fill *fill, const struct extent *x, struct object *obj)
{
	const struct piece piece = { .obj = obj,
		                     .off = x->off,
		                     .chunk_off = x->chunk_off,
		                     .len = x->len };
	struct seen *seen;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_or_add(fill, &x->chunk.digest);
	if (seen && note(fill, obj, seen))
		pieces_add(&seen->pieces, &piece);
	else if (seen && seen->n_notes == 0)
		free_seen(fill, seen);
	(void)pthread_mutex_unlock(&fill->lock);
}

/* A region_evicted_fn for a struct fill: forget what lies in @obj. */
static void seen_forget(void *arg, struct object *obj)
{
	struct fill *fill = arg;
	struct notes *notes;

	(void)pthread_mutex_lock(&fill->lock);
	notes = *object_notes(obj);
	*object_notes(obj) = NULL;
	for (uint32_t i = 0; notes && i < notes->n; i++) {
		struct seen *seen = chunks_of(notes)[i];

		pieces_drop(&seen->pieces, obj);
		seen->torn = true;
		if (--seen->n_notes == 0)
			free_seen(fill, seen);
	}
	if (notes)
		notes_release(notes);
	pool_put(&fill->notes_pool, notes);
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

/* A run of a chunk's bytes in an object. */
struct run {
	struct object *obj; /* owned reference */
	uint64_t off;       /* in the object */
	uint32_t len;
};

/*
 * Find the longest run that begins at byte @pos of @chunk, and at most @len bytes of it.
 * Returns false when there is none, or its object is going.
 */
static bool run_at(struct fill *fill, const struct chunk *chunk, uint32_t pos, uint32_t len,
                   struct run *ret)
{
	const struct piece *piece = NULL;
	const struct seen *seen;
	bool got;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, &chunk->digest);
	if (seen)
		piece = pieces_at(&seen->pieces, pos);
	got = piece && object_try_ref(piece->obj);
	if (got) {
		uint32_t skip = pos - piece->chunk_off;

		*ret = (struct run){ .obj = piece->obj, .off = piece->off + skip, .len = len };
		if (len > piece->len - skip)
			ret->len = piece->len - skip;
	}
	(void)pthread_mutex_unlock(&fill->lock);
	return got;
}

int seen_read(struct fill *fill, const struct chunk *chunk, uint32_t off, uint32_t len, void *buf)
{
	uint8_t *to = buf;
	struct run run;
	int r;

	if (!seen_covers(fill, chunk, off, len))
		return 0;
	for (uint32_t done = 0; done < len; done += run.len) {
		if (!run_at(fill, chunk, off + done, len - done, &run))
			return 0;
		r = object_read(run.obj, to + done, run.len, run.off);
		object_unref(run.obj);
		if (r < 0)
			return r;
	}
	return 1;
}

int seen_copy(struct fill *fill, const struct extent *x, struct object *obj)
{
	struct run run;
	int r;

	if (!seen_covers(fill, &x->chunk, x->chunk_off, x->len))
		return 0;
	for (uint32_t done = 0; done < x->len; done += run.len) {
		if (!run_at(fill, &x->chunk, x->chunk_off + done, x->len - done, &run))
			return 0;
		r = copy_between(run.obj, run.off, obj, x->off + done, run.len);
		object_unref(run.obj);
		if (r < 0)
			return r;
	}
	return 1;
}

void seen_init(struct fill *fill)
{
	fill->seen_pool = POOL_INIT(struct seen);
	fill->notes_pool = POOL_INIT(struct notes);
	region_set_evicted(fill->region, seen_forget, fill);
}

void seen_free(struct fill *fill)
{
	region_forget_all(fill->region);
	region_set_evicted(fill->region, NULL, NULL);
	table_release(&fill->seen);
	pool_release(&fill->seen_pool);
	pool_release(&fill->notes_pool);
}
