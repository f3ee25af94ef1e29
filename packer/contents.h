/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first pass over files: which contents there are. Small files are read
 * and joined when they are equal; large ones are not read yet, and those that
 * are equal come out as equal chunks and one row of the index.
 */
#pragma once

#include "new_content.h"
#include "platform_tree.h"
#include "progress.h"

struct contents {
	struct new_content **list; /* owned, as are the contents; in no useful order */
	size_t n;
};

#define CONTENTS_INIT ((struct contents){ .list = NULL, .n = 0 })

struct contents_options {
	uint64_t small_max; /* files below it are small */
	unsigned jobs;      /* threads */
	enum progress_kind progress;
};

/* Collect the contents of all files in the @n_trees trees. Returns 0 or -errno. */
MUST_CHECK int contents_collect(const struct platform_tree *trees, unsigned n_trees,
                                const struct contents_options *options, struct contents *ret,
                                struct err *err);

void contents_release(struct contents *contents);

static inline void contents_release_cleanup(struct contents *contents)
{
	contents_release(contents);
}
