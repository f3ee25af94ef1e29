/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "dirs.h"
#include "listing.h"
#include "names.h"
#include "node_text.h"
#include "read_args.h"

static const char help[] =
	"Usage: assetpack ls [OPTION]... IMAGE [PATH]\n"
	"List a directory of an image (default: its root), or one file.\n\n"
	"  -l, --long               show mode, links, size, time (UTC) and link targets\n"
	"      --platform OS/ARCH   image to look into (default: this machine's)\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { { "long", no_argument, NULL, 'l' }, READ_OPTIONS };

static const struct read_command command = {
	.name = "ls",
	.help = help,
	.shorts = "hl",
	.options = options,
	.max_arguments = 1,
	.wants = "IMAGE and at most one PATH",
};

static int print_target(struct index *idx, const struct node *node, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	int r = index_target(idx, node->ino, target, err);

	if (r < 0)
		return r;
	(void)fputs(" -> ", stdout);
	name_print(target, strlen(target));
	return 0;
}

static int print_node(struct index *idx, const struct listed *l, bool full, struct err *err)
{
	char mode[MODE_TEXT_SIZE];
	char when[TIME_TEXT_SIZE];
	int r = 0;

	if (full)
		(void)printf("%s %3u %12llu %s ", node_mode_text(&l->node, mode), l->node.nlink,
		             (unsigned long long)l->node.size, node_time_text(&l->node, when));
	name_print(l->name, l->name_len);
	if (full && S_ISLNK(l->node.mode))
		r = print_target(idx, &l->node, err);
	(void)putchar('\n');
	return r;
}

static int list(struct image *img, const char *path, bool full, struct err *err)
{
	CLEANUP(listing_release) struct listing listing = LISTING_INIT;
	CLEANUP(free) char *copy = strdup(path);
	struct listed one = { .name = copy };
	int r = read_args_find(img, path, &one.node, err);

	if (r < 0)
		return r;
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	one.name_len = strlen(copy);
	if (!S_ISDIR(one.node.mode))
		return print_node(image_index(img), &one, full, err);
	r = listing_load(image_index(img), one.node.ino, &listing, err);
	for (size_t i = 0; r == 0 && i < listing.n; i++)
		r = print_node(image_index(img), &listing.list[i], full, err);
	return r;
}

int cmd_ls(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	CLEANUP(image_close) struct image *img = NULL;
	struct err err = ERR_INIT;
	int status = read_args_parse(&command, argc, argv, &args);

	if (status >= 0)
		return status;
	if (read_args_open(&args, &img, &err) < 0 ||
	    list(img, args.n_arguments > 0 ? args.arguments[0] : "", read_args_has(&args, 'l'),
	         &err) < 0)
		return fail(&err);
	return cli_finish(STATUS_OK);
}
