/* SPDX-License-Identifier: Apache-2.0 */
/* What fill.c, fill_seen.c and background.c share. */
#pragma once

#include <pthread.h>

#include "base/table.h"
#include "fill.h"

struct pooled_reader;
struct background;

struct fill {
	/* constant after fill_new() */
	struct region *region;         /* borrowed */
	struct stats *stats;           /* borrowed */
	struct background *background; /* owned */

	pthread_mutex_t lock;
	pthread_cond_t landed; /* a flight has ended */
	/* under lock */
	struct table flights; /* struct flight, by chunk digest */
	struct table seen;    /* struct seen, by chunk digest */
	struct pooled_reader *readers;
};

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

/* A region_evicted_fn for a struct fill: forget what lies in @obj. */
void seen_forget(void *arg, struct object *obj);

/* Forget all. No other call may be under way. */
void seen_free(struct fill *fill);

/*
 * Fill part @i of @obj: extent @i of @map and the hole before it; part
 * map->n is the hole at the end. Errors as fill_range().
 */
MUST_CHECK int fill_part(struct fill *fill, const struct extent_map *map, struct object *obj,
                         uint32_t i, struct err *err);

/* Threads that fill whole objects, one object after another, all on the same one. */
MUST_CHECK int background_new(struct fill *fill, unsigned n_threads, struct background **ret,
                              struct err *err);

/* Accepts NULL. Drops what is queued, calling its done functions, and ends the threads. */
void background_free(struct background *bg);

/* Contracts: fill_later(), fill_cancel(). */
MUST_CHECK int background_add(struct background *bg, struct extent_map *map, struct object *obj,
                              fill_done_fn done, void *arg);
void background_cancel(struct background *bg, const struct image *img);
