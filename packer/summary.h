/* SPDX-License-Identifier: Apache-2.0 */
/* What a build says in the end, to people and to the next step of a pipeline. One thread. */
#pragma once

#include "build.h"
#include "tagged.h"

struct summary_options {
	const struct image_ref *image; /* borrowed; what was built */
	const struct tagged *base;     /* borrowed; what there was before, or NULL */
	const char *metadata_file;     /* borrowed, or NULL */
	enum progress_kind progress;
	uint64_t duration_ms;
};

/*
 * Write the metadata file, GitHub's summary and output as far as they are
 * asked for, and the last lines on standard error. Returns 0 or -errno.
 */
MUST_CHECK int summary_write(const struct summary_options *options,
                             const struct build_report *built, struct err *err);
