/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lock guards the table of objects and every object's set of ranges: both
 * are touched once a chunk or an open, for less than a microsecond. Files are
 * opened anew for each placement, which costs 2 % of decompressing a chunk and
 * keeps the number of descriptors independent of the number of objects.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "region_internal.h"

enum { ROOM_TRIES = 20, ROOM_PAUSE_NS = 10000000 };

struct region *region_new(const struct region_config *config, int root)
{
	struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	region->root = root;
	region->in_memory = !config->directory;
	region->size = config->size;
	region->stats = config->stats;
	region->sweep.before = UINT64_MAX;
	region->pool = POOL_INIT(struct object);
	(void)pthread_mutex_init(&region->evict_lock, NULL);
	(void)pthread_mutex_init(&region->lock, NULL);
	(void)pthread_cond_init(&region->settled, NULL);
	return region;
}

int region_root(const struct region *region)
{
	return region->root;
}

void region_set_guard(struct region *region, region_guard_fn fn, void *arg)
{
	region->guard = fn;
	region->guard_arg = arg;
}

void region_set_evicted(struct region *region, region_evicted_fn fn, void *arg)
{
	region->evicted = fn;
	region->evicted_arg = arg;
}

static struct object *object_of(struct table_node *node)
{
	return TABLE_ENTRY(node, struct object, node);
}

void region_forget_all(struct region *region)
{
	for (struct table_node *n = NULL; (n = table_walk(&region->objects, n)) != NULL;) {
		if (region->evicted)
			region->evicted(region->evicted_arg, object_of(n));
	}
}

void region_close(struct region *region)
{
	struct table_node *node;

	if (!region)
		return;
	while ((node = table_walk(&region->objects, NULL)) != NULL) {
		struct object *obj = object_of(node);

		table_remove(&region->objects, node);
		ranges_release(&obj->placed);
		pool_put(&region->pool, obj);
	}
	table_release(&region->objects);
	pool_release(&region->pool);
	(void)pthread_cond_destroy(&region->settled);
	(void)pthread_mutex_destroy(&region->lock);
	(void)pthread_mutex_destroy(&region->evict_lock);
	if (region->is_open && !region->in_memory)
		region_root_set_clean(region->root);
	if (region->root >= 0)
		(void)close(region->root);
	free(region);
}

void region_usage(struct region *region, struct region_usage *ret)
{
	uint64_t size = 0;
	uint64_t used = 0;

	if (region->in_memory)
		region_root_usage(region->root, &size, &used);
	*ret = (struct region_usage){ .in_memory = region->in_memory };
	(void)pthread_mutex_lock(&region->lock);
	ret->objects = region->n_filled;
	ret->size = region->size;
	ret->used = region->in_memory ? used : region->reserved;
	(void)pthread_mutex_unlock(&region->lock);
}

/* The object of @digest, which may be leaving; or NULL. With region->lock held. */
static struct object *lookup(const struct region *region, const struct digest *digest)
{
	struct table_node *n = table_first(&region->objects, digest_key(digest));

	while (n && !digest_equal(&object_of(n)->digest, digest))
		n = table_next(n);
	return n ? object_of(n) : NULL;
}

/* With region->lock held, which is given up while it is not known whether the object stays. */
static struct object *find_locked(struct region *region, const struct digest *digest)
{
	struct object *obj;

	while ((obj = lookup(region, digest)) != NULL && obj->leaving)
		(void)pthread_cond_wait(&region->settled, &region->lock);
	return obj ? object_ref(obj) : NULL;
}

int region_insert(struct region *region, const struct object *like, uint64_t limit,
                  struct object **ret)
{
	struct object *obj;

	if (region->reserved > limit || room_of(like->size) > limit - region->reserved)
		return -ENOSPC;
	obj = pool_get(&region->pool);
	if (!obj)
		return -ENOMEM;
	*obj = *like;
	if (table_insert(&region->objects, &obj->node, digest_key(&obj->digest)) < 0) {
		pool_put(&region->pool, obj);
		return -ENOMEM;
	}
	ring_add(region, obj);
	region->n_filled += has_bytes(obj);
	region->reserved += room_of(obj->size);
	*ret = obj;
	return 0;
}

/* What room an object may have. */
struct want {
	bool spare;          /* only what is free, and half of the region stays so */
	struct sweep *sweep; /* unless spare: that of objects that this one finds */
};

/* Find the object of the digest of @like, or enter one that is like it. */
static int find_or_insert(struct region *region, const struct object *like, bool spare,
                          struct object **ret)
{
	int r = 0;

	(void)pthread_mutex_lock(&region->lock);
	*ret = find_locked(region, &like->digest);
	if (!*ret)
		r = region_insert(region, like, spare ? region->size / 2 : region->size, ret);
	(void)pthread_mutex_unlock(&region->lock);
	return r;
}

