/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of blobs, each counted once whoever names it. One thread at a time. */
#pragma once

#include <stdbool.h>

#include "layout.h"

struct blob_set {
	struct descriptor *list; /* owned; sorted and without doubles once sealed */
	size_t n;
	size_t max;
};

#define BLOB_SET_INIT ((struct blob_set){ .list = NULL, .n = 0, .max = 0 })

/* Each returns 0 or -ENOMEM. */
MUST_CHECK int blob_set_add(struct blob_set *set, const struct descriptor *d);
MUST_CHECK int blob_set_add_packs(struct blob_set *set, const struct manifest *m);

/* Add the manifest itself, its config, its index, its trace and its packs. */
MUST_CHECK int blob_set_add_manifest(struct blob_set *set, const struct manifest *m);

/* Add the image index and all manifests. */
MUST_CHECK int blob_set_add_images(struct blob_set *set, const struct image_set *images);

/* Ends adding; the functions below want it. */
void blob_set_seal(struct blob_set *set);

/* As blob_set_seal(), and keeps only the blobs that were added more than once. */
void blob_set_seal_doubles(struct blob_set *set);

bool blob_set_has(const struct blob_set *set, const struct digest *digest);

/* Sum of the sizes of all blobs; of those that @base lacks; of those that @other has, too. */
uint64_t blob_set_bytes(const struct blob_set *set);
uint64_t blob_set_lacking(const struct blob_set *set, const struct blob_set *base);
uint64_t blob_set_common(const struct blob_set *set, const struct blob_set *other);

void blob_set_release(struct blob_set *set);

static inline void blob_set_release_cleanup(struct blob_set *set)
{
	blob_set_release(set);
}
