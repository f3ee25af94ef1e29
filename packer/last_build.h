/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the last build into a layout saw and made, so that the next one can tell
 * in the time of a walk that there is nothing to do. A file in the layout that
 * nothing else depends on. One thread at a time.
 */
#pragma once

#include "layout.h"
#include "pipeline.h"
#include "platform_tree.h"

struct last_build {
	struct digest seen; /* trees and options */
	struct digest made; /* the images' manifests */
	uint64_t unique_bytes;
	uint64_t image_bytes;
};

/*
 * Digest of all that decides what a build makes of the @n trees, for the platforms @names, with
 * @options. Returns 1 and sets *@ret; 0 when a file may change without being seen to; -ENOMEM.
 */
MUST_CHECK int last_build_seen(const struct platform_tree *trees, const char *const *names,
                               unsigned n, const struct pipeline_options *options,
                               struct digest *ret);

/* Digest of what the @n manifests say. Returns 0 or -ENOMEM. */
MUST_CHECK int last_build_made(const struct manifest *manifests, uint32_t n, struct digest *ret);

/* Read the file in directory @dirfd. Returns false when there is none of this version and host. */
bool last_build_read(int dirfd, struct last_build *ret);

/* Write it, unless it is there already. Returns 0 or -errno. */
MUST_CHECK int last_build_save(int dirfd, const struct last_build *last, struct err *err);
