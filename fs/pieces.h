/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where bytes of one chunk lie in the region: the pieces of a chunk. Files
 * that are made of parts of a chunk place it in pieces, in several objects;
 * who needs other parts of it later copies them from there.
 *
 * Invariants
 * 1. Pieces are sorted by where they start in the chunk, and none lies within
 *    another: so they are sorted by where they end, too, and the last one that
 *    starts at or before a byte reaches furthest from it.
 * 2. Two pieces that lie alike in one object neither touch nor overlap: they
 *    would be one.
 * 3. What is covered stays covered while its object lives. Merging widens pieces;
 *    only what is not in the set yet is dropped when it has no room.
 *
 * No locking: the owner serialises. Objects are borrowed: the owner drops the
 * pieces of one that goes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "region.h"

/*
 * Most pieces of one chunk: 24 KiB. What would be one more is forgotten, which
 * costs at worst that the chunk is decompressed again.
 */
enum { PIECES_MAX = 1024 };

/* A run of a chunk's bytes that is placed. */
struct piece {
	struct object *obj; /* borrowed */
	uint64_t off;       /* in the object */
	uint32_t chunk_off; /* chunk_off + len is within the chunk */
	uint32_t len;       /* at least 1 */
};

/* Not to be moved. */
struct pieces {
	struct piece *piece; /* owned, or &one */
	uint32_t n, cap;
	struct piece one; /* most chunks have no other */
};

#define PIECES_INIT ((struct pieces){ .piece = NULL, .n = 0, .cap = 0 })

void pieces_release(struct pieces *set);

/* Add @piece, whose bytes are placed, unless the set covers it, or there is no room or memory. */
void pieces_add(struct pieces *set, const struct piece *piece);

/* The piece that holds byte @pos of the chunk and reaches furthest from it. NULL when none does. */
const struct piece *pieces_at(const struct pieces *set, uint32_t pos);

/* Whether pieces hold all of the @len bytes at @chunk_off of the chunk. */
bool pieces_cover(const struct pieces *set, uint32_t chunk_off, uint32_t len);

/* Forget what lies in @obj. */
void pieces_drop(struct pieces *set, const struct object *obj);
