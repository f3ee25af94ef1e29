/* SPDX-License-Identifier: Apache-2.0 */
/* What region.c, region_adopt.c, region_evict.c and region_files.c share. */
#pragma once

#include <pthread.h>

#include "base/pool.h"
#include "base/table.h"
#include "ranges.h"
#include "region.h"

#define PAGE_BYTES ((uint64_t)4096)

/* A search for objects that may leave. */
struct sweep {
	uint64_t before; /* only those that were opened before this time */
	size_t n_stayed; /* looked at in a row, none of which went */
};

struct region {
	/* constant after the first object was made */
	int root; /* owned; directory of the objects' files */
	bool in_memory;
	bool is_open;        /* all that lies at root is known */
	struct stats *stats; /* borrowed */
	region_guard_fn guard;
	void *guard_arg;
	region_evicted_fn evicted;
	void *evicted_arg;

	uint64_t changes; /* atomic; raised under lock */

	pthread_mutex_t evict_lock; /* one object goes at a time */
	/* under evict_lock */
	struct sweep sweep; /* for opens: before is UINT64_MAX */

	pthread_mutex_t lock;
	pthread_cond_t settled; /* an object that was leaving has gone, or stays */
	/* under lock */
	uint64_t size;
	struct table objects;  /* struct object, by digest */
	struct pool pool;      /* struct object */
	struct object *oldest; /* ring of all objects, by when they were last opened */
	size_t n_filled;       /* objects that have a placed byte */
	uint64_t reserved;     /* sum of the objects' sizes, in whole pages */
	uint64_t clock;        /* grows with each opening */
};

struct object {
	/* constant */
	struct table_node node;
	struct region *region;
	struct digest digest;
	uint64_t size;

	/* atomic */
	uint32_t refs; /* raised from 0 only under region->lock */
	bool complete;
	bool sized; /* the file exists and has its size */

	bool kept;    /* constant; an earlier daemon has made the file: object_kept() */
	bool leaving; /* under region->lock: found by nobody until it is decided whether it goes */

	/* under region->lock */
	struct ranges placed;         /* empty again once complete */
	struct object *newer, *older; /* in the ring */
	struct object_holder *holders;
	uint64_t opened; /* by the region's clock; or made */

	void *notes; /* object_notes() */
};

/* With region->lock held: what an object has is another now. */
static inline void region_changed(struct region *region)
{
	__atomic_store_n(&region->changes, region->changes + 1, __ATOMIC_RELEASE);
}

/* Bytes that a content of @size takes in the region. */
static inline uint64_t room_of(uint64_t size)
{
	return (size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/* Whether the object has a placed byte. With region->lock held. */
static inline bool has_bytes(const struct object *obj)
{
	return obj->complete || obj->placed.n > 0;
}

/* Number of placed bytes. With region->lock held. */
uint64_t placed_bytes(const struct object *obj);

/*
 * The directory for objects' files: of a new tmpfs of @size bytes; or @directory, which is made if
 * need be. *@ret_clean: region_root_set_clean() was called last, since the kernel was started.
 */
MUST_CHECK int region_root_in_memory(uint64_t size, struct err *err);
MUST_CHECK int region_root_on_disk(const char *directory, bool *ret_clean, struct err *err);

/* Note that nobody changes the files any more, until region_root_objects() is called again. */
void region_root_set_clean(int root);

/* Let the tmpfs at @root have @size bytes. Returns 0, -EINVAL when more are in it, or -errno. */
MUST_CHECK int region_root_resize(int root, uint64_t size);

/* Mark the file of @digest as whole, for region_root_objects(). Without success it is not whole. */
void region_root_set_complete(int root, const struct digest *digest);

/*
 * Call @fn for each object's file at @root; @whole: it is marked as that. Returns 0; -ENOTEMPTY when
 * there is another file; what @fn returns below 0; -errno.
 */
typedef int (*region_file_fn)(void *arg, const struct digest *digest, uint64_t size, bool whole);
MUST_CHECK int region_root_objects(int root, region_file_fn fn, void *arg, struct err *err);

/* Bytes that the file system under the region allows in all, and those in use. */
void region_root_usage(int root, uint64_t *ret_size, uint64_t *ret_used);

/* A region without objects onto @root, which is taken on success. NULL when memory runs out. */
struct region *region_new(const struct region_config *config, int root);

/*
 * With region->lock held: enter an object that is like @like, unless objects would take more than @limit
 * then. Sets *@ret to it, with the references of @like. Returns 0, -ENOSPC or -ENOMEM.
 */
MUST_CHECK int region_insert(struct region *region, const struct object *like, uint64_t limit,
                             struct object **ret);

/* Enter @obj at the new end of the ring; take it out. With region->lock held. */
void ring_add(struct region *region, struct object *obj);
void ring_remove(struct region *region, struct object *obj);

/*
 * Let objects go that @sweep, the region's own or one of the caller's, may take, until the region
 * has @bytes of room, for as long as an open may wait. Returns 0; -ENOSPC when nothing more may
 * go; -EAGAIN when there is more to do.
 */
MUST_CHECK int region_make_room(struct region *region, uint64_t bytes, struct sweep *sweep);

/*
 * The file system was full before the region was. Let at least @bytes go, and
 * take its size for the region's when it is the region's own. Errors as above.
 */
MUST_CHECK int region_give_up(struct region *region, uint64_t bytes);
