/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a trace says of the trees that are packed: which files were used, which
 * parts of the large ones, and in which order. One thread at a time.
 */
#pragma once

#include "new_content.h"
#include "platform_tree.h"

struct contents;

enum { SPLIT_TARGETS = 4 }; /* what has fewer times the target is used as a whole */

/* Bytes [off, end) that were used. */
struct first_use {
	union {
		struct tree_node *file; /* borrowed; until the contents are known */
		struct new_content *content;
	};
	uint64_t off, end;
	uint32_t rank; /* place in the order of first use, from 1 */
};

struct first_uses {
	struct first_use *list; /* owned; by file, then offset; of each file all, or parts */
	size_t n;
	size_t max;
	uint64_t *split_sizes; /* owned; ascending: of the files that were used in part */
	size_t n_split_sizes;
};

#define FIRST_USES_INIT ((struct first_uses){ .list = NULL })

/* All borrowed. */
struct trace_text {
	const char *path; /* for messages */
	const char *text;
	size_t len;
};

/*
 * Read @trace and look its files up in the @n_trees trees. Uses of
 * large files are rounded outward to @target, the chunks' target size, and joined.
 * Notes how many of the trace's uses are of no file there. Returns 0; -EINVAL when it is no
 * trace; -errno.
 */
MUST_CHECK int first_uses_read(const struct trace_text *trace, const struct platform_tree *trees,
                               unsigned n_trees, uint64_t target, struct first_uses *ret,
                               struct err *err);

/*
 * Whether a file of @size bytes was used in part: all files of that size need their
 * digest before they are packed, since such a content is not packed in order.
 */
bool first_uses_split(const struct first_uses *uses, uint64_t size);

/*
 * Rank @contents, which are those of the trees and have a digest where
 * first_uses_split() says so, and give it the parts of those that were used in
 * part. @uses is empty then.
 */
void first_uses_apply(struct first_uses *uses, struct contents *contents);

void first_uses_release(struct first_uses *uses);

static inline void first_uses_release_cleanup(struct first_uses *uses)
{
	first_uses_release(uses);
}
