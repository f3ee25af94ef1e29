/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants
 * 1. At most one flight per chunk digest exists at a time; whoever creates it
 *    ends it, with success or failure, and wakes the waiters.
 * 2. Coverage of the object is looked at again after a flight has been
 *    created: an earlier flight of the same chunk had placed its bytes before
 *    it ended, so that "not covered" is then final and the work is needed.
 * 3. seen has every chunk that was ever decompressed, with the object that holds
 *    it in one piece, if one does. Objects never go away while the region
 *    lives, so that the reference stays good.
 */
#include "fill.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "fill_internal.h"

/* Work on one chunk that others may wait for. */
struct flight {
	struct table_node node; /* in fill->flights while it is under way */
	struct digest digest;
	/* under fill->lock */
	unsigned refs;
	bool done;
	struct err err; /* code 0: it went well */
};

/* A chunk that has been decompressed. */
struct seen {
	struct table_node node; /* in fill->seen */
	struct digest digest;
	struct object *obj; /* holds the whole chunk at off; NULL when no object does */
	uint64_t off;
};

int extent_map_load(struct image *img, const struct content *content, struct extent_map **ret,
                    struct err *err)
{
	CLEANUP(free) struct extent_map *map = calloc(1, sizeof(*map));
	int r;

	if (!map)
		return err_set(err, -ENOMEM, "out of memory");
	map->refs = 1;
	map->img = img;
	map->content = *content;
	r = index_extents(image_index(img), content, &map->extent, &map->n, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(map);
	return 0;
}

struct extent_map *extent_map_ref(struct extent_map *map)
{
	(void)__atomic_fetch_add(&map->refs, 1, __ATOMIC_RELAXED);
	return map;
}

void extent_map_unref(struct extent_map *map)
{
	if (!map || __atomic_fetch_sub(&map->refs, 1, __ATOMIC_ACQ_REL) > 1)
		return;
	free(map->extent);
	free(map);
}

/* A reader that waits in the pool of readers; there are as many as threads ever needed at once. */
struct pooled_reader {
	struct pooled_reader *next;
	struct chunk_reader *reader; /* owned */
};

static struct pooled_reader *borrow_reader(struct fill *fill)
{
	CLEANUP(free) struct pooled_reader *fresh = NULL;
	struct pooled_reader *pooled;

	(void)pthread_mutex_lock(&fill->lock);
	pooled = fill->readers;
	if (pooled)
		fill->readers = pooled->next;
	(void)pthread_mutex_unlock(&fill->lock);
	if (pooled)
		return pooled;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return NULL;
	fresh->reader = chunk_reader_new();
	return fresh->reader ? TAKE_PTR(fresh) : NULL;
}

static void return_reader(struct fill *fill, struct pooled_reader *pooled)
{
	(void)pthread_mutex_lock(&fill->lock);
	pooled->next = fill->readers;
	fill->readers = pooled;
	(void)pthread_mutex_unlock(&fill->lock);
}

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

/*
 * Remember that @chunk was decompressed, and that @obj, unless NULL, holds all
 * of it at @off. Without memory it is forgotten, which costs at worst another
 * decompression.
 */
static void remember(struct fill *fill, const struct chunk *chunk, struct object *obj, uint64_t off)
{
	CLEANUP(free) struct seen *fresh = calloc(1, sizeof(*fresh));
	struct seen *seen;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, &chunk->digest);
	if (!seen && fresh &&
	    table_insert(&fill->seen, &fresh->node, digest_key(&chunk->digest)) == 0) {
		seen = TAKE_PTR(fresh);
		seen->digest = chunk->digest;
	}
	if (seen && obj && !seen->obj) {
		seen->obj = object_ref(obj);
		seen->off = off;
	}
	(void)pthread_mutex_unlock(&fill->lock);
}

static bool was_seen(struct fill *fill, const struct chunk *chunk)
{
	bool seen;

	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, &chunk->digest) != NULL;
	(void)pthread_mutex_unlock(&fill->lock);
	return seen;
}

