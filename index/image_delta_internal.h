/* SPDX-License-Identifier: Apache-2.0 */
/* What the files share that read chunks from deltas. */
#pragma once

#include <pthread.h>

#include "delta.h"
#include "image_internal.h"

/* An image that deltas are made from. */
struct base {
	struct image *img;       /* owned; NULL when it is not at hand */
	const struct image *far; /* borrowed; whose source brings its packs; NULL: they are files */
	bool *pack_there;        /* owned; for each of its packs */
	struct err why;          /* it is not at hand */
};

/* A delta layer. */
struct delta {
	struct delta_table *table; /* owned; NULL when it cannot be used */
	struct err why;            /* it cannot */
	int fd;                    /* owned */
	struct base *base;         /* borrowed */
	const struct image *far;   /* borrowed; whose source brings it; NULL: it is a file */
	struct descriptor blob;
	struct chunk *chunks; /* owned; each of the table's bases, size 0 where there is none */
};

enum state {
	STATE_CLOSED,
	STATE_OPENING, /* by one thread, without the lock */
	STATE_OPEN,
};

struct deltas {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* of state */
	enum state state;       /* under lock */

	/* constant while open */
	struct delta *list; /* owned; one for each of the manifest's layers */
	uint32_t n;
	struct base *bases; /* owned; as many as there are layers at most */
	uint32_t n_bases;
};

/* Have @img's deltas open, or as far as they can be. Returns 0, or -errno that may pass. */
MUST_CHECK int deltas_open(const struct image *img, struct err *err);

/* Open the blob of @delta and load its table. */
MUST_CHECK int delta_load_table(const struct layout *layout, const struct descriptor *blob,
                                struct delta *delta, struct err *err);

/* Open the image @digest as @base, and find what deltas need of it. */
MUST_CHECK int delta_open_base(struct deltas *deltas, const struct layout *layout,
                               const struct digest *digest, struct base *base, struct err *err);

/* The chunk in the base of the @i-th base of @frame; size 0 when there is none. */
const struct chunk *delta_base_chunk(const struct delta *delta, const struct delta_frame *frame,
                                     uint32_t i);

/* Check what is known of @frame's prefix before any of it is read. */
MUST_CHECK int delta_check_prefix(const struct delta *delta, const struct delta_frame *frame,
                                  struct err *err);

/* Read @chunk, frame @number of layer @i. */
MUST_CHECK int delta_read(const struct image *img, uint32_t i, uint32_t number,
                          struct chunk_reader *reader, const struct chunk *chunk, struct err *err);

/* Of images with a source (image_delta_far.c); where @img is NULL, files are there. */

/* Let the source bring a range. Returns as hold(). */
MUST_CHECK int delta_hold(const struct image *img, const struct descriptor *blob,
                          struct pack_hold *range, struct err *err);

/* It was read, with the result @r. */
void delta_let_go(const struct image *img, const struct descriptor *blob,
                  const struct pack_hold *range, int r);

/* As delta_load_table(), where the base is here. */
MUST_CHECK int delta_bring_table(const struct image *img, const struct delta_layer *layer,
                                 struct delta *delta, struct err *err);

/*
 * As delta_open_base(): what of the base is here from earlier mounts, which its index must be as a
 * whole.
 */
MUST_CHECK int delta_open_far_base(struct deltas *deltas, const struct image *img,
                                   const struct digest *digest, struct base *base, struct err *err);
