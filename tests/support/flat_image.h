/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of one directory for tests, made with the library's writers. Files of at most
 * FLAT_GROUPED bytes share one chunk; larger ones are cut every
 * FLAT_CHUNK bytes. Equal chunks are stored once.
 */
#pragma once

#include "image.h"

enum {
	FLAT_GROUPED = 1000,
	FLAT_CHUNK = 10000,
};

struct flat_file {
	const char *name;
	const void *data;
	size_t size;
};

/* Pack @file, @n of them with names in order, as LAYOUT:latest for every platform. Returns 0 or -errno. */
MUST_CHECK int flat_image_build(const char *layout, const struct flat_file *file, size_t n,
                                struct err *err);

/* Build it below the new directory @dir/layout and open it. */
MUST_CHECK int flat_image_open(const char *dir, const struct flat_file *file, size_t n,
                               struct image **ret, struct err *err);

/* Content @file[@i], as the image's index has it. */
MUST_CHECK int flat_image_content(struct image *img, const char *name, struct content *ret,
                                  struct err *err);
