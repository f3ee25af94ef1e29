/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "commands.h"
#include "keeper.h"
#include "saved.h"

#define CAN_ADOPT "--can-adopt="

static const char help[] =
	"Usage: assetfs keeper [OPTION]...\n"
	"Run the node daemon, and another one when it dies: mounts and open files go on.\n"
	"Options are those of 'assetfs serve'. Under systemd there is no need for it.\n";

/* The arguments of a daemon with the options @argv, which NULL ends; the caller frees the array. */
static char **daemon_arguments(char *argv[])
{
	static char program[] = "assetfs";
	static char command[] = "serve";
	size_t n = 0;
	char **arguments;

	while (argv[n])
		n++;
	arguments = calloc(n + 3, sizeof(*arguments));
	if (!arguments)
		return NULL;
	arguments[0] = program;
	arguments[1] = command;
	memcpy(arguments + 2, argv, n * sizeof(*argv));
	return arguments;
}

/* The number after @option in @argument, or -1 when it is another one. */
static long option_number(const char *argument, const char *option)
{
	size_t len = strlen(option);

	return argument && strncmp(argument, option, len) == 0 ? strtol(argument + len, NULL, 10)
	                                                       : -1;
}

/* Whether it is a version that this program can go on from, as the daemon in argument @can asks. */
static int can_adopt(const char *can)
{
	const char *oldest = strchr(can, ',');

	return oldest && saved_knows((uint32_t)option_number(can, CAN_ADOPT),
	                             (uint32_t)strtoul(oldest + 1, NULL, 10))
	               ? STATUS_OK
	               : STATUS_FAILED;
}

int cmd_keeper(int argc, char *argv[])
{
	CLEANUP(free) char **arguments = NULL;
	struct err err = ERR_INIT;
	/* Of daemons only: one that wants another keeper, and one that wants another program. */
	long pid = option_number(argv[1], "--adopt=");
	long version = option_number(argv[1], CAN_ADOPT);
	int r;

	(void)argc;
	if (argv[1] && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		(void)fputs(help, stdout);
		return STATUS_OK;
	}
	if (version >= 0)
		return can_adopt(argv[1]);
	arguments = daemon_arguments(argv + (pid > 0 ? 2 : 1));
	if (!arguments)
		return STATUS_FAILED;
	log_show_time();
	r = pid > 0 ? keeper_adopt((pid_t)pid, arguments, &err) : keeper_run(arguments, &err);
	return r < 0 ? fail("keeper", &err) : r;
}
