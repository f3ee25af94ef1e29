/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between diff.c, which compares the trees, diff_cost.c, which knows what contents
 * cost, and diff_origin.c, which knows where contents were.
 */
#pragma once

#include "diff.h"

/* A content of the new image with a chunk that the old one lacks. */
struct content_cost {
	uint64_t content;
	uint64_t bytes;
	bool borne; /* by a file */
};

struct costs {
	struct content_cost *list; /* owned; in order of content */
	size_t n;
	size_t max;
};

/* Fill @ret, and what @d says of chunks. @old may be NULL. The caller frees @ret->list. */
MUST_CHECK int costs_collect(struct image *old, struct image *new, struct costs *ret,
                             struct diff *d, struct err *err);

/* The cost of @content, or NULL when it has none. */
struct content_cost *costs_find(const struct costs *costs, uint64_t content);

/* A content of the old image. */
struct origin {
	struct digest digest;
	uint64_t content;
	uint64_t ino; /* of a file that has it, or 0 */
};

struct origins {
	struct origin *list; /* owned; in order of digest */
	size_t n;
	size_t max;
};

/* Fill @ret with the contents of @idx. The caller frees @ret->list, in any case. */
MUST_CHECK int origins_load(struct index *idx, struct origins *ret, struct err *err);

/* The content with @digest, or NULL. */
const struct origin *origins_find(const struct origins *origins, const struct digest *digest);
