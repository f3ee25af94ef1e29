/* SPDX-License-Identifier: Apache-2.0 */
/* Uses are in bounds, with paths that stay below the root; what is refused has its reason. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "trace.h"

static void check_path(const char *path)
{
	must(strlen(path) <= TRACE_PATH_MAX);
	for (;;) {
		size_t n = strcspn(path, "/");

		must(n > 0 && !(n == 1 && path[0] == '.') &&
		     !(n == 2 && memcmp(path, "..", 2) == 0));
		if (path[n] == '\0')
			return;
		path += n + 1;
	}
}

/* A path that was read is written so that it is read again. */
static void check_escaped(const struct trace_use *use)
{
	static struct trace_reader t;
	static char text[64 + TRACE_ESCAPED_MAX];
	static char escaped[TRACE_ESCAPED_MAX + 1];
	struct trace_use again;
	size_t len = trace_escape(use->path, escaped);

	must(len == strlen(escaped) && len <= TRACE_ESCAPED_MAX);
	(void)snprintf(text, sizeof(text), TRACE_MAGIC "1\n0 1 %s", escaped);
	must(trace_begin(&t, text, strlen(text), NULL) == 0);
	must(trace_next(&t, &again, NULL) == 1 && strcmp(again.path, use->path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct trace_reader t;
	struct trace_use use;
	struct err err = ERR_INIT;
	size_t n = 0;
	int r;

	r = trace_begin(&t, (const char *)data, size, &err);
	while (r == 0 && (r = trace_next(&t, &use, &err)) == 1) {
		check_path(use.path);
		check_escaped(&use);
		must(use.off <= INT64_MAX && use.len <= INT64_MAX - use.off);
		must(++n <= size / 5);
		r = 0;
	}
	if (r < 0)
		must_explain(r, &err);
	return 0;
}
