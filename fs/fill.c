/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants
 * 1. At most one flight per chunk digest exists at a time; whoever creates it
 *    ends it, with success or failure, and wakes the waiters.
 * 2. Coverage of the object is looked at again after a flight has been
 *    created: an earlier flight of the same chunk had placed its bytes before
 *    it ended, so that "not covered" is then final and the work is needed.
 * 3. seen has every chunk that was ever decompressed, and in pieces what flights
 *    have placed of it: verified bytes, as far as there was room (pieces.h).
 *    Objects never go away while the region lives, so that pieces stay good.
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

/* Read and verify @chunk into @reader's buffer, remember and count it. */
static int decompress(struct fill *fill, struct image *img, struct chunk_reader *reader,
                      const struct chunk *chunk, const void **ret, struct err *err)
{
	int r = image_read_chunk(img, reader, chunk, ret, err);

	if (r < 0)
		return r;
	stats_add(fill->stats, STAT_CHUNKS_DECOMPRESSED, 1);
	stats_add(fill->stats, STAT_BYTES_DECOMPRESSED, chunk->size);
	if (seen_note(fill, &chunk->digest))
		stats_add(fill->stats, STAT_CHUNKS_DECOMPRESSED_AGAIN, 1);
	return 0;
}

/* Placing what a chunk holds beside the extent that was asked for. */
struct placing {
	struct fill *fill;
	const struct extent *asked;
	const uint8_t *plain; /* of the chunk */
	uint64_t content;     /* id of the content whose object obj is; 0 at first */
	struct object *obj;   /* owned reference; NULL when there is no room for it */
};

/*
 * The object of a content that shares a chunk with the one asked for. A large
 * one gets room only while there is plenty: nobody may ever open it.
 */
static struct object *sibling_object(struct fill *fill, const struct content *content)
{
	struct object *obj = NULL;
	int r = content->size <= FORMAT_CHUNK_MAX
	                ? region_get(fill->region, &content->digest, content->size, &obj)
	                : region_get_spare(fill->region, &content->digest, content->size, &obj);

	return r < 0 ? NULL : obj;
}

/*
 * Place @x, unless an object holds its bytes already: they can be copied from
 * there. Failing costs another decompression later.
 */
static int place_sibling(void *arg, const struct content *content, const struct extent *x)
{
	struct placing *p = arg;

	/* A damaged index may answer two questions in two ways. */
	if (x->chunk.size != p->asked->chunk.size ||
	    !digest_equal(&x->chunk.digest, &p->asked->chunk.digest))
		return 1;
	if (seen_covers(p->fill, &x->chunk, x->chunk_off, x->len))
		return 0;
	if (content->id != p->content) {
		object_unref(p->obj);
		p->obj = sibling_object(p->fill, content);
		p->content = content->id;
	}
	/* What lies there already came from another chunk: only the index says it is equal. */
	if (p->obj && !object_covers(p->obj, x->off, x->len) &&
	    object_place(p->obj, p->plain + x->chunk_off, x->len, x->off) == 0)
		seen_add(p->fill, x, p->obj);
	return 0;
}

/* Place all other extents of the chunk of @asked in this image: they need it, too. */
static void place_siblings(struct fill *fill, struct image *img, const struct extent *asked,
                           const uint8_t *plain)
{
	struct placing p = { .fill = fill, .asked = asked, .plain = plain };

	(void)!index_chunk_extents(image_index(img), asked->chunk.id, place_sibling, &p, NULL);
	object_unref(p.obj);
}

static bool is_whole_chunk(const struct extent *x)
{
	return x->chunk_off == 0 && x->len == x->chunk.size;
}

static int decompress_and_place(struct fill *fill, struct image *img, struct object *obj,
                                const struct extent *x, struct err *err)
{
	struct pooled_reader *pooled = borrow_reader(fill);
	uint64_t start = stats_clock();
	const void *plain;
	int r;

	if (!pooled)
		return err_set(err, -ENOMEM, "out of memory");
	r = decompress(fill, img, pooled->reader, &x->chunk, &plain, err);
	if (r == 0) {
		r = object_place(obj, (const uint8_t *)plain + x->chunk_off, x->len, x->off);
		if (r < 0)
			(void)err_set(err, r, "region: %s", strerrordesc_np(-r));
		else
			seen_add(fill, x, obj);
		/* From an object that holds the whole chunk, all others can copy. */
		if (!is_whole_chunk(x))
			place_siblings(fill, img, x, plain);
		stats_took(fill->stats, LATENCY_CHUNK_FILL, start);
	}
	return_reader(fill, pooled);
	return r;
}

/* Place @x from where its bytes lie already. Returns 1; 0 when they lie nowhere; -errno. */
static int copy_placed(struct fill *fill, struct object *obj, const struct extent *x,
                       struct err *err)
{
	CLEANUP(free) void *plain = NULL;
	int r = 0;

	if (!seen_covers(fill, &x->chunk, x->chunk_off, x->len))
		return 0;
	plain = malloc(x->len);
	r = plain ? seen_read(fill, &x->chunk, x->chunk_off, x->len, plain) : -ENOMEM;
	if (r > 0)
		r = object_place(obj, plain, x->len, x->off);
	if (r < 0)
		return err_set(err, r, "region: %s", strerrordesc_np(-r));
	stats_add(fill->stats, STAT_CHUNKS_COPIED, 1);
	return 1;
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
	int r = object_covers(obj, x->off, x->len) ? 1 : copy_placed(fill, obj, x, err);

	*ret_hit = r != 0;
	if (r == 0)
		return decompress_and_place(fill, img, obj, x, err);
	return r < 0 ? r : 0;
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
	bool at_hand = read->plain != NULL;

	if (!at_hand) {
		const void *plain;
		int r = seen_read(read->fill, chunk, off, len, to);

		if (r < 0)
			return err_set(err, r, "region: %s", strerrordesc_np(-r));
		if (r > 0)
			return 1;
		r = decompress(read->fill, read->img, read->pooled->reader, chunk, &plain, err);
		if (r < 0)
			return r;
		read->plain = plain;
	}
	memcpy(to, read->plain + off, len);
	return at_hand;
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
		if (i > 0 && order[i]->chunk.id != order[i - 1]->chunk.id)
			read->plain = NULL;
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

	read.pooled = borrow_reader(fill);
	if (!read.pooled)
		return err_set(err, -ENOMEM, "out of memory");
	while (end < map->n && map->extent[end].off < off + len)
		end++;
	memset(buf, 0, len); /* holes */
	r = read_extents(&read, &map->extent[first], end - first, err);
	return_reader(fill, read.pooled);
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

void fill_free(struct fill *fill)
{
	if (!fill)
		return;
	background_free(fill->background);
	seen_free(fill);
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
