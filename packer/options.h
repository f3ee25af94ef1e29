/* SPDX-License-Identifier: Apache-2.0 */
/* The options and arguments of one command. */
#pragma once

#include <getopt.h>

#include "base/err.h"

struct option_spec {
	const char *command;
	const char *help; /* printed for -h, which every command has */
	const char *shorts;
	const struct option *options;
	int min_arguments, max_arguments;
	const char *wants; /* the arguments, for the message when their number is wrong */

	/* Take over one option, with its argument in optarg. Returns 0 or -EINVAL with a message. */
	int (*apply)(int option, void *arg, struct err *err);
};

/*
 * Parse what follows the command's name; apply() gets @arg. Before any thread starts.
 * Returns -1 to go on, with the arguments at argv[optind] and behind, or an exit status.
 */
int options_parse(const struct option_spec *spec, int argc, char *argv[], void *arg);
