/* SPDX-License-Identifier: Apache-2.0 */
/* What fill.c, fill_seen.c and background.c share. */
#pragma once

#include <pthread.h>
#include <time.h>

#include "base/pool.h"
#include "base/table.h"
#include "fill.h"

struct claim;
struct background;

struct fill {
	/* constant after fill_new() */
	struct region *region;         /* borrowed */
	struct stats *stats;           /* borrowed */
	struct background *background; /* owned */
	unsigned patience;             /* seconds; 0: no end */
	unsigned local_checks;         /* of chunks of local images: of enum chunk_check */

	pthread_mutex_t lock;
	pthread_cond_t landed;    /* a flight has ended */
	pthread_cond_t unclaimed; /* a claim has */
	pthread_cond_t returned;  /* a reader of a local image has */
	/* under lock */
	struct table flights;          /* struct flight, by chunk digest */
	struct table seen;             /* struct seen, by chunk digest */
	struct pool seen_pool;         /* struct seen */
	struct pool notes_pool;        /* struct notes */
	struct pooled_reader *readers; /* that nobody uses */
	unsigned n_readers;
	unsigned n_local; /* readers of local images that are out */
	bool is_stuck;    /* somebody has waited for one in vain, and none was returned since */
	struct claim *claims;
};

/* A reader, and the chunk that it read last past the region: the next read often wants that, too. */
struct pooled_reader {
	struct pooled_reader *next;
	bool is_local;               /* borrowed for a local image */
	struct chunk_reader *reader; /* owned */
	struct digest digest;        /* of the chunk */
	const void *plain;           /* the reader's; NULL: none */
};

/*
 * Borrow a reader for chunks of @img until return_reader(); if there is one, that which has read the
 * chunk of @digest (unless NULL). Returns 0, -ENOMEM, or -ETIMEDOUT as fill_set_patience() says.
 */
MUST_CHECK int borrow_reader(struct fill *fill, const struct image *img,
                             const struct digest *digest, struct pooled_reader **ret,
                             struct err *err);
void return_reader(struct fill *fill, struct pooled_reader *pooled);

/*
 * Wait for @condition until @deadline, as fill_deadline() gave it; with fill->lock held. Returns 0, as
 * it also may for no reason, or -ETIMEDOUT.
 */
void fill_deadline(const struct fill *fill, struct timespec *ret);
MUST_CHECK int fill_wait(struct fill *fill, pthread_cond_t *condition,
                         const struct timespec *deadline);

/* As image_read_chunk(), with what is to be remembered and counted. */
MUST_CHECK int decompress(struct fill *fill, struct image *img, struct chunk_reader *reader,
                          const struct chunk *chunk, const void **ret, struct err *err);

/*
 * Load a map of extent_map_later(), whose is_loaded the caller sets. Returns 0, or an error of the
 * index with the map empty.
 */
MUST_CHECK int extent_map_fetch(struct extent_map *map, struct err *err);

/* The first extent of @map that ends after @off. */
uint32_t first_extent(const struct extent_map *map, uint64_t off);

static inline bool is_whole_chunk(const struct extent *x)
{
	return x->chunk_off == 0 && x->len == x->chunk.size;
}

/* Whether objects hold bytes of the chunk of @digest, none of which has left the region since. */
bool seen_whole(struct fill *fill, const struct digest *digest);

/*
 * Remember that the run of its chunk that @x is lies at x->off of @obj, which is referenced.
 * What there is no memory for is forgotten, which costs at worst another decompression.
 */
void seen_add(struct fill *fill, const struct extent *x, struct object *obj);

/* Whether the @len bytes at @off of @chunk lie in objects. May turn false at any time. */
bool seen_covers(struct fill *fill, const struct chunk *chunk, uint32_t off, uint32_t len);

/* Read them from there. Returns 1; 0 when some do not lie in any; -errno. */
MUST_CHECK int seen_read(struct fill *fill, const struct chunk *chunk, uint32_t off, uint32_t len,
                         void *buf);

/* Copy what @x wants of its chunk from there to x->off of @obj. Returns as seen_read(). */
MUST_CHECK int seen_copy(struct fill *fill, const struct extent *x, struct object *obj);

/* Before any other call: from now on, what lies in objects that leave the region is forgotten. */
void seen_init(struct fill *fill);

/* Forget all. No other call may be under way. */
void seen_free(struct fill *fill);

/* An object that is being filled, with a mapping of its file where that is the faster way. */
struct target {
	struct object *obj; /* borrowed */
	int fd;             /* owned; -1 without a mapping */
	uint8_t *base;      /* owned; NULL without one */
	uint64_t mapped;    /* bytes, from the start */
};

/* Never fails: there is no mapping then. */
void target_open(struct target *t, struct object *obj);
void target_close(struct target *t);

/*
 * Write verified bytes, or a hole, or a copy of bytes that lie in objects (returns 1; 0 when they
 * do not), and mark them placed, when nobody else writes there. Errors as object_place().
 */
MUST_CHECK int place_bytes(struct fill *fill, struct object *obj, const void *data, size_t len,
                           uint64_t off);
MUST_CHECK int place_hole(struct fill *fill, struct object *obj, uint64_t off, uint64_t len);
MUST_CHECK int place_copy(struct fill *fill, struct object *obj, const struct extent *x);

/*
 * Mark @x as placed if an earlier daemon has left its bytes in the object's file. Returns false when
 * they are not there, or cannot be verified by themselves.
 */
bool place_kept(struct fill *fill, struct object *obj, const struct extent *x);

/*
 * Decompress the chunk of @x where it is to lie, verify it and mark it placed. Returns 1; 0 when
 * it has to go through a buffer; -ENOSPC, or what image_read_chunk() returns.
 */
MUST_CHECK int place_direct(struct fill *fill, struct image *img, struct chunk_reader *reader,
                            const struct target *t, const struct extent *x, struct err *err);

/* Copy placed bytes from one object's file to another's, in the kernel if it can. 0 or -errno. */
MUST_CHECK int copy_between(struct object *from, uint64_t from_off, struct object *to,
                            uint64_t to_off, size_t len);

/*
 * Fill part @i of the target: extent @i of @map and the hole before it; part
 * map->n is the hole at the end. Errors as fill_range().
 */
MUST_CHECK int fill_part(struct fill *fill, const struct extent_map *map, const struct target *t,
                         uint32_t i, struct err *err);

/*
 * @n_threads threads that fill whole objects, one object after another. They and the
 * callers that fill are never more than @n_threads together, as far as it depends on them: they
 * begin nothing else then. At most @n_background of them do what nobody waits for.
 */
MUST_CHECK int background_new(struct fill *fill, unsigned n_threads, unsigned n_background,
                              struct background **ret, struct err *err);

/* Accepts NULL. Drops what is queued, calling its done functions, and ends the threads. */
void background_free(struct background *bg);

/* A caller begins to fill, or has ended. */
void background_yield(struct background *bg);
void background_resume(struct background *bg);

/* Contract: fill_object(). Threads that have nothing else to do help. */
MUST_CHECK int background_join(struct background *bg, struct extent_map *map, struct object *obj,
                               struct err *err);

/* Contracts: fill_later(), fill_cancel(). */
MUST_CHECK int background_add(struct background *bg, struct extent_map *map, struct object *obj,
                              enum fill_priority priority, fill_done_fn done, void *arg);
void background_cancel(struct background *bg, const struct image *img);

/* Give thread @tid back the priority that this process began with, if a background thread has lowered it. */
void background_raise(const struct background *bg, int tid);
