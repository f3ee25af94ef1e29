/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What assetpack says on standard error: one line each, names escaped. Any thread.
 *
 * Lines begin "assetpack: ". In GitHub Actions warnings and errors are said again as
 * annotations. With --progress json each line is an object instead:
 * {"ts":…,"event":…,…}, with "message" for what is text.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* Print lines of JSON from now on. Call before threads start. */
void notes_use_json(void);

/* Say something; event "info". */
void note(const char *fmt, ...) PRINTF_FMT(1, 2);

/* Say why the command fails; event "error". */
void note_error(const char *fmt, ...) PRINTF_FMT(1, 2);

/*
 * Print @event, {"ts":…,"event":@event} and the members of @members, when lines are JSON; else
 * nothing. Takes @members, which may be NULL, when memory ran out.
 */
void note_event(const char *event, json_t *members);

/*
 * A warning about the file @path. The first few are printed; the rest is only
 * counted, and warnings_end() says how many there were.
 */
void warn_file(const char *path, const char *what);
void warnings_end(void);