struct object *region_find(struct region *region, const struct digest *digest)
{
	struct object *obj;

	(void)pthread_mutex_lock(&region->lock);
	obj = find_locked(region, digest);
	(void)pthread_mutex_unlock(&region->lock);
	return obj;
}

static int get(struct region *region, const struct digest *digest, uint64_t size,
               const struct want *want, struct object **ret)
{
	const struct object like = { .region = region, .digest = *digest, .size = size, .refs = 1 };
	struct object *obj = region_find(region, digest);
	int r;

	/* A file of an earlier daemon that was cut, or an index that lies. */
	if (obj && obj->size != size) {
		object_discard(obj);
		obj = region_find(region, digest);
	}
	if (obj && obj->size != size) {
		object_unref(obj);
		return -ENOSPC;
	}
	if (obj) {
		*ret = obj;
		return 0;
	}
	while ((r = find_or_insert(region, &like, want->spare, ret)) == -ENOSPC && !want->spare) {
		r = region_make_room(region, room_of(size), want->sweep);
		if (r == -ENOSPC && want->sweep == &region->sweep)
			stats_add(region->stats, STAT_REGION_FULL, 1);
		if (r < 0)
			return r;
	}
	return r;
}

int region_get(struct region *region, const struct digest *digest, uint64_t size,
               struct object **ret)
{
	const struct want want = { .sweep = &region->sweep };
	int r = get(region, digest, size, &want, ret);

	return r == -EAGAIN ? -ENOSPC : r;
}

int region_get_spare(struct region *region, const struct digest *digest, uint64_t size,
                     struct object **ret)
{
	const struct want want = { .spare = true };

	return get(region, digest, size, &want, ret);
}

int region_get_before(struct region *region, const struct digest *digest, uint64_t size,
                      uint64_t before, struct object **ret)
{
	const struct timespec pause = { .tv_nsec = ROOM_PAUSE_NS };
	struct sweep sweep = { .before = before };
	const struct want want = { .sweep = &sweep };
	int r = get(region, digest, size, &want, ret);

	/* What is in use for a moment may leave a moment later. */
	for (int i = 0; r == -EAGAIN || (r == -ENOSPC && i < ROOM_TRIES); i += r == -ENOSPC) {
		if (r == -ENOSPC)
			(void)nanosleep(&pause, NULL);
		r = get(region, digest, size, &want, ret);
	}
	return r;
}

uint64_t region_time(struct region *region)
{
	uint64_t time;

	(void)pthread_mutex_lock(&region->lock);
	time = region->clock;
	(void)pthread_mutex_unlock(&region->lock);
	return time;
}

struct object *object_ref(struct object *obj)
{
	(void)__atomic_fetch_add(&obj->refs, 1, __ATOMIC_RELAXED);
	return obj;
}

bool object_try_ref(struct object *obj)
{
	bool got;

	(void)pthread_mutex_lock(&obj->region->lock);
	got = !obj->leaving;
	if (got)
		(void)object_ref(obj);
	(void)pthread_mutex_unlock(&obj->region->lock);
	return got;
}

void object_unref(struct object *obj)
{
	if (obj)
		(void)__atomic_fetch_sub(&obj->refs, 1, __ATOMIC_RELEASE);
}

void **object_notes(struct object *obj)
{
	return &obj->notes;
}

const struct digest *object_digest(const struct object *obj)
{
	return &obj->digest;
}

uint64_t object_size(const struct object *obj)
{
	return obj->size;
}

bool object_complete(const struct object *obj)
{
	return __atomic_load_n(&obj->complete, __ATOMIC_ACQUIRE);
}

bool object_kept(const struct object *obj)
{
	return obj->kept && !object_complete(obj);
}

bool object_covers(struct object *obj, uint64_t off, uint64_t len)
{
	bool covered;

	if (object_complete(obj))
		return true;
	(void)pthread_mutex_lock(&obj->region->lock);
	covered = obj->complete || ranges_cover(&obj->placed, off, off + len);
	(void)pthread_mutex_unlock(&obj->region->lock);
	return covered;
}

bool object_touches(struct object *obj, uint64_t off, uint64_t len)
{
	bool touches;

	(void)pthread_mutex_lock(&obj->region->lock);
	touches = obj->complete || ranges_touch(&obj->placed, off, off + len);
	(void)pthread_mutex_unlock(&obj->region->lock);
	return touches;
}

uint64_t placed_bytes(const struct object *obj)
{
	return obj->complete ? obj->size : ranges_bytes(&obj->placed);
}

uint64_t object_placed_bytes(struct object *obj)
{
	uint64_t bytes;

	(void)pthread_mutex_lock(&obj->region->lock);
	bytes = placed_bytes(obj);
	(void)pthread_mutex_unlock(&obj->region->lock);
	return bytes;
}

