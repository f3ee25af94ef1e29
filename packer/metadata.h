/* SPDX-License-Identifier: Apache-2.0 */
/* The file of --metadata-file, with the names that buildx gives to what both have. */
#pragma once

#include "report.h"

/*
 * Whether a file can be made at @path, so that a build fails before its work and
 * not after. Returns 0 or -errno.
 */
MUST_CHECK int metadata_check(const char *path, struct err *err);

/* Write @report about the image @name to @path, replacing what is there in one step. */
MUST_CHECK int metadata_write(const char *path, const struct report *report, const char *name,
                              struct err *err);
