/* SPDX-License-Identifier: Apache-2.0 */
/* Copying the images of a tag to a layout, by deltas where they cost less. One thread. */
#pragma once

#include <stdbool.h>

#include "layout.h"
#include "progress.h"
#include "pull_source.h"

struct pull_options {
	const struct pull_source *source;
	const struct image_ref *image;
	const struct platform *platforms; /* whose indexes and packs are copied; NULL: all */
	unsigned n_platforms;
	const struct signature_key *key; /* whose owner has to have signed the image index; or NULL */
	bool all_deltas;                 /* copy also the delta layers that are of no use here */
	enum progress_kind progress;
};

struct pull_result {
	struct descriptor image; /* the image index */
	uint64_t read_bytes;     /* that the source gave, but for loading what the tag names */
	uint64_t rebuilt_bytes;  /* size of the packs that were made from deltas instead */
	uint64_t n_rebuilt;      /* how many */
};

/*
 * Copy what @options->source names to the layout @options->image, which is made when it is
 * missing, and switch the tag in the last step. Blobs that are there are not read again. A pack
 * that is missing is made from delta layers, byte for byte, when the image that they start from
 * is there and they have fewer bytes; so what is there afterwards is complete, and needs no
 * delta. Waits for another writer to end.
 *
 * Returns 0; -EBADMSG when something of the source is damaged, or not signed by the owner of
 * the key, of which then nothing has been copied; -ENOENT when it lacks a blob, or an image for
 * one of the platforms; -errno. After an error the tag is what it was.
 */
MUST_CHECK int pull(const struct pull_options *options, struct pull_result *ret, struct err *err);
