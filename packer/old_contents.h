/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All contents of an earlier image with their extents, read from its index before the new contents
 * are known: while the source is walked, another processor has nothing else to do.
 */
#pragma once

#include "index.h"

struct old_contents;

/*
 * Read those of @idx. Returns NULL when they are too many to be kept (some 25 MiB), or cannot be read:
 * who goes through the index later finds out why.
 */
struct old_contents *old_contents_read(struct index *idx);

/* Accepts NULL. */
void old_contents_free(struct old_contents *all);

uint64_t old_contents_count(const struct old_contents *all);

/*
 * Call @fn as index_each_extents() does, for the contents from the @first, counted from 0, to before
 * the @end. Several threads may. Returns what @fn has returned, or -ENOMEM.
 */
MUST_CHECK int old_contents_each(const struct old_contents *all, uint64_t first, uint64_t end,
                                 index_extents_fn fn, void *arg);
