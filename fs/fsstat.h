/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of fsstat share. One thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* Where counters come from. */
struct fsstat_source {
	const char *store;
	const char *target; /* NULL: everything */
	const char *detail; /* further part of the report, or NULL */
	unsigned files;     /* how many, when that is files */
};

/*
 * Ask the daemon for its report or, when it does not answer within $FSSTAT_TIMEOUT seconds (1),
 * read its page. Returns 0 and sets *@ret, which the caller gives back; 1 when it is
 * the page of a daemon that does not answer; 2 when no daemon runs and it is the
 * last one's; @err says so then. Or -errno.
 */
MUST_CHECK int fsstat_load(const struct fsstat_source *source, json_t **ret, struct err *err);

/* @value at @key, 0 when there is none. */
uint64_t fsstat_number(const json_t *object, const char *key);

/* The table, and lines of it. */
void fsstat_print(const json_t *stats, FILE *out);
void fsstat_print_latency(const json_t *stats, FILE *out);
void fsstat_print_sharing(const json_t *stats, FILE *out);

/*
 * Check what @text says, such as "open_hit_rate>0.95,errors=0", of @stats. Returns 1
 * when all is so; 0 when not, @err says what; -EINVAL when @text cannot be understood.
 */
MUST_CHECK int fsstat_check(const json_t *stats, const char *text, struct err *err);

/* Show the report every @seconds until 'q' or a signal. Returns 0 or -errno. */
MUST_CHECK int fsstat_watch(const struct fsstat_source *source, double seconds, struct err *err);
