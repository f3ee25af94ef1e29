/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding what an earlier release has of the contents of a build. Contents that
 * it has whole get its extents; those whose file it has in another
 * form get the extents of what is equal.
 */
#pragma once

#include "contents.h"
#include "old.h"

struct reuse_options {
	const struct old *old;        /* borrowed */
	const char *const *platforms; /* names, in order of the bits */
	struct packs *packs;          /* borrowed; knows the packs and chunks of old */
	uint64_t small_max;
	unsigned jobs;
	enum progress_kind progress;
};

/* Look at all @contents; they have digests. Returns 0; -EAGAIN when a file changed; -errno. */
MUST_CHECK int reuse_contents(struct contents *contents, const struct reuse_options *options,
                              struct err *err);
