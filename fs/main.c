/* SPDX-License-Identifier: Apache-2.0 */
/* assetfs: the node daemon and its clients. One table drives dispatch, help and suggestions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

static const struct command {
	const char *name;
	const char *args;
	const char *help;
	int (*run)(int argc, char *argv[]);
} commands[] = {
	{ "serve", "[OPTION]...", "run the node daemon", cmd_serve },
	{ "mount", "IMAGE DIR", "mount an image", cmd_mount },
	{ "umount", "DIR", "unmount it", cmd_umount },
	{ "status", "[--json]", "show the daemon and its mounts", cmd_status },
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

int status_of(int code)
{
	return code == -EBADMSG ? STATUS_DAMAGED : STATUS_FAILED;
}

int fail(const char *command, const struct err *err)
{
	(void)fprintf(stderr, "assetfs %s: %s\n", command, err->msg);
	return status_of(err->code);
}

static void print_help(FILE *to)
{
	(void)fprintf(to, "Usage: assetfs COMMAND [ARGUMENT]...\n"
	                  "Serve packed game assets to every container of this machine.\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		(void)fprintf(to, "  %-7s %-12s  %s\n", commands[i].name, commands[i].args,
		              commands[i].help);
	(void)fprintf(to, "\n'assetfs COMMAND --help' shows a command's options.\n");
}

/* Whether @a becomes @b by changing, adding, leaving out or swapping one letter. */
static int is_near(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	if (*a == '\0' || *b == '\0')
		return strlen(a) + strlen(b) <= 1;
	if (strcmp(a + 1, b + 1) == 0 || strcmp(a + 1, b) == 0 || strcmp(a, b + 1) == 0)
		return 1;
	return a[0] == b[1] && a[1] == b[0] && strcmp(a + 2, b + 2) == 0;
}

static int unknown(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (is_near(name, commands[i].name)) {
			(void)fprintf(stderr, "assetfs: unknown command '%s', did you mean '%s'?\n",
			              name, commands[i].name);
			return STATUS_USAGE;
		}
	}
	(void)fprintf(stderr, "assetfs: unknown command '%s'; 'assetfs --help' lists them\n", name);
	return STATUS_USAGE;
}

int main(int argc, char *argv[])
{
	if (argc < 2) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return STATUS_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)puts("assetfs " ASSETFS_VERSION);
		return STATUS_OK;
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	return unknown(argv[1]);
}
