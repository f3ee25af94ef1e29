/* SPDX-License-Identifier: Apache-2.0 */
/* Where images are pulled from. One thread at a time, but for read(). */
#pragma once

#include "layout.h"
#include "oci/signature.h"

/* Where bytes of a blob go. */
struct pull_sink {
	/* Take the next @len bytes. Returns 0, or -errno with a message to stop reading. */
	int (*take)(void *arg, const void *data, size_t len, struct err *err);
	void *arg;
};

/* What is read of a blob: a run within its size. */
struct pull_run {
	const struct descriptor *blob;
	uint64_t off, len;
	struct registry_sources *from; /* whose bytes were wrong, and, then, who gave these */
};

struct pull_source {
	char *name; /* owned; of the image, for messages */
	void *arg;  /* owned by the functions */

	unsigned jobs; /* threads that may be in read() at once; 1 or more */
	bool is_far;   /* what has come of a blob is worth to be kept when the rest does not come */

	/* Load what the name stands for; blobs of JSON are checked. Returns as layout_images(). */
	int (*images)(const struct pull_source *source, struct image_set *ret, struct err *err);

	/*
	 * Give the bytes of @run to @sink, in order. Their digest is the caller's to check.
	 * Returns 0; -ENOENT when there is no such blob; -EBADMSG when it has another size;
	 * what @sink returned; -errno.
	 */
	int (*read)(const struct pull_source *source, const struct pull_run *run,
	            const struct pull_sink *sink, struct err *err);

	/*
	 * Whether there is somewhere else to read what has come from @from; NULL: there never
	 * is.
	 */
	bool (*has_other)(const struct pull_source *source, const struct registry_sources *from);

	/*
	 * Check that the image index @image is signed by the owner of @key. Returns as
	 * signature_verify().
	 */
	int (*check)(const struct pull_source *source, const struct signature_key *key,
	             const struct digest *image, struct err *err);

	void (*release)(struct pull_source *source);
};

#define PULL_SOURCE_INIT ((struct pull_source){ .name = NULL, .release = NULL })

/* Open the layout of @ref. Returns 0, what layout_open() returns, or -ENOMEM. */
MUST_CHECK int pull_source_open_layout(const struct image_ref *ref, struct pull_source *ret,
                                       struct err *err);

static inline void pull_source_release_cleanup(struct pull_source *source)
{
	if (source->release)
		source->release(source);
}
