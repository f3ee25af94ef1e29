/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on standard error.
 *
 * Only programs log; index/ returns errors. Where standard error is a stream of
 * systemd's journal ($JOURNAL_STREAM) each line carries its priority as "<n>". Safe from any thread: a line is
 * one write(2). errno is kept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log_line.h"

enum log_level {
	LOG_LEVEL_ERR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Show messages up to @level; the default is LOG_LEVEL_INFO. Call before threads start. */
void log_set_level(enum log_level level);

/* The default is LOG_FORMAT_TEXT. Call before threads start. */
void log_set_format(enum log_format wanted);

/* By name: err, warn, info, debug; text, logfmt, json. Return 0 or -EINVAL. */
MUST_CHECK int log_level_parse(const char *name, enum log_level *ret);
MUST_CHECK int log_format_parse(const char *name, enum log_format *ret);

/* Begin each line with the time, UTC as in RFC 3339, unless the journal adds it. Call before threads start. */
void log_show_time(void);

/* Each prints "<program>: <message>"; @fmt has no newline and no full stop. */
void log_err(const char *fmt, ...) PRINTF_FMT(1, 2);
void log_warn(const char *fmt, ...) PRINTF_FMT(1, 2);
void log_info(const char *fmt, ...) PRINTF_FMT(1, 2);
void log_debug(const char *fmt, ...) PRINTF_FMT(1, 2);

/* One place in the code that could flood the log. Zero-initialised static storage. */
struct log_limit {
	uint64_t window_ns; /* start of the current second; atomic */
	uint32_t n;         /* lines in it; atomic */
};

/*
 * Whether this place may log now: at most ten lines a second. The line that
 * follows a flood is not marked; counters tell how often it really happened.
 */
bool log_allowed(struct log_limit *limit);
