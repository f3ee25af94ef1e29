/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of one or more equal files, on their way into an image. There are
 * as many of these as files: their size is what the memory of a build is made of.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "tree.h"

struct base;

/* A chunk in a pack, of this build or of an earlier one. */
struct stored_chunk {
	struct digest digest;
	uint64_t frame_off;
	uint32_t frame_size;
	uint32_t size;
	uint32_t pack; /* place in the list of packs, from 0 */
	uint32_t used; /* plain bytes that runs use, at most size; see packs_count_use() */
	uint64_t id;   /* row in the index that is being written, or 0 */
};

/* A run of a content in a chunk. */
struct run {
	uint64_t off;
	uint32_t len;
	uint32_t chunk_off;
	struct stored_chunk *chunk; /* borrowed */
};

struct new_content {
	struct digest digest;
	struct tree_node *file; /* borrowed; the first that has it, by path */
	struct base *base;      /* owned; what it is compared with, or NULL */
	union {
		struct run *runs;           /* owned; unless whole or twin */
		struct stored_chunk *chunk; /* whole: where the bytes are */
		struct new_content *twin; /* twin: the content of equal bytes that counts; borrowed */
	};
	uint32_t n_runs;
	uint32_t chunk_off; /* whole */
	uint32_t platforms;
	uint32_t id;         /* row in the index that is being written, or 0 */
	uint32_t rank;       /* of what a trace has of it, the first; see struct segment */
	bool has_digest : 1; /* known before the bytes are packed: they must match it */
	bool to_hash    : 1; /* its digest has to be known before bytes are packed */
	bool whole      : 1; /* one run is all of it */
	bool is_twin    : 1;
	bool reused     : 1; /* an earlier image has all of it */
};

static inline uint64_t content_size(const struct new_content *c)
{
	return c->file->size;
}

/* Run @i, below n_runs. */
static inline struct run content_run(const struct new_content *c, uint32_t i)
{
	if (c->whole)
		return (struct run){
			.len = (uint32_t)content_size(c),
			.chunk_off = c->chunk_off,
			.chunk = c->chunk,
		};
	return c->runs[i];
}

/* Add a run; they may come in any order. Returns 0 or -ENOMEM. */
MUST_CHECK int content_add_run(struct new_content *c, struct run run);

/* A run of a content that has to be packed. */
struct segment {
	struct new_content *content; /* borrowed */
	uint64_t off;
	uint64_t len;
	uint32_t rank;   /* place in the order of first use, from 1; 0 when no trace has it */
	bool small;      /* below the target: joined with others */
	bool ends_group; /* small: the chunk ends after it */
};
