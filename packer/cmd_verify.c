/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "commands.h"
#include "notes.h"
#include "read_args.h"
#include "verify.h"

static const char help[] =
	"Usage: assetpack verify [OPTION]... IMAGE\n"
	"Check every byte of IMAGE against its digests, and every rule of the format.\n"
	"Each finding is a line on standard error; with any, the exit status is 3.\n\n"
	"      --platform OS/ARCH   only this platform's image (default: all)\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { READ_OPTIONS };

static const struct read_command command = {
	.name = "verify",
	.help = help,
	.shorts = "h",
	.options = options,
	.wants = "IMAGE",
};

int cmd_verify(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	struct err err = ERR_INIT;
	int status = read_args_parse(&command, argc, argv, &args);
	int r;

	if (status >= 0)
		return status;
	r = verify(args.image.layout, args.image.tag, args.has_platform ? &args.platform : NULL,
	           &err);
	if (r < 0)
		return fail(&err);
	if (r > 1)
		note("%d findings", r);
	return r > 0 ? STATUS_DAMAGED : STATUS_OK;
}
