/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <stdio.h>

#include "commands.h"

int options_parse(const struct option_spec *spec, int argc, char *argv[], void *arg)
{
	struct err err = ERR_INIT;
	int option;
	int n;

	/* Options are parsed before any thread starts. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, spec->shorts, spec->options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(spec->help, stdout);
			return cli_finish(STATUS_OK);
		}
		if (option == '?') /* getopt has said what is wrong */
			return STATUS_USAGE;
		if (spec->apply(option, arg, &err) < 0)
			return fail_usage(spec->command, "%s", err.msg);
	}
	n = argc - optind;
	if (n < spec->min_arguments || n > spec->max_arguments)
		return fail_usage(spec->command, "wants %s", spec->wants);
	return -1;
}
