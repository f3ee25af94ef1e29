/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, cutting, hashing, compressing and storing contents, on all cores. */
#pragma once

#include "chunker.h"
#include "packs.h"
#include "progress.h"

struct pipeline_options {
	struct chunker chunker;
	uint32_t group_target;
	int level; /* of zstd */
	unsigned jobs;
};

/*
 * Store the @n contents at @plan, in the order of plan_order(), in @packs.
 * Sets their digests and runs. What is stored does not depend on jobs.
 * Returns 0; -EAGAIN when a file changed; -errno.
 */
MUST_CHECK int pipeline_run(struct new_content **plan, size_t n,
                            const struct pipeline_options *options, struct packs *packs,
                            struct progress *progress, struct err *err);
