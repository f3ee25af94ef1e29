/* SPDX-License-Identifier: Apache-2.0 */
/* Counters as JSON: what the daemon answers, and what fsstat reads from the page by itself. */
#pragma once

#include <jansson.h>

#include "stats.h"

/*
 * Add the counters to @report: objects "cache", "region" and others are made or
 * added to, "latency" and "counting_since" are set. Returns 0 or -ENOMEM. Any thread.
 */
MUST_CHECK int stats_add_json(const struct stats *s, json_t *report);

/* A report of what only the page @s tells. Returns NULL when memory runs out. */
json_t *stats_page_json(const struct stats *s);
