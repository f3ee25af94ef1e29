/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing tar archives, as layers of container images are: the format ustar of POSIX.1-2017
 * (pax), with extended headers only where an entry needs them; the same bytes for the same
 * entries. Performs no I/O of its own.
 */
#pragma once

#include <stdint.h>

#include "tree.h"

/* Where the bytes of the archive go, in order. Returns 0, or -errno with a message. */
struct tar {
	int (*put)(void *arg, const void *data, size_t len, struct err *err);
	void *arg;
};

enum tar_type {
	TAR_FILE = '0',
	TAR_HARD_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_DIR = '5',
};

struct tar_entry {
	enum tar_type type;
	const char *path;                 /* relative, without a slash at its end */
	const char *target;               /* of links */
	uint64_t size;                    /* of TAR_FILE: its bytes follow, then tar_pad() */
	const struct tree_node *metadata; /* mode, owner, time, extended attributes */
};

/*
 * Begin an entry. Returns 0; -EINVAL for an extended attribute with a '=' in its name; what
 * put() returned; -ENOMEM.
 */
MUST_CHECK int tar_begin(const struct tar *tar, const struct tar_entry *entry, struct err *err);

/* End a file of @size bytes. */
MUST_CHECK int tar_pad(const struct tar *tar, uint64_t size, struct err *err);

/* End the archive. */
MUST_CHECK int tar_end(const struct tar *tar, struct err *err);
