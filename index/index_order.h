/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the indexes of contents and extents have in another order than their tables: contents by
 * digest, extents by chunk. 36 bytes a content and 20 an extent are kept until then. One thread at a time.
 */
#pragma once

#include "index.h"

struct ordered_content {
	struct digest digest;
	uint32_t content;
};

struct ordered_extent {
	uint64_t off;
	uint32_t content;
	uint32_t chunk;
};

struct index_order {
	struct ordered_content *contents; /* owned */
	size_t n_contents, contents_max;
	struct ordered_extent *extents; /* owned */
	size_t n_extents, extents_max;
};

void index_order_release(struct index_order *o);

/* Keep a row. Returns 0; -EFBIG for a number above 2^32; -ENOMEM. */
MUST_CHECK int index_order_content(struct index_order *o, const struct content *content,
                                   struct err *err);
MUST_CHECK int index_order_extent(struct index_order *o, const struct extent *extent,
                                  struct err *err);

typedef int (*ordered_digest_fn)(void *arg, const struct digest *digest, uint64_t content,
                                 struct err *err);
typedef int (*ordered_extent_fn)(void *arg, const struct ordered_extent *extent, struct err *err);

/*
 * Call @fn with all contents, by digest. Returns 0; what @fn returns; -EINVAL when two have one digest;
 * -ENOMEM.
 */
MUST_CHECK int index_order_digests(const struct index_order *o, ordered_digest_fn fn, void *arg,
                                   struct err *err);

/*
 * Call @fn with all extents, by chunk, and in that as they were added. Returns 0; what @fn returns;
 * -ENOMEM. Takes 4 bytes for each number up to the highest chunk's.
 */
MUST_CHECK int index_order_chunks(const struct index_order *o, ordered_extent_fn fn, void *arg,
                                  struct err *err);
