/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of verify(): blobs and images, data, tree. */
#pragma once

#include <limits.h>

#include "image.h"

struct verifier {
	const struct layout *layout; /* borrowed */
	const char *image; /* borrowed; platform of the image being checked, for messages */
	unsigned n_findings;
};

/* Report something that is not as it should be. */
void finding(struct verifier *v, const char *fmt, ...) PRINTF_FMT(2, 3);

/*
 * What a failed call means: damage is a finding and 0 is returned, so that
 * checking goes on; other errors are returned as they are.
 */
int finding_or_error(struct verifier *v, int code, const struct err *err);

/* That a large index is the same whole and in sections. Returns 0 or -errno. */
MUST_CHECK int verify_sections(struct verifier *v, const struct manifest *m, struct err *err);

/* Packs and their tables, chunks, extents, contents. Returns 0 or -errno. */
MUST_CHECK int verify_data(struct verifier *v, struct image *img, struct err *err);

/* Nodes, entries, links. Returns 0 or -errno. */
MUST_CHECK int verify_tree(struct verifier *v, struct image *img, struct err *err);

/* Deltas: their tables, and their frames as far as their bases are there. Returns 0 or -errno. */
MUST_CHECK int verify_deltas(struct verifier *v, struct image *img, struct err *err);
