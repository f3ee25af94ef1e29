/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packs that a build writes, and the chunks in them. Packs belong to a set
 * of platforms: all their images name the pack. One thread adds; any thread may
 * look chunks up meanwhile.
 */
#pragma once

#include "new_content.h"

/* A finished pack. */
struct pack_record {
	struct digest digest;
	uint64_t size;
	uint32_t platforms;
};

struct packs;

/*
 * Packs are written to directory @dirfd of the layout @path; both are borrowed, the latter is
 * for messages. Returns NULL when memory runs out.
 */
struct packs *packs_new(int dirfd, const char *path);

/* Accepts NULL. Removes a pack that was not finished. */
void packs_free(struct packs *packs);
DEFINE_CLEANUP(struct packs *, packs_free)

/*
 * The first chunk of @digest in a pack that all of @platforms name, or NULL.
 * Chunks are never removed: one that was found stays. Borrowed.
 */
struct stored_chunk *packs_find(struct packs *packs, const struct digest *digest,
                                uint32_t platforms);

/* A chunk to be stored. */
struct new_chunk {
	struct digest digest;
	uint32_t size; /* plain bytes */
	const void *frame;
	uint32_t frame_size;
	uint32_t platforms;
};

/*
 * Store a chunk at the end of the pack for exactly its platforms, finishing
 * the pack when it is full or another set's turn has come. Returns 0 and
 * sets *@ret (borrowed), or -errno.
 */
MUST_CHECK int packs_add(struct packs *packs, const struct new_chunk *chunk,
                         struct stored_chunk **ret, struct err *err);

/* Finish the last pack. All packs are durable afterwards. */
MUST_CHECK int packs_finish(struct packs *packs, struct err *err);

/* Finished packs, and chunks in the order in which they were stored; borrowed. */
const struct pack_record *packs_records(const struct packs *packs, uint32_t *ret_n);
struct stored_chunk *const *packs_chunks(const struct packs *packs, size_t *ret_n);
