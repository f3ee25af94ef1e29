/* SPDX-License-Identifier: Apache-2.0 */
/* Checking images against the format's text, not against what readers happen to accept. */
#pragma once

#include "layout.h"

/*
 * Check all images that @tag names in the layout at @path, or only that of
 * @platform (NULL: all): every blob, chunk and content against its digest, every
 * rule of format.md §3 and §4. Goes on after a finding; each is a line on
 * standard error. So is a note when deltas cannot be checked, which is no finding.
 *
 * Returns the number of findings, or -errno when checking itself failed.
 */
MUST_CHECK int verify(const char *path, const char *tag, const struct platform *platform,
                      struct err *err);
