/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants
 * 1. At most one flight per chunk digest exists at a time; whoever creates it
 *    ends it, with success or failure, and wakes the waiters.
 * 2. Coverage of the object is looked at again after a flight has been
 *    created: an earlier flight of the same chunk had placed its bytes before
 *    it ended, so that "not covered" is then final and the work is needed.
 * 3. seen has every chunk of which objects hold bytes, and in pieces where: verified
 *    bytes that flights have placed, as far as there was room (pieces.h). Who
 *    reads a piece references its object first.
 * 4. Bytes that are not verified lie only where nothing is placed, in a range
 *    that their writer has claimed (fill_place.c).
 */
#include "fill.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/table.h"
#include "fill_internal.h"

/* Work on one chunk that others may wait for. */
struct flight {
	struct table_node node; /* in fill->flights while it is under way */
	struct digest digest;
	pid_t owner;             /* thread that flies */
	const struct image *img; /* that it reads; only compared */
	/* under fill->lock */
	unsigned refs;
	bool done;
	bool is_stuck;  /* somebody has waited for it in vain */
	struct err err; /* code 0: it went well */
};

int extent_map_later(struct image *img, const struct content *content, struct extent_map **ret)
{
	struct extent_map *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;
	map->refs = 1;
	map->img = img;
	map->content = *content;
	map->end = content->size;
	*ret = map;
	return 0;
}

int extent_map_fetch(struct extent_map *map, struct err *err)
{
	return index_extents(image_index(map->img), &map->content, &map->extent, &map->n, err);
}

int extent_map_load(struct image *img, const struct content *content, struct extent_map **ret,
                    struct err *err)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	int r = extent_map_later(img, content, &map);

	if (r < 0)
		return err_set(err, r, "out of memory");
	r = extent_map_fetch(map, err);
	if (r < 0)
		return r;
	map->is_loaded = true;
	*ret = TAKE_PTR(map);
	return 0;
}

