/* SPDX-License-Identifier: Apache-2.0 */
/* Packing an asset tree into a layout. */
#pragma once

#include "layout.h"
#include "pipeline.h"
#include "tagged.h"
#include "walk.h"

/* A directory that is laid over the common one for a platform. */
struct overlay {
	struct platform platform;
	const char *dir; /* borrowed */
};

enum build_format {
	BUILD_ASSETFS,
	BUILD_OCI_IMAGE, /* for container engines: oci_image.h */
};

struct build_options {
	enum build_format format;
	const char *source;            /* borrowed */
	const struct image_ref *image; /* borrowed */
	struct overlay overlays[PLATFORMS_MAX];
	unsigned n_overlays; /* none: one image for every platform */
	struct walk_options walk;
	struct pipeline_options pipeline;
	/* The release to start from; when empty, what the image's tag names now, if it does. */
	struct image_ref from; /* owned by whoever made the options */
	bool no_from;
	const char *trace; /* borrowed; a file that orders what is packed, or NULL */
	enum progress_kind progress;
	const struct tagged *base; /* borrowed; what nodes have now, or NULL */
	bool has_max_update;
	uint64_t max_update; /* bytes that a node with @base may have to fetch */
};

/* What a build made. */
struct build_report {
	struct digest digest;  /* of the image index */
	uint64_t files;        /* of all platforms; a file that several have is counted once */
	uint64_t bytes;        /* sum of their sizes */
	uint64_t unique_bytes; /* sum of the sizes of different contents */
	uint64_t image_bytes;  /* sum of the blobs that the image index names, directly or not */
};

/*
 * Build. Until the tag is switched, in the last step, the layout's images stay as they were.
 * Returns 0, -EDOM when the update is above the limit, or -errno.
 */
MUST_CHECK int build(const struct build_options *options, struct build_report *ret,
                     struct err *err);
