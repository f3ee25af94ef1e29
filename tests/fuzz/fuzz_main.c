/* SPDX-License-Identifier: Apache-2.0 */
/* Replays files, and all files of directories, through a fuzz target without a fuzzing engine. */
#include <fts.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "fuzz.h"

enum { INPUT_MAX = 64 << 20 };

static void fts_close_cleanup(FTS **fts)
{
	if (*fts)
		(void)fts_close(*fts);
}

static int replay(const char *path)
{
	CLEANUP(free) char *bytes = NULL;
	CLEANUP(free) uint8_t *exact = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;

	if (io_read_file(-1, path, INPUT_MAX, &bytes, &len, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return -1;
	}
	/* Without the NUL behind it, so that a sanitizer sees reading one byte too many. */
	exact = malloc(len > 0 ? len : 1);
	if (!exact)
		return -1;
	memcpy(exact, bytes, len);
	(void)LLVMFuzzerTestOneInput(exact, len);
	return 0;
}

int main(int argc, char *argv[])
{
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	CLEANUP(fts_close) FTS *fts = fts_open(argv + 1, FTS_LOGICAL | FTS_NOCHDIR, NULL);
	const FTSENT *entry;
	int n = 0;

	if (argc < 2 || !fts) {
		(void)fprintf(stderr, "usage: %s ABSOLUTE-PATH...\n", argv[0]);
		return EXIT_FAILURE;
	}
	while ((entry = fts_read(fts))) {
		if (entry->fts_info != FTS_F)
			continue;
		if (replay(entry->fts_accpath) < 0)
			return EXIT_FAILURE;
		n++;
	}
	(void)printf("%d inputs\n", n);
	return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
