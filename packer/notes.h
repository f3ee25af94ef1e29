/* SPDX-License-Identifier: Apache-2.0 */
/* What assetpack says on standard error: one line each, names escaped. Any thread. */
#pragma once

#include "base/err.h"

/* Print "assetpack: <message>". */
void note(const char *fmt, ...) PRINTF_FMT(1, 2);

/*
 * A warning about the file @path. The first few are printed; the rest is only
 * counted, and warnings_end() says how many there were.
 */
void warn_file(const char *path, const char *what);
void warnings_end(void);
