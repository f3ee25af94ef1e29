/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to be packed, the order in which it is, and where groups of small
 * segments end (format.md §5). A function of the contents alone.
 */
#pragma once

#include "contents.h"

struct plan {
	struct segment *list; /* owned */
	size_t n;
	uint64_t bytes;
};

#define PLAN_INIT ((struct plan){ .list = NULL })

/*
 * Plan all that @contents have no runs for. In order: class after class, that
 * is set of platforms, those of more platforms first; in a class what a trace
 * has, by first use; then segments below @target, the small ones, then the others;
 * in each by extension, path and offset. Groups have @group_target bytes or so.
 * Returns 0 or -ENOMEM.
 */
MUST_CHECK int plan_make(const struct contents *contents, uint64_t target, uint32_t group_target,
                         struct plan *ret);

void plan_release(struct plan *plan);

static inline void plan_release_cleanup(struct plan *plan)
{
	plan_release(plan);
}

/* The order of files: extension, path, source. */
int plan_compare_files(const struct tree_node *a, const struct tree_node *b);

/*
 * Whether a group of @used bytes ends after its last @size bytes, of the content @digest: depends
 * on nothing that comes later, so that groups end alike in most builds.
 */
bool plan_cuts_after(const struct digest *digest, uint64_t size, uint64_t used,
                     uint32_t group_target);
