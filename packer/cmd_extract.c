/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "commands.h"
#include "extract.h"
#include "read_args.h"

static const char help[] =
	"Usage: assetpack extract [OPTION]... IMAGE DIR [PATH]\n"
	"Write the tree of an image, or what is at PATH in it, into directory DIR.\n"
	"Existing files are not replaced, symbolic links in DIR not followed.\n\n"
	"      --platform OS/ARCH   image to read (default: this machine's)\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { READ_OPTIONS };

static const struct read_command command = {
	.name = "extract",
	.help = help,
	.shorts = "h",
	.options = options,
	.min_arguments = 1,
	.max_arguments = 2,
	.wants = "IMAGE, DIR and at most one PATH",
};

int cmd_extract(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	CLEANUP(image_close) struct image *img = NULL;
	struct err err = ERR_INIT;
	struct node node;
	const char *path;
	int status = read_args_parse(&command, argc, argv, &args);

	if (status >= 0)
		return status;
	path = args.n_arguments > 1 ? args.arguments[1] : "";
	if (read_args_open(&args, &img, &err) < 0 || read_args_find(img, path, &node, &err) < 0 ||
	    extract(img, &node, path, args.arguments[0], &err) < 0)
		return fail(&err);
	return STATUS_OK;
}