int extent_map_load_range(struct image *img, const struct content *content, uint64_t off,
                          uint64_t len, struct extent_map **ret, struct err *err)
{
	const struct index_range range = { .start = off, .end = off + len };
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	int r = extent_map_later(img, content, &map);

	if (r < 0)
		return err_set(err, r, "out of memory");
	r = index_extents_in(image_index(img), content, &range, &map->extent, &map->n, err);
	if (r < 0)
		return r;
	map->is_loaded = true;
	map->start = range.start;
	map->end = range.end < content->size ? range.end : content->size;
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

static void note_decompressed(struct fill *fill, const struct chunk *chunk)
{
	stats_add(fill->stats, STAT_CHUNKS_DECOMPRESSED, 1);
	stats_add(fill->stats, STAT_BYTES_DECOMPRESSED, chunk->size);
	if (seen_whole(fill, &chunk->digest))
		stats_add(fill->stats, STAT_CHUNKS_DECOMPRESSED_AGAIN, 1);
}

int decompress(struct fill *fill, struct image *img, struct chunk_reader *reader,
               const struct chunk *chunk, const void **ret, struct err *err)
{
	int r = image_read_chunk(img, reader, chunk, ret, err);

	if (r == 0)
		note_decompressed(fill, chunk);
	return r;
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
	    place_bytes(p->fill, p->obj, p->plain + x->chunk_off, x->len, x->off) == 0)
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

/* Decompress the chunk of @x to a buffer, and place from there @x and what else the image has of it. */
static int place_from_buffer(struct fill *fill, struct image *img, struct chunk_reader *reader,
                             struct object *obj, const struct extent *x, struct err *err)
{
	const void *plain;
	int r = decompress(fill, img, reader, &x->chunk, &plain, err);

	if (r < 0)
		return r;
	r = place_bytes(fill, obj, (const uint8_t *)plain + x->chunk_off, x->len, x->off);
	if (r < 0)
		(void)err_set(err, r, "region: %s", strerrordesc_np(-r));
	else
		seen_add(fill, x, obj);
	/* From an object that holds the whole chunk, all others can copy. */
	if (!is_whole_chunk(x))
		place_siblings(fill, img, x, plain);
	return r;
}

static int decompress_and_place(struct fill *fill, struct image *img, const struct target *t,
                                const struct extent *x, struct err *err)
{
	uint64_t start = stats_clock();
	struct pooled_reader *pooled;
	int r = borrow_reader(fill, img, NULL, &pooled, err);

	if (r < 0)
		return r;
	r = place_direct(fill, img, pooled->reader, t, x, err);
	if (r > 0) {
		note_decompressed(fill, &x->chunk);
		seen_add(fill, x, t->obj);
	} else if (r == 0) {
		r = place_from_buffer(fill, img, pooled->reader, t->obj, x, err);
	}
	return_reader(fill, pooled);
	if (r >= 0)
		stats_took(fill->stats, LATENCY_CHUNK_FILL, start);
	return r < 0 ? r : 0;
}

/* Place @x from where its bytes lie already. Returns 1; 0 when they lie nowhere; -errno. */
static int copy_placed(struct fill *fill, struct object *obj, const struct extent *x,
                       struct err *err)
{
	int r = place_copy(fill, obj, x);

	if (r < 0)
		return err_set(err, r, "region: %s", strerrordesc_np(-r));
	stats_add(fill->stats, STAT_CHUNKS_COPIED, (uint64_t)r);
	return r;
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

/* A new flight of @chunk of @img. With fill->lock held. Returns NULL when memory runs out. */
static struct flight *new_flight(struct fill *fill, const struct image *img,
                                 const struct chunk *chunk)
{
	CLEANUP(free) struct flight *flight = calloc(1, sizeof(*flight));

	if (!flight || table_insert(&fill->flights, &flight->node, digest_key(&chunk->digest)) < 0)
		return NULL;
	flight->digest = chunk->digest;
	flight->owner = gettid();
	flight->img = img;
	flight->refs = 1;
	return TAKE_PTR(flight);
}

/* Wait for @flight to land. With fill->lock held, which is given up meanwhile. Returns its outcome. */
static int await(struct fill *fill, struct flight *flight, struct err *err)
{
	struct timespec deadline;
	int r;

	flight->refs++;
	/* It must not wait behind whatever else the machine does. It lives until the flight has ended. */
	background_raise(fill->background, flight->owner);
	fill_deadline(fill, &deadline);
	while (!flight->done && !flight->is_stuck)
		flight->is_stuck = fill_wait(fill, &fill->landed, &deadline) == -ETIMEDOUT &&
		                   !flight->done;
	r = flight->done ? flight->err.code : -ETIMEDOUT;
	if (!flight->done)
		(void)err_set(
			err, r,
			"another thread has read a chunk for more than %u s: see whether a disk hangs",
			fill->patience);
	else if (r < 0)
		(void)err_set(err, r, "%s", flight->err.msg);
	flight_unref(flight);
	return r;
}

/*
 * Begin a flight of @chunk, which is then the caller's to fly and to end; or
 * wait for the one under way. Returns NULL in that case, with its outcome in
 * *@ret, and when memory runs out. A failure of another image is none of @img: its packs may
 * be elsewhere, and *@ret is 0 then.
 */
static struct flight *flight_begin(struct fill *fill, const struct image *img,
                                   const struct chunk *chunk, int *ret, struct err *err)
{
	struct flight *other;
	struct flight *ours = NULL;
	bool is_foreign;

	*ret = 0;
	(void)pthread_mutex_lock(&fill->lock);
	other = find_flight(fill, &chunk->digest);
	is_foreign = other && other->img != img;
	if (other)
		*ret = await(fill, other, err);
	else
		ours = new_flight(fill, img, chunk);
	/* But on the disk that it waits for our chunk lies, too, as likely as not. */
	if (is_foreign && *ret != -ETIMEDOUT)
		*ret = 0;
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

/* Place @x from what an earlier daemon has left. */
static bool take_kept(struct fill *fill, struct object *obj, const struct extent *x)
{
	bool taken = place_kept(fill, obj, x);

	if (taken)
		seen_add(fill, x, obj);
	return taken;
}

/* What a flight does. Sets *@ret_hit unless the chunk had to be decompressed. */
static int fly(struct fill *fill, struct image *img, const struct target *t, const struct extent *x,
               bool *ret_hit, struct err *err)
{
	int r = object_covers(t->obj, x->off, x->len) || take_kept(fill, t->obj, x)
	                ? 1
	                : copy_placed(fill, t->obj, x, err);

	*ret_hit = r != 0;
	if (r == 0)
		return decompress_and_place(fill, img, t, x, err);
	return r < 0 ? r : 0;
}

/* Place one extent of the target, unless it is placed already. Errors as fill_range(). */
static int fill_extent(struct fill *fill, struct image *img, const struct target *t,
                       const struct extent *x, struct err *err)
{
	bool hit = true;

	stats_add(fill->stats, STAT_CHUNK_REQUESTS, 1);
	while (!object_covers(t->obj, x->off, x->len)) {
		struct err outcome = ERR_INIT;
		int r;
		struct flight *flight = flight_begin(fill, img, &x->chunk, &r, err);

		if (r < 0)
			return r;
		if (!flight)
			continue;
		r = fly(fill, img, t, x, &hit, &outcome);
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
static int fill_hole(struct fill *fill, const struct extent_map *map, struct object *obj,
                     uint32_t i, struct err *err)
{
	uint64_t start = i > 0 ? map->extent[i - 1].off + map->extent[i - 1].len : 0;
	uint64_t end = i < map->n ? map->extent[i].off : map->end;
	int r = 0;

	if (start < map->start)
		start = map->start;
	if (start < end && !object_covers(obj, start, end - start))
		r = place_hole(fill, obj, start, end - start);
	return r < 0 ? err_set(err, r, "region: %s", strerrordesc_np(-r)) : 0;
}

int fill_part(struct fill *fill, const struct extent_map *map, const struct target *t, uint32_t i,
              struct err *err)
{
	int r = fill_hole(fill, map, t->obj, i, err);

	if (r < 0 || i == map->n)
		return r;
	return fill_extent(fill, map->img, t, &map->extent[i], err);
}

uint32_t first_extent(const struct extent_map *map, uint64_t off)
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
	/* A few chunks at most: no mapping pays. */
	const struct target t = { .obj = obj, .fd = -1 };
	uint32_t i = first_extent(map, off);
	int r = 0;

	background_yield(fill->background);
	for (; r == 0 && i < map->n && map->extent[i].off < off + len; i++)
		r = fill_part(fill, map, &t, i, err);
	/* The range may end in a hole. */
	if (r == 0)
		r = fill_hole(fill, map, obj, i, err);
	background_resume(fill->background);
	return r;
}

int fill_object(struct fill *fill, struct extent_map *map, struct object *obj, struct err *err)
{
	return background_join(fill->background, map, obj, err);
}

int fill_new(struct region *region, struct stats *stats, unsigned n_threads, unsigned n_background,
             struct fill **ret, struct err *err)
{
	CLEANUP(fill_free) struct fill *fill = calloc(1, sizeof(*fill));
	int r;

	if (!fill)
		return err_set(err, -ENOMEM, "out of memory");
	fill->region = region;
	fill->stats = stats;
	fill->local_checks = CHECK_DIGEST;
	(void)pthread_mutex_init(&fill->lock, NULL);
	cond_init_monotonic(&fill->landed);
	cond_init_monotonic(&fill->unclaimed);
	cond_init_monotonic(&fill->returned);
	seen_init(fill);
	r = background_new(fill, n_threads, n_background, &fill->background, err);
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
	fill_trim(fill);
	(void)pthread_cond_destroy(&fill->landed);
	(void)pthread_cond_destroy(&fill->unclaimed);
	(void)pthread_cond_destroy(&fill->returned);
	(void)pthread_mutex_destroy(&fill->lock);
	free(fill);
}

void fill_set_patience(struct fill *fill, unsigned seconds)
{
	fill->patience = seconds;
}

void fill_set_local_checks(struct fill *fill, unsigned checks)
{
	fill->local_checks = checks;
}

int fill_later(struct fill *fill, struct extent_map *map, struct object *obj,
               enum fill_priority priority, fill_done_fn done, void *arg)
{
	return background_add(fill->background, map, obj, priority, done, arg);
}

void fill_cancel(struct fill *fill, const struct image *img)
{
	background_cancel(fill->background, img);
}
