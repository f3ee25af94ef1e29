/* SPDX-License-Identifier: Apache-2.0 */
/* Removing from a layout what no tag reaches. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* What was removed, or would be. */
struct gc_result {
	uint64_t n_blobs;
	uint64_t blob_bytes;
	uint64_t n_unfinished; /* files that writers left when they were killed */
	uint64_t unfinished_bytes;
	uint64_t n_kept; /* blobs */
	uint64_t kept_bytes;
};

/*
 * Remove the blobs of layout @path that nothing in its index.json leads to, and
 * unfinished files; with @dry_run only count them. Images and manifests of
 * others are followed like our own. Waits for a writer to end, and keeps others
 * out. What is no blob and no unfinished file stays.
 *
 * Returns 0; -EBADMSG, with nothing removed, when something that a tag leads to
 * cannot be followed; -errno. After an error of a removal some blobs that
 * nothing reaches are left.
 */
MUST_CHECK int layout_gc(const char *path, bool dry_run, struct gc_result *ret, struct err *err);
