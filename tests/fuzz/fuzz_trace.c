/* SPDX-License-Identifier: Apache-2.0 */
/* Uses are in bounds, with paths that stay below the root; what is refused has its reason. */
#include "fuzz.h"

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
		must(use.off <= INT64_MAX && use.len <= INT64_MAX - use.off);
		must(++n <= size / 5);
		r = 0;
	}
	if (r < 0)
		must_explain(r, &err);
	return 0;
}
