/* SPDX-License-Identifier: Apache-2.0 */
#include "notes.h"

#include <stdio.h>

#include "names.h"

enum { WARNINGS_SHOWN = 10 };

static unsigned n_warnings; /* atomic */

void note(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "assetpack: %s\n", line);
}

void warn_file(const char *path, const char *what)
{
	char shown[NAME_SHOWN_MAX];

	if (__atomic_fetch_add(&n_warnings, 1, __ATOMIC_RELAXED) < WARNINGS_SHOWN)
		note("warning: '%s' %s", name_shown(path, shown), what);
}

void warnings_end(void)
{
	unsigned n = __atomic_load_n(&n_warnings, __ATOMIC_RELAXED);

	if (n > WARNINGS_SHOWN)
		note("warning: and %u more like these", n - WARNINGS_SHOWN);
}
