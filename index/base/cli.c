/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	NAME_LEN_MAX = 32,
	NEAR = 2, /* letters that a suggestion may differ in */
};

int cli_status_of(int code)
{
	if (code == -EDOM)
		return STATUS_BUDGET;
	if (code == -EKEYREJECTED || code == -ENOMEDIUM)
		return STATUS_REFUSED;
	return code == -EBADMSG ? STATUS_DAMAGED : STATUS_FAILED;
}

int cli_finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	(void)fprintf(stderr, "%s: standard output: %s\n", program_invocation_short_name,
	              strerrordesc_np(errno));
	return STATUS_FAILED;
}

static int max_len(int len, const char *text)
{
	int other = (int)strlen(text);

	return other > len ? other : len;
}

static void print_help(const struct cli_program *program, FILE *to)
{
	int names = 0;
	int args = 0;

	for (size_t i = 0; i < program->n_commands; i++) {
		names = max_len(names, program->command[i].name);
		args = max_len(args, program->command[i].args);
	}
	(void)fprintf(to, "Usage: %s COMMAND [ARGUMENT]...\n%s\n\n", program->name,
	              program->purpose);
	for (size_t i = 0; i < program->n_commands; i++)
		(void)fprintf(to, "  %-*s %-*s  %s\n", names, program->command[i].name, args,
		              program->command[i].args, program->command[i].help);
	(void)fprintf(to, "\n%s'%s COMMAND --help' shows a command's options.\n", program->remarks,
	              program->name);
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

static int unknown(const struct cli_program *program, const char *name)
{
	const char *best = NULL;
	unsigned least = NEAR + 1;

	for (size_t i = 0; i < program->n_commands && strlen(name) < NAME_LEN_MAX; i++) {
		const char *candidate = program->command[i].name;
		unsigned d = distance(name, candidate);

		/* Words of two letters are near to everything. */
		if (d < least && d < strlen(candidate)) {
			least = d;
			best = candidate;
		}
	}
	if (best)
		(void)fprintf(stderr, "%s: unknown command '%s', did you mean '%s'?\n",
		              program->name, name, best);
	else
		(void)fprintf(stderr, "%s: unknown command '%s'; '%s --help' lists them\n",
		              program->name, name, program->name);
	return STATUS_USAGE;
}

int cli_run(const struct cli_program *program, int argc, char *argv[])
{
	if (argc < 2) {
		print_help(program, stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(program, stdout);
		return cli_finish(STATUS_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("%s " ASSETFS_VERSION "\n", program->name);
		return cli_finish(STATUS_OK);
	}
	for (size_t i = 0; i < program->n_commands; i++) {
		if (strcmp(argv[1], program->command[i].name) == 0) {
			/* getopt's messages begin with it. */
			argv[1] = program_invocation_short_name;
			return program->command[i].run(argc - 1, argv + 1);
		}
	}
	return unknown(program, argv[1]);
}
