/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the files that a walk found, and noticing when they are not what
 * was found any more. One thread at a time.
 */
#pragma once

#include "tree.h"
#include "tree_dirs.h"

struct input {
	struct tree_dirs dirs;
	const struct tree_node *file; /* borrowed; that is open, or NULL */
	int fd;                       /* owned */
	bool sparse;                  /* the file has holes */
	uint64_t hole, hole_end;      /* the last one that was found */
};

#define INPUT_INIT ((struct input){ .dirs = TREE_DIRS_INIT, .fd = -1 })

/* Open regular file @file. Returns 0, -EAGAIN when it has changed since it was found, or -errno. */
MUST_CHECK int input_open(struct input *in, const struct tree_node *file, struct err *err);

/*
 * Read @len bytes at @off of the open file. Holes are not read but filled in:
 * reading them would turn them into pages of the page cache. Returns as
 * input_open().
 */
MUST_CHECK int input_read(struct input *in, void *buf, size_t len, uint64_t off, struct err *err);

/* Close the file. Returns 0, or -EAGAIN when it changed while it was open. */
MUST_CHECK int input_close(struct input *in, struct err *err);

/* The error for a file that is not what it was; returns -EAGAIN. */
int input_changed(const struct tree_node *file, struct err *err);

void input_release(struct input *in);

static inline void input_release_cleanup(struct input *in)
{
	input_release(in);
}
