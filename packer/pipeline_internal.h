/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline's body, shared by its stages:
 *
 *	reader     reads files in plan order into blocks and cuts them into slices
 *	workers    hash slices, compress those that are new; any block, any order
 *	hasher     hashes whole files, block after block
 *	committer  stores slices, block after block; the caller's thread
 *
 * Blocks form a ring and are reused: that bounds memory, and the bytes of a
 * file are touched where read(2) put them. What is stored is decided by the
 * committer alone, so it does not depend on which worker was first.
 */
#pragma once

#include <pthread.h>

#include "pipeline.h"

enum {
	SLICES_MAX = 1024, /* of a block */
	PARTS_MAX = 65536, /* of a block: bounds the memory for tiny files */
};

/* A run of a content within a slice; they follow each other there. */
struct part {
	struct new_content *content; /* borrowed */
	uint64_t off;                /* in the content */
	uint32_t len;
};

/* A chunk in the making. */
struct slice {
	/* of the reader */
	size_t start; /* in the block's plain bytes */
	uint32_t len;
	uint32_t first_part;
	uint32_t n_parts;
	bool large; /* of a large segment */

	/* of the worker */
	bool hole; /* all zeros, of a large segment */
	struct digest digest;
	size_t frame_start;
	uint32_t frame_size; /* 0: found stored already */
	size_t delta_start;
	uint32_t delta_size; /* 0: there is none */
	uint32_t first_base; /* among the block's bases */
	uint32_t n_bases;
};

struct block {
	uint8_t *plain;     /* owned; block_size bytes */
	uint8_t *frames;    /* owned; frames_size bytes */
	uint8_t *deltas;    /* owned; frames of deltas: most blocks have few */
	size_t deltas_size; /* room there */
	size_t deltas_used;
	size_t used;          /* plain bytes in slices */
	struct slice *slices; /* owned; SLICES_MAX */
	uint32_t n_slices;
	struct part *parts; /* owned */
	size_t n_parts;
	size_t parts_max;
	struct digest *bases; /* owned; of the deltas of all slices */
	size_t n_bases;
	size_t bases_max;

	/* under the pipeline's lock */
	bool packed; /* worker is done */
	bool hashed; /* hasher is done */
};

struct pipeline {
	/* constant once threads run */
	const struct pipeline_options *options;
	const struct plan *plan;
	struct packs *packs;
	size_t block_size;
	size_t frames_size;
	struct block *ring; /* owned */
	uint32_t n_ring;

	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* under lock: blocks are numbered from 0, number i is ring[i % n_ring] */
	uint64_t n_filled;    /* that the reader has handed on */
	uint64_t n_taken;     /* that workers have begun */
	uint64_t n_committed; /* whose place in the ring is free again */
	bool all_read;        /* no more will be filled */
	int result;           /* of the first failure; everyone stops */
	struct err err;       /* of that failure */
};

static inline struct block *ring_block(const struct pipeline *p, uint64_t number)
{
	return &p->ring[number % p->n_ring];
}

/* Make everyone stop, with @err unless something failed before. */
void pipeline_fail(struct pipeline *p, int result, const struct err *err);

/*
 * Wait for a free place in the ring for block @number. Returns the block,
 * empty, or NULL when everyone is to stop.
 */
struct block *pipeline_wait_free(struct pipeline *p, uint64_t number);

/* Hand block @number on to workers and hasher. */
void pipeline_filled(struct pipeline *p, uint64_t number);

/* Wait for block @number to be filled. Returns NULL when there is none, or everyone is to stop. */
struct block *pipeline_wait_filled(struct pipeline *p, uint64_t number);

/* Bodies of the threads; @arg is the pipeline. */
void *pipeline_reader(void *arg);
void *pipeline_worker(void *arg);
void *pipeline_hasher(void *arg);
