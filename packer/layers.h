/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a source as layers of a container image: tar archives that are not compressed,
 * so that their digest is also that of what they hold. One thread.
 *
 * Files below a limit are in layers of some hundred megabytes each, in order of path; the
 * others have one each. Where one layer ends and the next begins depends on names of files
 * there, so that a change of the tree leaves most layers as they were. All names of a file are
 * in one layer.
 */
#pragma once

#include "layout_writer.h"
#include "platform_tree.h"
#include "progress.h"

struct layers {
	struct descriptor *list; /* owned; in the order in which they are laid over each other */
	size_t n;
	size_t max;
};

#define LAYERS_INIT ((struct layers){ .list = NULL })

struct layers_options {
	struct layout_writer *writer;
	const struct platform_tree
		*tree; /* whose directories show how those of an overlay look; NULL: as they are */
	uint64_t unit; /* as layers_unit() says */
	struct progress *progress;
	uint64_t *done; /* bytes, for progress */
};

/*
 * Size from which on a file has a layer of its own, and of which a layer is at least: for
 * images of @bytes, so that they have fewer layers than the hundred-odd that container engines
 * take.
 */
uint64_t layers_unit(uint64_t bytes);

/*
 * Publish the layers of what some platform has of @source, of which the trees have been built.
 * Returns 0; -EINVAL for a name that layers give a meaning of its own; -EAGAIN when a file
 * changed; -errno.
 */
MUST_CHECK int layers_publish(struct source *source, const struct layers_options *options,
                              struct layers *ret, struct err *err);

void layers_release(struct layers *layers);
