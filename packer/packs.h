/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packs of the images that are being built, and the chunks in them: packs
 * that this build writes, and those of earlier images that it goes on using.
 *
 * A new pack belongs to a set of platforms, all of whose images name it. One
 * thread adds; any thread may look chunks up meanwhile.
 */
#pragma once

#include "delta.h"
#include "index.h"
#include "layout.h"
#include "new_content.h"

struct pack_record {
	struct digest digest;
	uint64_t size;
	uint64_t used; /* bytes of frames that the images use: set by packs_count_use() */
	bool old;      /* of an earlier image */
};

/* A finished delta: chunks of new packs of @platforms. */
struct delta_record {
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

/* Accepts NULL. Removes what was not finished. */
void packs_free(struct packs *packs);
DEFINE_CLEANUP(struct packs *, packs_free)

/*
 * Make a pack of an earlier image known; it comes before all new ones. Returns its place among
 * the records, the same one for the same digest, or -ENOMEM or -EOVERFLOW.
 */
MUST_CHECK int packs_add_old(struct packs *packs, const struct descriptor *pack, struct err *err);

/*
 * Make a chunk of such a pack, number @pack of the records, known: it is one of earlier image
 * number @image, below 32. Returns 0 or -ENOMEM.
 */
MUST_CHECK int packs_add_old_chunk(struct packs *packs, uint32_t pack, unsigned image,
                                   const struct chunk *chunk);

/* Who has the image of platform number @platform has earlier image number @image. */
void packs_set_base(struct packs *packs, unsigned platform, unsigned image);

/*
 * The first chunk of @digest in a pack that all of @platforms may name, or
 * NULL. Chunks are never removed: one that was found stays. Borrowed.
 */
struct stored_chunk *packs_find(struct packs *packs, const struct digest *digest,
                                uint32_t platforms);

enum { DELTA_BASES_MAX = 64 };

/* A chunk to be stored. */
struct new_chunk {
	struct digest digest;
	uint32_t size; /* plain bytes */
	const void *frame;
	uint32_t frame_size;
	uint32_t platforms;

	/* How who holds the bases gets it with fewer bytes; delta_size is 0 when there is no such way. */
	const void *delta;
	uint32_t delta_size;
	const struct digest *bases;
	uint32_t n_bases;
};

/*
 * Store a chunk at the end of the pack for exactly its platforms, finishing
 * the pack when it is full or another set's turn has come. Chunks with a delta
 * go to packs of their own: who uses deltas does not need these packs at all. A delta
 * whose bases some of the platforms' earlier images lack is left out.
 * Returns 0 and sets *@ret (borrowed), or -errno.
 */
MUST_CHECK int packs_add(struct packs *packs, const struct new_chunk *chunk,
                         struct stored_chunk **ret, struct err *err);

/* Finish what is open. The bytes of all packs and deltas are durable afterwards. */
MUST_CHECK int packs_finish(struct packs *packs, struct err *err);

/*
 * Count in packs and chunks what the runs of the @n contents at @list use. Needs
 * packs_finish() before.
 */
void packs_count_use(struct packs *packs, const struct new_content *list, size_t n);

/*
 * Move what is used of old packs, of which less than a quarter is used, to new packs, so that
 * the old ones are not needed any more. Counts uses anew, of the same contents.
 */
MUST_CHECK int packs_rewrite(struct packs *packs, const struct new_content *list, size_t n,
                             struct err *err);

/* All packs, all deltas, and all chunks in order of pack and offset; borrowed. */
const struct pack_record *packs_records(const struct packs *packs, uint32_t *ret_n);
const struct delta_record *packs_deltas(const struct packs *packs, uint32_t *ret_n);
struct stored_chunk *const *packs_chunks(const struct packs *packs, size_t *ret_n);
