/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of one or more equal files, on their way into an image. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

struct tree_node;

/* A chunk that is stored in a pack of this build. */
struct stored_chunk {
	struct digest digest;
	uint32_t pack; /* place in the list of packs, from 0 */
	uint32_t size;
	uint64_t frame_off;
	uint32_t frame_size;
	uint64_t id; /* row in the index that is being written */
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
	bool has_digest; /* known before the bytes are packed: they must match it */
	bool small;      /* below the target: joined with others */
	bool ends_group; /* small: the chunk ends after it */
	uint32_t platforms;
	uint64_t size;
	const struct tree_node *file; /* borrowed; the first that has it, by path */
	struct run *runs;             /* owned; in order of offset */
	size_t n_runs;
	size_t runs_max;
	uint64_t id; /* row in the index that is being written, or 0 */
};
