/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "image.h"

/* Open the image of @manifest with its index in memory. Returns as image_unpack_index() and image_open(). */
MUST_CHECK int open_image(const struct layout *layout, const struct manifest *manifest,
                          struct image **ret, struct err *err);
