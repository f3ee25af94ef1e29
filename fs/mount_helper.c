/* SPDX-License-Identifier: Apache-2.0 */
#include "mount_helper.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "commands.h"

/* Of mount(8). */
enum {
	MOUNT_OK = 0,
	MOUNT_USAGE = 1,
	MOUNT_FAILED = 32,
};

enum { ARGS_MAX = 10 };

static int usage(void)
{
	(void)fprintf(stderr, "usage: mount.assetfs IMAGE DIR [-fnsv] [-o OPTION[,OPTION]...]\n");
	return MOUNT_USAGE;
}

/* The arguments of `assetfs mount`. */
struct mount_argv {
	char *text[ARGS_MAX]; /* owned */
	int n;
	bool failed; /* memory ran out */
};

static void mount_argv_release_cleanup(struct mount_argv *args)
{
	for (int i = 0; i < args->n; i++)
		free(args->text[i]);
}

/* Add "@name=@value" or, when @value is "", "@name"; nothing when it is NULL. */
static void add(struct mount_argv *args, const char *name, const char *value)
{
	char *text = NULL;

	if (!value)
		return;
	if (asprintf(&text, "%s%s%s", name, value[0] != '\0' ? "=" : "", value) < 0)
		args->failed = true;
	else
		args->text[args->n++] = text;
}

/* Run `assetfs mount` with @options on the operands @image and @dir. */
static int run_mount(const struct mount_options *options, const char *image, const char *dir)
{
	CLEANUP(mount_argv_release) struct mount_argv args = { .n = 0 };
	char *argv[ARGS_MAX];

	add(&args, "assetfs", "");
	add(&args, "--platform", options->platform);
	add(&args, "--store", options->store);
	add(&args, "--prefetch", options->prefetch);
	add(&args, "--auth-file", options->auth_file);
	add(&args, "--verify-key", options->verify_key);
	add(&args, "--", "");
	add(&args, image, "");
	add(&args, dir, "");
	if (args.failed) {
		(void)fprintf(stderr, "mount.assetfs: out of memory\n");
		return MOUNT_FAILED;
	}
	/* Those are put in another order. */
	memcpy(argv, args.text, sizeof(argv));
	optind = 0; /* glibc: begin anew */
	return cmd_mount(args.n, argv) == STATUS_OK ? MOUNT_OK : MOUNT_FAILED;
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
