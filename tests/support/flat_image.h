/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of one directory for tests, made with the library's writers. Files of at most
 * FLAT_GROUPED bytes share one chunk; larger ones are cut every
 * FLAT_CHUNK bytes, or made of the parts that the caller wants. Equal chunks are stored once.
 */
#pragma once

#include "image.h"

enum {
	FLAT_GROUPED = 1000,
	FLAT_CHUNK = 10000,
};

/* A run of a chunk, or a hole. */
struct flat_part {
	const void *chunk; /* its plain bytes; NULL for a hole */
	size_t chunk_size;
	size_t off; /* in the chunk */
	size_t len;
};

struct flat_file {
	const char *name;
	const void *data;
	size_t size;
	const struct flat_part *part; /* that data consists of; NULL: cut as said above */
	size_t n_parts;
};

/* Pack @file, @n of them with names in order, as LAYOUT:latest for every platform. Returns 0 or -errno. */
MUST_CHECK int flat_image_build(const char *layout, const struct flat_file *file, size_t n,
                                struct err *err);

/* Build it as the new layout @dir/layout and open it. */
MUST_CHECK int flat_image_open(const char *dir, const struct flat_file *file, size_t n,
                               struct image **ret, struct err *err);

/* Content @file[@i], as the image's index has it. */
MUST_CHECK int flat_image_content(struct image *img, const char *name, struct content *ret,
                                  struct err *err);
