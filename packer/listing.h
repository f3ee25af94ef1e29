/* SPDX-License-Identifier: Apache-2.0 */
/* What a directory of an image holds, in memory. */
#pragma once

#include "index.h"

struct listed {
	char *name; /* owned */
	size_t name_len;
	struct node node;
};

struct listing {
	struct listed *list; /* owned; in order of name */
	size_t n;
	size_t max;
};

#define LISTING_INIT ((struct listing){ .list = NULL, .n = 0, .max = 0 })

/* Load directory @ino. Returns 0 or -errno, with @ret holding what was read before. */
MUST_CHECK int listing_load(struct index *idx, uint64_t ino, struct listing *ret, struct err *err);

/*
 * As listing_load(), for who walks down a tree. Refuses an index in which a directory is in
 * two others: thirty of them, one in another, would be a tree of 2^30 directories.
 */
MUST_CHECK int listing_load_below(struct index *idx, uint64_t ino, struct listing *ret,
                                  struct err *err);

void listing_release(struct listing *l);

static inline void listing_release_cleanup(struct listing *l)
{
	listing_release(l);
}
