/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces: what was read of an image, in order of first use (format.md §7).
 * A reader goes through the text in memory, without I/O. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format.h"

enum {
	TRACE_PATH_MAX = 4095, /* bytes of a path */
	TRACE_ESCAPED_MAX = 4 * TRACE_PATH_MAX,
	TRACE_USES_MAX = 1 << 20, /* lines that are uses */
	TRACE_SIZE_MAX = (int)FORMAT_TRACE_MAX,
};

/* What the first line begins with; the version follows. */
#define TRACE_MAGIC "# assetfs trace "

/* A line of a trace. */
struct trace_use {
	uint64_t off;
	uint64_t len;     /* 0: the file was opened; what was read of it is not known */
	const char *path; /* borrowed from the reader; relative, without "", "." and ".." */
};

struct trace_reader {
	const char *at, *end;          /* borrowed: what is left of the text */
	size_t line;                   /* that was read last, from 1 */
	uint32_t n_uses;               /* so far */
	char path[TRACE_PATH_MAX + 1]; /* of the last use */
};

/* Begin the @len bytes at @text, which outlives @t. Returns 0, or -EINVAL when it is no trace. */
MUST_CHECK int trace_begin(struct trace_reader *t, const char *text, size_t len, struct err *err);

/*
 * Write @path, of at most TRACE_PATH_MAX bytes, as a trace has it, with a NUL
 * at its end. Returns its length.
 */
size_t trace_escape(const char *path, char ret[static TRACE_ESCAPED_MAX + 1]);

/* Whether the @len bytes at @text are a trace. Returns 0; -EINVAL, as trace_next(); -ENOMEM. */
MUST_CHECK int trace_check(const char *text, size_t len, struct err *err);

/*
 * Read the next use; it holds until the next call. Returns 1; 0 after the last;
 * -EINVAL with the number of the line, and what is wrong with it, in @err.
 */
MUST_CHECK int trace_next(struct trace_reader *t, struct trace_use *ret, struct err *err);
