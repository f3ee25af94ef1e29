/* SPDX-License-Identifier: Apache-2.0 */
/* Plain bytes of chunks that were read lately. One thread at a time. */
#pragma once

#include "image.h"

struct plain_cache;

/* Returns NULL when memory runs out. */
struct plain_cache *plain_cache_new(void);

/* Accepts NULL. */
void plain_cache_free(struct plain_cache *cache);
DEFINE_CLEANUP(struct plain_cache *, plain_cache_free)

/*
 * The bytes of @chunk of @img, valid until the next call. Returns 0 or what
 * image_read_chunk() returns.
 */
MUST_CHECK int plain_cache_read(struct plain_cache *cache, struct image *img,
                                const struct chunk *chunk, const uint8_t **ret, struct err *err);

/* As plain_cache_read(), of bytes that need not be the chunk's: the caller compares what it takes. */
MUST_CHECK int plain_cache_read_unchecked(struct plain_cache *cache, struct image *img,
                                          const struct chunk *chunk, const uint8_t **ret,
                                          struct err *err);
