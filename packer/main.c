/* SPDX-License-Identifier: Apache-2.0 */
/* assetpack: packs asset trees and looks into images. One table drives dispatch, help and suggestions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "notes.h"

static const struct command {
	const char *name;
	const char *args;
	const char *help;
	int (*run)(int argc, char *argv[]);
} commands[] = {
	{ "build", "SOURCE IMAGE", "pack a directory into an image", cmd_build },
	{ "ls", "IMAGE [PATH]", "list a directory", cmd_ls },
	{ "tree", "IMAGE [PATH]", "show a directory and all below it", cmd_tree },
	{ "cat", "IMAGE PATH...", "write files to standard output", cmd_cat },
	{ "extract", "IMAGE DIR [PATH]", "write the tree into a directory", cmd_extract },
	{ "stat", "IMAGE [PATH]", "show sizes and sharing, or one file", cmd_stat },
	{ "verify", "IMAGE", "check every byte and every rule", cmd_verify },
	{ "inspect", "IMAGE [--json]", "show digests and layers", cmd_inspect },
};

enum {
	N_COMMANDS = sizeof(commands) / sizeof(commands[0]),
	NAME_LEN_MAX = 32,
	NEAR = 2, /* letters that a suggestion may differ in */
};

int fail(const struct err *err)
{
	note("%s", err->msg);
	return err->code == -EBADMSG ? STATUS_DAMAGED : STATUS_FAILED;
}

int fail_usage(const char *command, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	note("%s; see 'assetpack %s --help'", text, command);
	return STATUS_USAGE;
}

int finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	note("standard output: %s", strerrordesc_np(errno));
	return STATUS_FAILED;
}

static void print_help(FILE *to)
{
	(void)fprintf(to,
	              "Usage: assetpack COMMAND [ARGUMENT]...\n"
	              "Pack game assets into images that assetfs mounts; look into images.\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		(void)fprintf(to, "  %-8s %-16s  %s\n", commands[i].name, commands[i].args,
		              commands[i].help);
	(void)fprintf(
		to, "\nIMAGE is LAYOUT[:TAG]; LAYOUT, an OCI image-layout directory, starts with\n"
		    "'/', '.' or 'oci:'; TAG is 'latest' when left out.\n"
		    "'assetpack COMMAND --help' shows a command's options.\n");
}

/*
 * How many letters have to be changed, added, left out or swapped with their
 * neighbour to make @b of @a, both shorter than NAME_LEN_MAX.
 */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[3][NAME_LEN_MAX + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		unsigned *now = row[i % 3];
		const unsigned *up = row[(i + 2) % 3];
		const unsigned *upup = row[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned least = up[j - 1] + (a[i - 1] != b[j - 1]);

			if (up[j] + 1 < least)
				least = up[j] + 1;
			if (now[j - 1] + 1 < least)
				least = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    upup[j - 2] + 1 < least)
				least = upup[j - 2] + 1;
			now[j] = least;
		}
	}
	return row[strlen(a) % 3][n];
}

static int unknown(const char *name)
{
	const char *best = NULL;
	unsigned least = NEAR + 1;

	for (size_t i = 0; i < N_COMMANDS && strlen(name) < NAME_LEN_MAX; i++) {
		unsigned d = distance(name, commands[i].name);

		/* Words of two letters are near to everything. */
		if (d < least && d < strlen(commands[i].name)) {
			least = d;
			best = commands[i].name;
		}
	}
	if (best)
		note("unknown command '%s', did you mean '%s'?", name, best);
	else
		note("unknown command '%s'; 'assetpack --help' lists them", name);
	return STATUS_USAGE;
}

int main(int argc, char *argv[])
{
	static char program[] = "assetpack";

	if (argc < 2) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return finish_output(STATUS_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)puts("assetpack " ASSETFS_VERSION);
		return finish_output(STATUS_OK);
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			argv[1] = program; /* getopt's messages begin with it */
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	return unknown(argv[1]);
}
