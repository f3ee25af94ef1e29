/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, cutting, hashing, compressing and storing contents, on all cores. */
#pragma once

#include "chunker.h"
#include "packs.h"
#include "plan.h"
#include "progress.h"

struct pipeline_options {
	struct chunker chunker;
	uint32_t group_target;
	int level; /* of zstd */
	unsigned jobs;
	bool deltas; /* make them, for contents that have a base */
};

/*
 * Store the segments of @plan, in their order, in @packs. Sets their contents'
 * digests and adds runs to them. What is stored does not depend on jobs. Returns 0;
 * -EAGAIN when a file changed; -errno.
 */
MUST_CHECK int pipeline_run(const struct plan *plan, const struct pipeline_options *options,
                            struct packs *packs, struct progress *progress, struct err *err);
