/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which contents there are. Files are read and hashed where the digest is
 * needed before the bytes are packed; other large files are not read yet, and
 * those of them that are equal come out as equal chunks and one row of the index.
 */
#pragma once

#include "cache.h"
#include "first_use.h"
#include "new_content.h"
#include "platform_tree.h"
#include "progress.h"

struct contents {
	struct new_content *list; /* owned; in no useful order */
	size_t n;
	/* Owned; of contents of which a trace has only parts; in order of the list, then offset. */
	struct first_use *parts;
	size_t n_parts;
};

#define CONTENTS_INIT ((struct contents){ .list = NULL, .n = 0 })

struct contents_options {
	uint64_t small_max; /* files below it are small */
	bool hash_all;
	const struct first_uses *uses; /* borrowed; those that it splits are hashed */
	struct cache *cache; /* borrowed: digests of files that have not changed; may be NULL */
	unsigned jobs;       /* threads */
	enum progress_kind progress;
};

/* Collect the contents of all files in the @n_trees trees. Returns 0 or -errno. */
MUST_CHECK int contents_collect(const struct platform_tree *trees, unsigned n_trees,
                                const struct contents_options *options, struct contents *ret,
                                struct err *err);

/*
 * Order each content's runs by offset, and let contents that turned out equal
 * be twins of one. Call it when all bytes are packed. Returns 0 or -ENOMEM.
 */
MUST_CHECK int contents_settle(struct contents *contents);

void contents_release(struct contents *contents);

static inline void contents_release_cleanup(struct contents *contents)
{
	contents_release(contents);
}
