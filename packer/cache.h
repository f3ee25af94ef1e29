/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build cache: digests of files by their stamps (see tree_stamp()), so that
 * a file that has not changed need not be read again. A file in the layout
 * that nothing else depends on: one that is missing, damaged or of another
 * version is an empty cache. One thread at a time.
 */
#pragma once

#include "new_content.h"
#include "platform_tree.h"

struct cache;

/* Open the cache in directory @dirfd (borrowed), or an empty one. Returns NULL when memory runs out. */
struct cache *cache_open(int dirfd);

/* Accepts NULL. */
void cache_close(struct cache *cache);
DEFINE_CLEANUP(struct cache *, cache_close)

/* Set the digests of those of the @n contents at @list whose files it knows. */
void cache_fill(const struct cache *cache, struct new_content *list, size_t n);

/*
 * Replace the cache in directory @dirfd, which is @cache unless it has changed, by the files of the
 * @n_trees trees. Files that may change again without a new stamp are left out. Returns 0 or -errno.
 */
MUST_CHECK int cache_save(const struct cache *cache, int dirfd, const struct platform_tree *trees,
                          unsigned n_trees, struct err *err);
