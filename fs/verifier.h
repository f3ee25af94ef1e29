/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose signature an image must have before it is mounted: that of the daemon's key, if it has one, on every
 * image of a registry; and that of a key that came with the request. What was found to be signed is remembered
 * in the store: a digest does not change, nor does a key. Any thread.
 */
#pragma once

#include "layout.h"
#include "oci/registry.h"

struct verifier;

/*
 * @key_file: of the daemon's key, or NULL; @dir: borrowed, of the store, which has the file "signed".
 * Returns 0; what signature_key_load() returns; -ENOMEM.
 */
MUST_CHECK int verifier_new(const char *key_file, int dir, struct verifier **ret, struct err *err);

/* Accepts NULL. */
void verifier_free(struct verifier *v);

/*
 * Check the image index @image in @reg by the daemon's key and by @key, the text of one in PEM, or NULL.
 * Returns 0; what signature_verify() returns; -EINVAL for what is no key.
 */
MUST_CHECK int verifier_check_registry(struct verifier *v, const char *key, struct registry *reg,
                                       const struct digest *image, struct err *err);

/* As verifier_check_registry(), of an image in a layout, and by @key alone. */
MUST_CHECK int verifier_check_layout(struct verifier *v, const char *key,
                                     const struct layout *layout, const struct digest *image,
                                     struct err *err);
