/* SPDX-License-Identifier: Apache-2.0 */
/* What an image index names, wherever its blobs are. Any thread. */
#pragma once

#include "layout.h"

/* Where the JSON of images comes from. */
struct json_source {
	const char *name; /* borrowed; for messages */

	/* Read blob @d into new memory, checked against its digest. Returns as layout_read_blob(). */
	int (*read)(void *arg, const struct descriptor *d, char **ret, struct err *err);
	void *arg;
};

/* Load what the image index @self names. Returns as layout_images(), and what @source returns. */
MUST_CHECK int image_set_load(const struct json_source *source, const struct descriptor *self,
                              struct image_set *ret, struct err *err);
