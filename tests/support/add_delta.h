/* SPDX-License-Identifier: Apache-2.0 */
/* Deltas for tests, made with the library's writer in the simplest way that gives each frame a base. */
#pragma once

#include "base/err.h"

/*
 * Give each image that @tag names in @layout a delta layer whose base is @base_tag's image for
 * the same platform, and let @tag name the result. The delta holds every chunk that is in no pack of
 * the base; its bases are the equal chunk, or three chunks near its place. Returns 0 or -errno.
 */
MUST_CHECK int add_delta(const char *layout, const char *base_tag, const char *tag,
                         struct err *err);
