/* SPDX-License-Identifier: Apache-2.0 */
/* What a tag names, with its layout. One thread at a time. */
#pragma once

#include "layout.h"

struct tagged {
	struct layout *layout; /* owned */
	struct image_set images;
};

#define TAGGED_INIT ((struct tagged){ .layout = NULL, .images = IMAGE_SET_INIT })

/* Load what @ref names. Returns 0, or what layout_open() and layout_images() return. */
MUST_CHECK int tagged_load(const struct image_ref *ref, struct tagged *ret, struct err *err);

void tagged_release(struct tagged *t);

static inline void tagged_release_cleanup(struct tagged *t)
{
	tagged_release(t);
}
