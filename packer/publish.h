/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the index, config and manifest of one platform. */
#pragma once

#include "layout_writer.h"
#include "old.h"
#include "packs.h"
#include "pipeline.h"
#include "platform_tree.h"

/* What the images of a build have in common. */
struct publication {
	struct layout_writer *writer;
	struct packs *packs;
	const struct contents *contents;
	const struct old *old; /* what the build starts from; may be empty */
	const struct pipeline_options *options;
	struct descriptor trace; /* that the images carry; size 0: none */
};

/*
 * Publish the image of @platform, number @bit, with tree @tree. Fills *@ret;
 * the caller releases it. Returns 0 or -errno.
 */
MUST_CHECK int publish_image(const struct publication *pub, const struct platform *platform,
                             unsigned bit, const struct platform_tree *tree, struct manifest *ret,
                             struct err *err);
