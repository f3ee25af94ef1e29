/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a content is compared with: the content of an earlier image that it
 * most likely came from, and what the two have in common.
 */
#pragma once

#include "match.h"
#include "new_content.h"
#include "plain_cache.h"

struct base {
	struct image *img; /* borrowed */
	struct content content;
	struct extent *extents; /* owned; of that content */
	uint32_t n_extents;
	struct match *matches; /* owned; what needs not be packed */
	size_t n_matches;
};

/* Content number @id of @img as a base that has not been compared. Returns NULL when memory runs out. */
struct base *base_new(struct image *img, uint64_t id);

/* Accepts NULL. */
void base_free(struct base *base);
DEFINE_CLEANUP(struct base *, base_free)

/* The first extent that ends after @off; n_extents when there is none. */
uint32_t base_extent_at(const struct base *base, uint64_t off);

/*
 * Load @base, and find what the file of @c and it have in common. Returns 0; 1 when the old bytes cannot be
 * read, with the reason in @err; -EAGAIN when the file changed; -errno.
 */
MUST_CHECK int base_compare(struct base *base, const struct new_content *c,
                            struct plain_cache *cache, uint64_t min_match, struct err *err);

/*
 * Chunks of the old content around what new byte @off stands in for, added to the @n at
 * @chunks, each only once, up to @max of them and @bytes plain bytes in all. The
 * chunks are borrowed from @base. Returns how many there are then.
 */
uint32_t base_chunks(const struct base *base, uint64_t off, uint64_t bytes,
                     const struct chunk **chunks, uint32_t n, uint32_t max);