/* Read and verify @chunk into @reader's buffer, and count it. */
static int decompress(struct fill *fill, struct image *img, struct chunk_reader *reader,
                      const struct chunk *chunk, const void **ret, struct err *err)
{
	int r = image_read_chunk(img, reader, chunk, ret, err);

	if (r < 0)
		return r;
	stats_add(fill->stats, STAT_CHUNKS_DECOMPRESSED, 1);
	stats_add(fill->stats, STAT_BYTES_DECOMPRESSED, chunk->size);
	if (was_seen(fill, chunk))
		stats_add(fill->stats, STAT_CHUNKS_DECOMPRESSED_AGAIN, 1);
	return 0;
}

/* Place what else is complete with this chunk. Failing costs another decompression later. */
static void place_siblings(struct fill *fill, struct image *img, const struct extent *asked,
                           const uint8_t *plain)
{
	CLEANUP(free) struct extent *extent = NULL;
	CLEANUP(free) struct content *content = NULL;
	uint32_t n = 0;

	if (index_chunk_contents(image_index(img), asked->chunk.id, &extent, &content, &n, NULL) <
	    0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		CLEANUP(object_unref) struct object *obj = NULL;

		if (content[i].id == asked->content ||
		    region_get(fill->region, &content[i].digest, content[i].size, &obj) < 0)
			continue;
		if (!object_complete(obj))
			(void)!object_place(obj, plain + extent[i].chunk_off, extent[i].len, 0);
	}
}

static bool is_whole_chunk(const struct extent *x)
{
	return x->chunk_off == 0 && x->len == x->chunk.size;
}

static int decompress_and_place(struct fill *fill, struct image *img, struct object *obj,
                                const struct extent *x, struct err *err)
{
	struct pooled_reader *pooled = borrow_reader(fill);
	const void *plain;
	int r;

	if (!pooled)
		return err_set(err, -ENOMEM, "out of memory");
	r = decompress(fill, img, pooled->reader, &x->chunk, &plain, err);
	if (r == 0) {
		r = object_place(obj, (const uint8_t *)plain + x->chunk_off, x->len, x->off);
		if (r < 0)
			(void)err_set(err, r, "region: %s", strerrordesc_np(-r));
		if (!is_whole_chunk(x))
			place_siblings(fill, img, x, plain);
		remember(fill, &x->chunk, r == 0 && is_whole_chunk(x) ? obj : NULL, x->off);
	}
	return_reader(fill, pooled);
	return r;
}

/* Copy an extent from @source, which holds the whole chunk at @source_off. */
static int copy_placed(struct fill *fill, struct object *source, uint64_t source_off,
                       struct object *obj, const struct extent *x, struct err *err)
{
	CLEANUP(free) void *plain = malloc(x->len);
	int r = plain ? object_read(source, plain, x->len, source_off + x->chunk_off) : -ENOMEM;

	if (r == 0)
		r = object_place(obj, plain, x->len, x->off);
	if (r < 0)
		return err_set(err, r, "region: %s", strerrordesc_np(-r));
	stats_add(fill->stats, STAT_CHUNKS_COPIED, 1);
	return 0;
}

/* With fill->lock held. */
static struct flight *find_flight(const struct fill *fill, const struct digest *digest)
{
	struct table_node *n = table_first(&fill->flights, digest_key(digest));

	for (; n; n = table_next(n)) {
		struct flight *flight = TABLE_ENTRY(n, struct flight, node);

		if (digest_equal(&flight->digest, digest))
			return flight;
	}
	return NULL;
}

/* With fill->lock held. */
static void flight_unref(struct flight *flight)
{
	if (--flight->refs == 0)
		free(flight);
}

/* A new flight of @chunk. With fill->lock held. Returns NULL when memory runs out. */
static struct flight *new_flight(struct fill *fill, const struct chunk *chunk)
{
	CLEANUP(free) struct flight *flight = calloc(1, sizeof(*flight));

	if (!flight || table_insert(&fill->flights, &flight->node, digest_key(&chunk->digest)) < 0)
		return NULL;
	flight->digest = chunk->digest;
	flight->refs = 1;
	return TAKE_PTR(flight);
}

