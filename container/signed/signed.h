/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of images in layouts, as tools that copy tags from registries leave them there.
 * Any thread.
 */
#pragma once

#include "layout.h"
#include "oci/signature.h"

/* As signature_verify(), of the image index @image in @layout. */
MUST_CHECK int signed_check(const struct signature_key *key, const struct layout *layout,
                            const struct digest *image, struct err *err);
