/* SPDX-License-Identifier: Apache-2.0 */
/* Copying the images of a tag to a registry. One caller; threads of its own. */
#pragma once

#include "layout.h"
#include "oci/registry.h"
#include "progress.h"

struct push_options {
	const struct image_ref *image;
	struct registry *registry; /* open for pushing */
	const char *tag;           /* in the registry */
	unsigned jobs;             /* blobs that are sent at once */
	enum progress_kind progress;
};

struct push_result {
	struct descriptor image; /* the image index */
	uint64_t n_blobs;        /* of the images, manifests left out */
	uint64_t n_sent;         /* of these */
	uint64_t n_mounted;      /* of these: had by another repository of the registry */
	uint64_t sent_bytes;     /* of the blobs and manifests that were sent */
};

/*
 * Copy all that @options->image names, an image of ours or for container engines, manifests
 * byte for byte, and let the tag name it in the last step. What the registry has is not even
 * read. Returns 0; -EBADMSG when a blob is damaged; -ENOENT when one is missing here and there;
 * what registry_upload() returns; -errno. After an error the tag is what it was.
 */
MUST_CHECK int push(const struct push_options *options, struct push_result *ret, struct err *err);