/* Wait for @flight to land. With fill->lock held, which is given up meanwhile. Returns its outcome. */
static int await(struct fill *fill, struct flight *flight, struct err *err)
{
	int r;

	flight->refs++;
	while (!flight->done)
		(void)pthread_cond_wait(&fill->landed, &fill->lock);
	r = flight->err.code;
	if (r < 0)
		(void)err_set(err, r, "%s", flight->err.msg);
	flight_unref(flight);
	return r;
}

/*
 * Begin a flight of @chunk, which is then the caller's to fly and to end; or
 * wait for the one under way. Returns NULL in that case, with its outcome in
 * *@ret, and when memory runs out.
 */
static struct flight *flight_begin(struct fill *fill, const struct chunk *chunk, int *ret,
                                   struct err *err)
{
	struct flight *other;
	struct flight *ours = NULL;

	*ret = 0;
	(void)pthread_mutex_lock(&fill->lock);
	other = find_flight(fill, &chunk->digest);
	if (other)
		*ret = await(fill, other, err);
	else
		ours = new_flight(fill, chunk);
	(void)pthread_mutex_unlock(&fill->lock);
	if (!other && !ours)
		*ret = err_set(err, -ENOMEM, "out of memory");
	return ours;
}

static void flight_end(struct fill *fill, struct flight *flight, const struct err *outcome)
{
	(void)pthread_mutex_lock(&fill->lock);
	table_remove(&fill->flights, &flight->node);
	flight->err = *outcome;
	flight->done = true;
	flight_unref(flight);
	(void)pthread_cond_broadcast(&fill->landed);
	(void)pthread_mutex_unlock(&fill->lock);
}

/* What a flight does. Sets *@ret_hit unless the chunk had to be decompressed. */
static int fly(struct fill *fill, struct image *img, struct object *obj, const struct extent *x,
               bool *ret_hit, struct err *err)
{
	CLEANUP(object_unref) struct object *source = NULL;
	uint64_t source_off = 0;
	struct seen *seen;

	if (object_covers(obj, x->off, x->len)) {
		*ret_hit = true;
		return 0;
	}
	(void)pthread_mutex_lock(&fill->lock);
	seen = find_seen(fill, &x->chunk.digest);
	if (seen && seen->obj) {
		source = object_ref(seen->obj);
		source_off = seen->off;
	}
	(void)pthread_mutex_unlock(&fill->lock);
	*ret_hit = source != NULL;
	if (source)
		return copy_placed(fill, source, source_off, obj, x, err);
	return decompress_and_place(fill, img, obj, x, err);
}

/* Place one extent of @obj, unless it is placed already. Errors as fill_range(). */
static int fill_extent(struct fill *fill, struct image *img, struct object *obj,
                       const struct extent *x, struct err *err)
{
	bool hit = true;

	stats_add(fill->stats, STAT_CHUNK_REQUESTS, 1);
	while (!object_covers(obj, x->off, x->len)) {
		struct err outcome = ERR_INIT;
		int r;
		struct flight *flight = flight_begin(fill, &x->chunk, &r, err);

		if (r < 0)
			return r;
		if (!flight)
			continue;
		r = fly(fill, img, obj, x, &hit, &outcome);
		flight_end(fill, flight, &outcome);
		if (r < 0)
			return err_set(err, r, "%s", outcome.msg);
		break;
	}
	if (hit)
		stats_add(fill->stats, STAT_CHUNK_HITS, 1);
	return 0;
}

/* Mark what lies between extent @i of @map, or the end, and the one before it as placed. */
static int fill_hole(const struct extent_map *map, struct object *obj, uint32_t i, struct err *err)
{
	uint64_t start = i > 0 ? map->extent[i - 1].off + map->extent[i - 1].len : 0;
	uint64_t end = i < map->n ? map->extent[i].off : map->content.size;
	int r = 0;

	if (start < end && !object_covers(obj, start, end - start))
		r = object_place_hole(obj, start, end - start);
	return r < 0 ? err_set(err, r, "region: %s", strerrordesc_np(-r)) : 0;
}

