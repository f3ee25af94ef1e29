/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that make up report. */
#pragma once

#include "image.h"

/*
 * Bytes that a node with the image @base fetches for @img when it uses deltas. Returns 0;
 * -EBADMSG; -errno.
 */
MUST_CHECK int report_delta_bytes(struct image *img, const struct manifest *base, uint64_t *ret,
                                  struct err *err);
