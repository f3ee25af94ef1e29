/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction: objects leave the region, those that were opened longest ago first.
 *
 * The ring has all objects in the order in which they were last opened. One
 * that is looked at moves to the new end, whatever becomes of it: what has to
 * stay is not looked at again before all others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "region_internal.h"

/* Objects that one call may look at: some milliseconds, which an open may take. */
enum { LOOKS_MAX = 256 };

void ring_add(struct region *region, struct object *obj)
{
	struct object *oldest = region->oldest;

	obj->opened = region->clock++;
	if (!oldest) {
		obj->newer = obj->older = obj;
		region->oldest = obj;
		return;
	}
	obj->older = oldest->older;
	obj->newer = oldest;
	oldest->older->newer = obj;
	oldest->older = obj;
}

void ring_remove(struct region *region, struct object *obj)
{
	if (region->oldest == obj)
		region->oldest = obj->newer == obj ? NULL : obj->newer;
	obj->newer->older = obj->older;
	obj->older->newer = obj->newer;
}

void object_touch(struct object *obj)
{
	struct region *region = obj->region;

	(void)pthread_mutex_lock(&region->lock);
	ring_remove(region, obj);
	ring_add(region, obj);
	(void)pthread_mutex_unlock(&region->lock);
}

void object_hold(struct object *obj, struct object_holder *holder)
{
	(void)pthread_mutex_lock(&obj->region->lock);
	holder->obj = obj;
	holder->prev = NULL;
	holder->next = obj->holders;
	if (obj->holders)
		obj->holders->prev = holder;
	obj->holders = holder;
	(void)pthread_mutex_unlock(&obj->region->lock);
}

/* With region->lock held. */
static void unlink_holder(struct object_holder *holder)
{
	if (!holder->obj)
		return;
	if (holder->prev)
		holder->prev->next = holder->next;
	else
		holder->obj->holders = holder->next;
	if (holder->next)
		holder->next->prev = holder->prev;
	holder->obj = NULL;
}

struct object *object_of_holder(struct region *region, struct object_holder *holder)
{
	struct object *obj;

	(void)pthread_mutex_lock(&region->lock);
	obj = holder->obj;
	if (obj && obj->leaving)
		obj = NULL;
	if (obj)
		(void)object_ref(obj);
	(void)pthread_mutex_unlock(&region->lock);
	return obj;
}

void object_let_go(struct object_holder *holder)
{
	/* The object is leaving: its region does not change. */
	struct region *region = holder->obj->region;

	(void)pthread_mutex_lock(&region->lock);
	unlink_holder(holder);
	(void)pthread_mutex_unlock(&region->lock);
}

void object_unhold(struct region *region, struct object_holder *holder)
{
	(void)pthread_mutex_lock(&region->evict_lock);
	(void)pthread_mutex_lock(&region->lock);
	unlink_holder(holder);
	(void)pthread_mutex_unlock(&region->lock);
	(void)pthread_mutex_unlock(&region->evict_lock);
}

void region_settle(struct region *region)
{
	(void)pthread_mutex_lock(&region->evict_lock);
	(void)pthread_mutex_unlock(&region->evict_lock);
}

/* With region->evict_lock held. */
static void let_all_go(struct object *obj)
{
	for (;;) {
		struct object_holder *holder;

		(void)pthread_mutex_lock(&obj->region->lock);
		holder = obj->holders;
		(void)pthread_mutex_unlock(&obj->region->lock);
		if (!holder)
			return;
		holder->let_go(holder);
	}
}

/*
 * Whether somebody has the file open, or mapped, which keeps it open: the
 * kernel grants a write lease only on a file that nobody else has open.
 */
static bool is_open_elsewhere(struct object *obj)
{
	CLEANUP(close) int fd = object_open(obj);

	return fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) < 0 && errno == EAGAIN;
}

/*
 * The oldest object that nobody refers to and that @sweep may take, as one that is leaving. Takes
 * one off @looks for each that it looks at. Returns NULL when there is none. With
 * region->evict_lock held.
 */
static struct object *begin_leaving(struct region *region, struct sweep *sweep, size_t *looks)
{
	struct object *found = NULL;

	(void)pthread_mutex_lock(&region->lock);
	while (!found && *looks > 0 && region->oldest) {
		struct object *obj = region->oldest;

		(*looks)--;
		sweep->n_stayed++;
		region->oldest = obj->newer; /* obj is the newest of the ring now */
		if (obj->opened < sweep->before &&
		    __atomic_load_n(&obj->refs, __ATOMIC_ACQUIRE) == 0) {
			obj->leaving = true;
			found = obj;
		}
	}
	(void)pthread_mutex_unlock(&region->lock);
	return found;
}

static void remove_object(struct region *region, struct object *obj)
{
	char name[DIGEST_HEX_SIZE];

	if (region->evicted)
		region->evicted(region->evicted_arg, obj);
	(void)unlinkat(region->root, digest_hex(&obj->digest, name), 0);
	(void)pthread_mutex_lock(&region->lock);
	table_remove(&region->objects, &obj->node);
	ring_remove(region, obj);
	region->n_filled -= has_bytes(obj);
	region_changed(region);
	region->reserved -= room_of(obj->size);
	(void)pthread_cond_broadcast(&region->settled);
	ranges_release(&obj->placed);
	pool_put(&region->pool, obj);
	(void)pthread_mutex_unlock(&region->lock);
}

