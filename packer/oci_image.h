/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for container engines: what Kubernetes mounts as an image volume, and podman and
 * others unpack. The OCI image specification (1.1) with nothing of our own: files as they are,
 * in layers, one manifest a platform.
 */
#pragma once

#include "layers.h"

#define OCI_TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_TYPE_LAYER  "application/vnd.oci.image.layer.v1.tar"

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

/*
 * Publish the image for each platform in @ret, room for PLATFORMS_MAX, of which platform and
 * self are set. Adds the sizes of all blobs to *@bytes. Returns as layers_publish().
 */
MUST_CHECK int oci_image_publish(const struct oci_image_options *options, struct manifest *ret,
                                 unsigned *n, uint64_t *bytes, struct err *err);

/*
 * Load what @tag names, if it is an image index of images for container engines: self of each,
 * config, and layers as packs; no index. The caller releases @ret. Returns 0; -EBADMSG when it
 * is something else; what layout_read_blob() returns.
 */
MUST_CHECK int oci_image_load(const struct layout *layout, const char *tag, struct image_set *ret,
                              struct err *err);
