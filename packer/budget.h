/* SPDX-License-Identifier: Apache-2.0 */
/* A limit for what an update may cost a node. One thread at a time. */
#pragma once

#include "report.h"

/*
 * Compare what nodes with @base (NULL: there are none) fetch for @image, platform by
 * platform, with @max bytes. A platform that @base lacks has no update.
 *
 * Returns 0, or -EDOM after naming the costliest files of the platform that is
 * furthest above the limit in notes; or -errno.
 */
MUST_CHECK int budget_check(const struct report_source *image, const struct report_source *base,
                            uint64_t max, struct err *err);