static void stay(struct region *region, struct object *obj)
{
	(void)pthread_mutex_lock(&region->lock);
	obj->leaving = false;
	(void)pthread_cond_broadcast(&region->settled);
	(void)pthread_mutex_unlock(&region->lock);
}

static void count_eviction(struct region *region, const struct object *obj)
{
	(void)pthread_mutex_lock(&region->lock);
	stats_add(region->stats, STAT_EVICTIONS, 1);
	stats_add(region->stats, STAT_BYTES_EVICTED, placed_bytes(obj));
	(void)pthread_mutex_unlock(&region->lock);
}

/*
 * Decide on @obj, which is leaving: to make room, or because it was discarded. Returns whether it
 * went. With region->evict_lock held.
 */
static bool settle(struct region *region, struct object *obj, bool discard)
{
	bool has_to_stay = region->guard &&
	                   region->guard(region->guard_arg, &obj->digest, obj->size);

	if (!has_to_stay) {
		let_all_go(obj);
		has_to_stay = is_open_elsewhere(obj);
	}
	if (has_to_stay) {
		stay(region, obj);
	} else {
		if (!discard)
			count_eviction(region, obj);
		remove_object(region, obj);
	}
	return !has_to_stay;
}

void object_discard(struct object *obj)
{
	struct region *region = obj->region;
	bool unused;

	(void)pthread_mutex_lock(&region->evict_lock);
	(void)pthread_mutex_lock(&region->lock);
	unused = __atomic_sub_fetch(&obj->refs, 1, __ATOMIC_ACQ_REL) == 0;
	obj->leaving = unused;
	(void)pthread_mutex_unlock(&region->lock);
	if (unused)
		(void)settle(region, obj, /* discard= */ true);
	(void)pthread_mutex_unlock(&region->evict_lock);
}

/* Bytes that the objects take, and how many they are. */
static uint64_t reserved(struct region *region, size_t *ret_objects)
{
	uint64_t bytes;

	(void)pthread_mutex_lock(&region->lock);
	bytes = region->reserved;
	*ret_objects = region->objects.n;
	(void)pthread_mutex_unlock(&region->lock);
	return bytes;
}

/*
 * Let objects go that @sweep may take, until all that stay take at most @limit bytes. With
 * region->evict_lock held.
 */
static int evict_down_to(struct region *region, uint64_t limit, struct sweep *sweep)
{
	size_t looks = LOOKS_MAX;
	size_t n;

	while (reserved(region, &n) > limit) {
		struct object *obj;

		if (sweep->n_stayed >= n) {
			/* Objects come and go in use: the next call looks at all of them again. */
			sweep->n_stayed = 0;
			return -ENOSPC;
		}
		if (looks == 0)
			return -EAGAIN;
		obj = begin_leaving(region, sweep, &looks);
		/* Another sweep has moved what this one has yet to look at. */
		if (sweep != &region->sweep)
			region->sweep.n_stayed = 0;
		if (obj && settle(region, obj, /* discard= */ false))
			sweep->n_stayed = 0;
	}
	return 0;
}

int region_make_room(struct region *region, uint64_t bytes, struct sweep *sweep)
{
	uint64_t size;
	int r;

	(void)pthread_mutex_lock(&region->lock);
	size = region->size;
	(void)pthread_mutex_unlock(&region->lock);
	if (bytes > size)
		return -ENOSPC;
	(void)pthread_mutex_lock(&region->evict_lock);
	r = evict_down_to(region, size - bytes, sweep);
	(void)pthread_mutex_unlock(&region->evict_lock);
	return r;
}

int region_give_up(struct region *region, uint64_t bytes)
{
	uint64_t size;
	uint64_t used;
	size_t n;
	int r = -ENOSPC;

	region_root_usage(region->root, &size, &used);
	(void)pthread_mutex_lock(&region->lock);
	if (region->in_memory && size < region->size)
		region->size = size;
	(void)pthread_mutex_unlock(&region->lock);
	(void)pthread_mutex_lock(&region->evict_lock);
	used = reserved(region, &n);
	if (used >= bytes)
		r = evict_down_to(region, used - bytes, &region->sweep);
	(void)pthread_mutex_unlock(&region->evict_lock);
	return r;
}

void region_resize(struct region *region, uint64_t size)
{
	size_t n;
	uint64_t used;

	(void)pthread_mutex_lock(&region->evict_lock);
	while (evict_down_to(region, size, &region->sweep) == -EAGAIN)
		;
	used = reserved(region, &n);
	size = used > size ? used : size;
	(void)pthread_mutex_lock(&region->lock);
	region->size = size;
	(void)pthread_mutex_unlock(&region->lock);
	if (region->in_memory && region_root_resize(region->root, size) < 0)
		log_warn("the region's tmpfs keeps its size");
	(void)pthread_mutex_unlock(&region->evict_lock);
}
