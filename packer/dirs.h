/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories below a root, opened without following symbolic links: nobody
 * who renames or replaces directories meanwhile can lead the way out of the
 * root. The last one stays open, because the next is often the same. One thread
 * at a time.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

struct dirs {
	int root;   /* borrowed */
	int fd;     /* owned; of path, or -1 for the root */
	char *path; /* owned; NULL for the root */
};

#define DIRS_INIT(root_fd) ((struct dirs){ .root = (root_fd), .fd = -1, .path = NULL })

/* Path @path without its last component: sets *@ret_len. Returns the last component. */
const char *path_split(const char *path, size_t *ret_len);

/*
 * The directory named by the first @len bytes of @path, relative to the root;
 * none is the root. Returns a descriptor (O_PATH, or the root's own), borrowed
 * until the next call, or -errno.
 */
MUST_CHECK int dirs_open(struct dirs *d, const char *path, size_t len);

void dirs_release(struct dirs *d);

static inline void dirs_release_cleanup(struct dirs *d)
{
	dirs_release(d);
}
