/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the region is on huge pages: what the kernel says of each object's pages. */
#pragma once

#include "region.h"
#include "stats.h"

/*
 * Bytes of @region that are on huge pages of 2 MiB. They are looked for when @stats
 * has counted work since the last call, at a microsecond or two for each 2 MiB.
 * Returns 0, -ENOTTY when this kernel (before Linux 6.7) does not tell, or -errno. Any thread.
 */
MUST_CHECK int huge_bytes(struct region *region, const struct stats *stats, uint64_t *ret);

/* As huge_bytes() for the file @fd of @size bytes, always looking. */
MUST_CHECK int huge_bytes_of_file(int fd, uint64_t size, uint64_t *ret);
