/* SPDX-License-Identifier: Apache-2.0 */
/* Which files are opened most, and which lie in the region for nothing. */
#pragma once

#include <jansson.h>

#include "report.h"

enum hot_order {
	HOT,  /* most opens first */
	COLD, /* of those with bytes in the region: fewest opens first, then most bytes */
};

/*
 * List the first @n files that have been opened since their image was mounted, as
 * objects: image, path, bytes, resident_bytes, opens_total. Returns NULL when memory runs out.
 */
json_t *hot_files_json(const struct report_source *src, enum hot_order order, size_t n);
