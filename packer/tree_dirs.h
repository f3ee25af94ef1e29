/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the directories that a walk found, as dirs.h does. One thread at a time. */
#pragma once

#include "dirs.h"
#include "tree.h"

struct tree_dirs {
	const struct tree_node *dir; /* borrowed; that is open, or NULL */
	int fd;                      /* borrowed; of that */
	struct dirs dirs;
	struct path_buf path; /* owned */
};

#define TREE_DIRS_INIT ((struct tree_dirs){ .fd = -1, .dirs = DIRS_INIT(-1) })

/*
 * Directory @dir of any source. Returns a descriptor (O_PATH, or that of the
 * source), borrowed until the next call, or -errno.
 */
MUST_CHECK int tree_dirs_open(struct tree_dirs *d, const struct tree_node *dir);

void tree_dirs_release(struct tree_dirs *d);
