/* SPDX-License-Identifier: Apache-2.0 */
/* A line of the log in one of its formats. Pure; any thread. */
#pragma once

#include <stddef.h>

enum log_format {
	LOG_FORMAT_TEXT,   /* TIME PROGRAM: MESSAGE */
	LOG_FORMAT_LOGFMT, /* time=TIME level=LEVEL program=PROGRAM msg="MESSAGE" */
	LOG_FORMAT_JSON,   /* the same four, an object */
};

/* What a line says. Borrowed. */
struct log_entry {
	const char *time;  /* NULL: not told */
	const char *level; /* "err", "warn", "info", "debug" */
	const char *program;
	const char *msg;
};

/*
 * Write @entry to @line, of @size bytes (at least 256), with a newline and
 * without a NUL; a message that is too long is cut. It is one line whatever the
 * message has in it, and JSON is valid: control characters are escaped or, in text, "?"; what
 * is no UTF-8 has "?" for each byte above 0x7f in JSON. Returns its length.
 */
size_t log_line_write(enum log_format format, const struct log_entry *entry, char *line,
                      size_t size);
