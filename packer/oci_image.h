/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for container engines: what Kubernetes mounts as an image volume, and podman and others unpack. The OCI image
 * specification (1.1) with nothing of our own: files as they are, in layers, one manifest a platform.
 */
#pragma once

#include "layers.h"

struct oci_image_options {
	struct layout_writer *writer;
	struct source *sources; /* the common one, and one for each platform */
	unsigned n_sources;
	const struct platform_tree *trees; /* one for each image */
	const struct platform *
		platforms; /* likewise; NULL when there is one image, for linux/amd64 and linux/arm64 */
	unsigned n_trees;
	int64_t created; /* seconds since 1970 */
	enum progress_kind progress;
};

/* Publish the image for each platform in @ret, room for PLATFORMS_MAX, of which platform and self are set. Adds the sizes of all blobs to *@bytes. Returns as layers_publish(). */
MUST_CHECK int oci_image_publish(const struct oci_image_options *options, struct manifest *ret,
                                 unsigned *n, uint64_t *bytes, struct err *err);
