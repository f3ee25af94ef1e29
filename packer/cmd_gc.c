/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "commands.h"
#include "layout.h"
#include "layout_gc.h"
#include "options.h"

static const char help[] =
	"Usage: assetpack gc [OPTION]... LAYOUT\n"
	"Remove what no tag of LAYOUT reaches, and what killed builds have left.\n"
	"Waits for a build to end. Images of others in the layout are kept.\n\n"
	"  -n, --dry-run   remove nothing, only say how much it would be\n"
	"  -h, --help      show this help\n";

static const struct option options[] = {
	{ "dry-run", no_argument, NULL, 'n' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* There is one option beside -h. */
static int apply_option(int option, void *arg, struct err *err)
{
	bool *dry_run = arg;

	(void)option;
	(void)err;
	*dry_run = true;
	return 0;
}

static const struct option_spec spec = {
	.command = "gc",
	.help = help,
	.shorts = "hn",
	.options = options,
	.min_arguments = 1,
	.max_arguments = 1,
	.wants = "LAYOUT",
	.apply = apply_option,
};

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char *argv[], bool *ret_dry_run, struct image_ref *ret)
{
	struct err err = ERR_INIT;
	const char *path;
	int status = options_parse(&spec, argc, argv, ret_dry_run);

	if (status >= 0)
		return status;
	if (image_ref_parse(argv[optind], ret, &err) < 0)
		return fail_usage("gc", "%s", err.msg);
	path = argv[optind];
	if (strncmp(path, "oci:", strlen("oci:")) == 0)
		path += strlen("oci:");
	if (strcmp(path, ret->layout) != 0)
		return fail_usage("gc", "wants a LAYOUT without a tag: it keeps all tags");
	return -1;
}

static void print_result(const struct gc_result *res, bool dry_run)
{
	char blobs[TEXT_SIZE_MAX], unfinished[TEXT_SIZE_MAX], kept[TEXT_SIZE_MAX];

	(void)printf("%s %llu blobs, %s, and %llu unfinished files, %s; %llu blobs, %s, %s\n",
	             dry_run ? "would remove" : "removed", (unsigned long long)res->n_blobs,
	             text_size(res->blob_bytes, blobs), (unsigned long long)res->n_unfinished,
	             text_size(res->unfinished_bytes, unfinished), (unsigned long long)res->n_kept,
	             text_size(res->kept_bytes, kept), dry_run ? "would stay" : "stay");
}

int cmd_gc(int argc, char *argv[])
{
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	struct gc_result res = { .n_blobs = 0 };
	struct err err = ERR_INIT;
	bool dry_run = false;
	int status = parse_options(argc, argv, &dry_run, &ref);

	if (status >= 0)
		return status;
	if (layout_gc(ref.layout, dry_run, &res, &err) < 0)
		return fail(&err);
	print_result(&res, dry_run);
	return cli_finish(STATUS_OK);
}
