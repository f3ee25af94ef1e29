/* SPDX-License-Identifier: Apache-2.0 */
#include "mount_helper.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "commands.h"

/* Of mount(8). */
enum {
	MOUNT_OK = 0,
	MOUNT_USAGE = 1,
	MOUNT_FAILED = 32,
};

enum { ARGS_MAX = 8 };

static int usage(void)
{
	(void)fprintf(stderr, "usage: mount.assetfs IMAGE DIR [-fnsv] [-o OPTION[,OPTION]...]\n");
	return MOUNT_USAGE;
}

/* Run `assetfs mount` with @options on the operands @image and @dir. */
static int run_mount(const struct mount_options *options, char *image, char *dir)
{
	CLEANUP(free) char *platform = NULL;
	CLEANUP(free) char *store = NULL;
	CLEANUP(free) char *prefetch = NULL;
	char name[] = "assetfs", end[] = "--";
	char *args[ARGS_MAX] = { name };
	int n = 1;

	if ((options->platform && asprintf(&platform, "--platform=%s", options->platform) < 0) ||
	    (options->store && asprintf(&store, "--store=%s", options->store) < 0) ||
	    (options->prefetch &&
	     asprintf(&prefetch, "--prefetch%s%s", options->prefetch[0] != '\0' ? "=" : "",
	              options->prefetch) < 0)) {
		(void)fprintf(stderr, "mount.assetfs: out of memory\n");
		return MOUNT_FAILED;
	}
	if (platform)
		args[n++] = platform;
	if (store)
		args[n++] = store;
	if (prefetch)
		args[n++] = prefetch;
	args[n++] = end;
	args[n++] = image;
	args[n++] = dir;
	optind = 0; /* glibc: begin anew */
	return cmd_mount(n, args) == STATUS_OK ? MOUNT_OK : MOUNT_FAILED;
}

int mount_helper(int argc, char *argv[])
{
	struct mount_options options = MOUNT_OPTIONS_INIT;
	CLEANUP(free) char **texts = calloc((size_t)argc + 1, sizeof(char *));
	struct err err = ERR_INIT;
	bool sloppy = false, fake = false;
	int option, n = 0;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (texts && (option = getopt(argc, argv, "fno:st:v")) != -1) {
		if (option == '?')
			return usage();
		sloppy = sloppy || option == 's';
		fake = fake || option == 'f';
		if (option == 'o')
			texts[n++] = optarg;
	}
	if (!texts || argc - optind != 2)
		return usage();
	for (int i = 0; i < n; i++) {
		if (mount_options_parse(texts[i], sloppy, &options, &err) < 0) {
			(void)fprintf(stderr, "mount.assetfs: %s\n", err.msg);
			return MOUNT_USAGE;
		}
	}
	return fake ? MOUNT_OK : run_mount(&options, argv[optind], argv[optind + 1]);
}