/*
 * Give the file its size. On disk it gets its room with it: a reader that maps a
 * hole could not be told of a full disk. Two threads may do it at once: both
 * do the same, which drops nothing.
 */
static int size_file(const struct object *obj, int fd)
{
	int r = 0;

	if (!obj->region->in_memory && fallocate(fd, 0, 0, (off_t)obj->size) < 0)
		r = errno == EOPNOTSUPP ? 0 : -errno;
	if (r == 0 && ftruncate(fd, (off_t)obj->size) < 0)
		r = -errno;
	return r;
}

bool object_give_room(struct object *obj, uint64_t len)
{
	int r = region_give_up(obj->region, room_of(len));

	if (r == -ENOSPC)
		stats_add(obj->region->stats, STAT_REGION_FULL, 1);
	return r == 0;
}

int object_open_to_fill(struct object *obj)
{
	char name[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(obj->region->root, digest_hex(&obj->digest, name),
	                O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (!__atomic_load_n(&obj->sized, __ATOMIC_ACQUIRE)) {
		r = size_file(obj, fd);
		if (r == -ENOSPC && object_give_room(obj, obj->size))
			r = size_file(obj, fd);
		if (r < 0)
			return r;
		__atomic_store_n(&obj->sized, true, __ATOMIC_RELEASE);
	}
	return TAKE_FD(fd);
}

int object_mark_placed(struct object *obj, uint64_t off, uint64_t len)
{
	struct region *region = obj->region;
	int r = 0;

	(void)pthread_mutex_lock(&region->lock);
	if (!obj->complete) {
		bool was_empty = !has_bytes(obj);

		r = ranges_add(&obj->placed, off, off + len);
		region_changed(region);
		if (ranges_cover(&obj->placed, 0, obj->size)) {
			region_root_set_complete(obj->region->root, &obj->digest);
			ranges_release(&obj->placed);
			__atomic_store_n(&obj->complete, true, __ATOMIC_RELEASE);
		}
		region->n_filled += was_empty && has_bytes(obj);
	}
	(void)pthread_mutex_unlock(&region->lock);
	return r;
}

int object_place(struct object *obj, const void *data, size_t len, uint64_t off)
{
	CLEANUP(close) int fd = object_open_to_fill(obj);
	int r;

	if (fd < 0)
		return fd;
	r = io_pwrite(fd, data, len, off);
	if (r == -ENOSPC && object_give_room(obj, len))
		r = io_pwrite(fd, data, len, off);
	return r < 0 ? r : object_mark_placed(obj, off, len);
}

int object_place_hole(struct object *obj, uint64_t off, uint64_t len)
{
	CLEANUP(close) int fd = object_open_to_fill(obj);

	return fd < 0 ? fd : object_mark_placed(obj, off, len);
}

int object_open(struct object *obj)
{
	char name[DIGEST_HEX_SIZE];
	int fd = openat(obj->region->root, digest_hex(&obj->digest, name), O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int object_read(struct object *obj, void *buf, size_t len, uint64_t off)
{
	CLEANUP(close) int fd = object_open(obj);

	return fd < 0 ? fd : io_pread(fd, buf, len, off);
}

/* The object of @digest, referenced; NULL when there is none or it is going. */
static struct object *find_staying(struct region *region, const struct digest *digest)
{
	struct object *obj;

	(void)pthread_mutex_lock(&region->lock);
	obj = lookup(region, digest);
	obj = obj && !obj->leaving ? object_ref(obj) : NULL;
	(void)pthread_mutex_unlock(&region->lock);
	return obj;
}

uint64_t region_changes(const struct region *region)
{
	return __atomic_load_n(&region->changes, __ATOMIC_ACQUIRE);
}

uint64_t region_evictions(const struct region *region)
{
	return stats_get(region->stats, STAT_EVICTIONS);
}

int region_list(struct region *region, struct region_entry **ret, size_t *ret_n)
{
	struct region_entry *list;
	size_t n = 0;

	(void)pthread_mutex_lock(&region->lock);
	list = calloc(region->objects.n + 1, sizeof(*list));
	for (struct table_node *node = NULL;
	     list && (node = table_walk(&region->objects, node)) != NULL;) {
		const struct object *obj = object_of(node);

		if (has_bytes(obj) && !obj->leaving)
			list[n++] = (struct region_entry){ obj->digest, placed_bytes(obj) };
	}
	(void)pthread_mutex_unlock(&region->lock);
	if (!list)
		return -ENOMEM;
	*ret = list;
	*ret_n = n;
	return 0;
}

int region_each(struct region *region, region_object_fn fn, void *arg)
{
	CLEANUP(free) struct region_entry *list = NULL;
	size_t n;
	int r = region_list(region, &list, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		CLEANUP(object_unref)
		struct object *obj = find_staying(region, &list[i].digest);

		if (obj)
			fn(arg, obj);
	}
	return r;
}
