/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes as people write and read them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Parse a size: a whole number with an optional K, M, G or T (powers of 1024;
 * "Ki", "KiB", "KB" and lower case mean the same). Returns 0, or -EINVAL.
 */
MUST_CHECK int text_parse_size(const char *text, uint64_t *ret);

/* Parse a whole number of decimal digits, at most @max. Returns 0, or -EINVAL. */
MUST_CHECK int text_parse_uint(const char *text, uint64_t max, uint64_t *ret);

#define TEXT_SIZE_MAX 16u

/* Write @bytes for a person, e.g. "718.9 MiB", "12 B". Returns @buf. */
const char *text_size(uint64_t bytes, char buf[static TEXT_SIZE_MAX]);