int fill_part(struct fill *fill, const struct extent_map *map, struct object *obj, uint32_t i,
              struct err *err)
{
	int r = fill_hole(map, obj, i, err);

	if (r < 0 || i == map->n)
		return r;
	return fill_extent(fill, map->img, obj, &map->extent[i], err);
}

/* The first extent that ends after @off. */
static uint32_t first_extent(const struct extent_map *map, uint64_t off)
{
	uint32_t lo = 0;
	uint32_t hi = map->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (map->extent[mid].off + map->extent[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int fill_range(struct fill *fill, struct extent_map *map, struct object *obj, uint64_t off,
               uint64_t len, struct err *err)
{
	uint32_t i = first_extent(map, off);
	int r = 0;

	for (; r == 0 && i < map->n && map->extent[i].off < off + len; i++)
		r = fill_part(fill, map, obj, i, err);
	/* The range may end in a hole. */
	return r < 0 ? r : fill_hole(map, obj, i, err);
}

int fill_object(struct fill *fill, struct extent_map *map, struct object *obj, struct err *err)
{
	int first = 0;

	for (uint32_t i = 0; i <= map->n; i++) {
		struct err later = ERR_INIT;
		int r = fill_part(fill, map, obj, i, first < 0 ? &later : err);

		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

int fill_read(struct fill *fill, struct extent_map *map, uint64_t off, size_t len, void *buf,
              struct err *err)
{
	struct pooled_reader *pooled = borrow_reader(fill);
	int r = 0;

	if (!pooled)
		return err_set(err, -ENOMEM, "out of memory");
	memset(buf, 0, len); /* holes */
	for (uint32_t i = first_extent(map, off);
	     r == 0 && i < map->n && map->extent[i].off < off + len; i++) {
		const struct extent *x = &map->extent[i];
		uint64_t start = x->off > off ? x->off : off;
		uint64_t end = x->off + x->len < off + len ? x->off + x->len : off + len;
		const void *plain;

		stats_add(fill->stats, STAT_CHUNK_REQUESTS, 1);
		r = decompress(fill, map->img, pooled->reader, &x->chunk, &plain, err);
		if (r < 0)
			break;
		remember(fill, &x->chunk, /* obj= */ NULL, 0);
		memcpy((uint8_t *)buf + (start - off),
		       (const uint8_t *)plain + x->chunk_off + (start - x->off), end - start);
	}
	return_reader(fill, pooled);
	return r;
}

int fill_new(struct region *region, struct stats *stats, unsigned n_threads, struct fill **ret,
             struct err *err)
{
	CLEANUP(fill_free) struct fill *fill = calloc(1, sizeof(*fill));
	int r;

	if (!fill)
		return err_set(err, -ENOMEM, "out of memory");
	fill->region = region;
	fill->stats = stats;
	(void)pthread_mutex_init(&fill->lock, NULL);
	(void)pthread_cond_init(&fill->landed, NULL);
	r = background_new(fill, n_threads, &fill->background, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(fill);
	return 0;
}

static void free_seen(struct fill *fill)
{
	struct table_node *n;

	while ((n = table_walk(&fill->seen, NULL)) != NULL) {
		struct seen *seen = TABLE_ENTRY(n, struct seen, node);

		table_remove(&fill->seen, n);
		object_unref(seen->obj);
		free(seen);
	}
	table_release(&fill->seen);
}

void fill_free(struct fill *fill)
{
	if (!fill)
		return;
	background_free(fill->background);
	free_seen(fill);
	table_release(&fill->flights);
	while (fill->readers) {
		struct pooled_reader *pooled = fill->readers;

		fill->readers = pooled->next;
		chunk_reader_free(pooled->reader);
		free(pooled);
	}
	(void)pthread_cond_destroy(&fill->landed);
	(void)pthread_mutex_destroy(&fill->lock);
	free(fill);
}

int fill_later(struct fill *fill, struct extent_map *map, struct object *obj, fill_done_fn done,
               void *arg)
{
	return background_add(fill->background, map, obj, done, arg);
}

void fill_cancel(struct fill *fill, const struct image *img)
{
	background_cancel(fill->background, img);
}
