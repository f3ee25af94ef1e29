/* SPDX-License-Identifier: Apache-2.0 */
/* Finding what is in a directory of the host. */
#pragma once

#include "tree.h"

enum walk_flags {
	WALK_KEEP_OWNER = 1u << 0,
	WALK_KEEP_MTIME = 1u << 1,
	WALK_XATTRS = 1u << 2, /* user.* */
};

struct walk_options {
	unsigned flags;
	bool has_epoch; /* SOURCE_DATE_EPOCH: the time of everything, or the latest with WALK_KEEP_MTIME */
	int64_t epoch;
};

/*
 * Walk the directory @path, rank @rank, without following symbolic links. What
 * an image cannot hold is left out with a warning. The order of nodes and
 * entries depends on names only. Returns 0 or -errno.
 */
MUST_CHECK int walk(const char *path, unsigned rank, const struct walk_options *options,
                    struct source *ret, struct err *err);
