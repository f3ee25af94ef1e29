/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: read_runs HOST/REPOSITORY DIGITS SIZE OFF-LEN...
 *
 * Reads these runs of the blob sha256:DIGITS, of SIZE bytes, at once, and writes them to
 * standard output one after the other. Status 0, or that of the error, which is said. What
 * registry.h offers to programs with more to do than assetpack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cli.h"
#include "base/text.h"
#include "oci/registry.h"

enum { RUNS_MAX = 1000 };

static void say(void *arg, const char *line)
{
	(void)arg;
	(void)fprintf(stderr, "%s\n", line);
}

static bool parse_run(char *text, struct registry_run *ret)
{
	char *dash = strchr(text, '-');

	if (!dash)
		return false;
	*dash = '\0';
	if (text_parse_uint(text, INT64_MAX, &ret->off) < 0 ||
	    text_parse_uint(dash + 1, INT64_MAX, &ret->len) < 0)
		return false;
	ret->buf = malloc(ret->len);
	return ret->buf;
}

static int read_runs(const char *name, const struct registry_blob_name *blob,
                     const struct registry_run *run, size_t n, struct err *err)
{
	CLEANUP(reference_release) struct reference ref = REFERENCE_INIT;
	CLEANUP(registry_close) struct registry *reg = NULL;
	const struct registry_options options = { .attempts = 2, .note = say };
	struct registry_sources from = REGISTRY_SOURCES_INIT;
	int r = reference_parse(name, &ref, err);

	if (r == 0)
		r = registry_open(&ref, &options, &reg, err);
	return r < 0 ? r : registry_read_runs(reg, blob, run, n, &from, err);
}

int main(int argc, char *argv[])
{
	static struct registry_run run[RUNS_MAX];
	struct registry_blob_name blob;
	struct err err = ERR_INIT;
	size_t n = 0;
	int r;

	if (argc < 5 || argc - 4 > RUNS_MAX ||
	    digest_parse(argv[2], strlen(argv[2]), &blob.digest) < 0 ||
	    text_parse_uint(argv[3], INT64_MAX, &blob.size) < 0)
		return STATUS_USAGE;
	for (int i = 4; i < argc; i++) {
		if (!parse_run(argv[i], &run[n++]))
			return STATUS_USAGE;
	}
	r = read_runs(argv[1], &blob, run, n, &err);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", err.msg);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			(void)fwrite(run[i].buf, 1, run[i].len, stdout);
		free(run[i].buf);
	}
	return r < 0 ? cli_status_of(r) : STATUS_OK;
}
