/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "commands.h"
#include "keeper.h"
#include "keeper_socket.h"
#include "saved.h"

#define CAN_ADOPT "--can-adopt="

static const char help[] =
	"Usage: assetfs keeper [OPTION]...\n"
	"  or:  assetfs keeper --listen SOCKET [--log-format FORMAT]\n"
	"Run the node daemon, and another one when it dies: mounts and open files go on.\n"
	"Options are those of 'assetfs serve'. Under systemd there is no need for it.\n\n"
	"      --listen SOCKET     run no daemon: hold what must not end for those that are\n"
	"                          run with '--keeper SOCKET', one after the other\n"
	"      --log-format FORMAT text (default), logfmt or json\n"
	"  -h, --help              show this help\n";

static const struct option options[] = {
	{ "listen", required_argument, NULL, 'L' },
	{ "log-format", required_argument, NULL, 'f' },
	{ NULL, 0, NULL, 0 },
};

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

/* The value of the last @option in @argv, "" when it lacks one; NULL without that option. */
static const char *option_value(char *argv[], const char *option)
{
	size_t len = strlen(option);
	const char *value = NULL;

	for (size_t i = 1; argv[i]; i++) {
		if (strncmp(argv[i], option, len) != 0)
			continue;
		if (argv[i][len] == '=')
			value = argv[i] + len + 1;
		else if (argv[i][len] == '\0')
			value = argv[i + 1] ? argv[i + 1] : "";
	}
	return value;
}

/* A keeper apart from its daemons. */
static int listen_apart(int argc, char *argv[])
{
	const char *path = NULL;
	enum log_format format;
	struct err err = ERR_INIT;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'L') {
			path = optarg;
		} else if (option == 'f' && log_format_parse(optarg, &format) == 0) {
			log_set_format(format);
		} else {
			if (option == 'f')
				(void)fprintf(
					stderr,
					"assetfs keeper: '%s' is not valid; see 'assetfs keeper "
					"--help'\n",
					optarg);
			return STATUS_USAGE;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "assetfs keeper: unexpected argument '%s'\n", argv[optind]);
		return STATUS_USAGE;
	}
	log_show_time();
	return keeper_listen(path, &err) < 0 ? fail("keeper", &err) : STATUS_OK;
}

/* Log as the daemon does, whose options @argv are; it says what is wrong with them. */
static void log_as_daemon(char *argv[])
{
	const char *value = option_value(argv, "--log-format");
	enum log_format format;

	if (value && log_format_parse(value, &format) == 0)
		log_set_format(format);
}

int cmd_keeper(int argc, char *argv[])
{
	CLEANUP(free) char **arguments = NULL;
	struct err err = ERR_INIT;
	/* Of daemons only: one that wants another keeper, and one that wants another program. */
	long pid = option_number(argv[1], "--adopt=");
	long version = option_number(argv[1], CAN_ADOPT);
	int r;

	if (argv[1] && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		(void)fputs(help, stdout);
		return STATUS_OK;
	}
	if (version >= 0)
		return can_adopt(argv[1]);
	if (option_value(argv, "--listen"))
		return listen_apart(argc, argv);
	arguments = daemon_arguments(argv + (pid > 0 ? 2 : 1));
	if (!arguments)
		return STATUS_FAILED;
	log_as_daemon(argv);
	log_show_time();
	r = pid > 0 ? keeper_adopt((pid_t)pid, arguments, &err)
	            : keeper_run(arguments, option_value(argv, "--keeper") != NULL, &err);
	return r < 0 ? fail("keeper", &err) : r;
}
