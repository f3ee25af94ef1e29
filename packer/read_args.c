/* SPDX-License-Identifier: Apache-2.0 */
#include "read_args.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "names.h"
#include "options.h"

static int apply_option(int option, void *arg, struct err *err)
{
	struct read_args *args = arg;
	size_t n = strlen(args->letters);

	if (option == 'P') {
		args->has_platform = true;
		return platform_parse(optarg, &args->platform, err);
	}
	if (!strchr(args->letters, option) && n + 1 < sizeof(args->letters))
		args->letters[n] = (char)option;
	return 0;
}

int read_args_parse(const struct read_command *command, int argc, char *argv[],
                    struct read_args *ret)
{
	const struct option_spec spec = {
		.command = command->name,
		.help = command->help,
		.shorts = command->shorts,
		.options = command->options,
		.min_arguments = command->min_arguments + 1,
		.max_arguments = command->max_arguments + 1,
		.wants = command->wants,
		.apply = apply_option,
	};
	struct err err = ERR_INIT;
	int status = options_parse(&spec, argc, argv, ret);

	if (status >= 0)
		return status;
	ret->arguments = argv + optind + 1;
	ret->n_arguments = argc - optind - 1;
	if (image_ref_parse(argv[optind], &ret->image, &err) < 0)
		return fail_usage(command->name, "%s", err.msg);
	return -1;
}

bool read_args_has(const struct read_args *args, char letter)
{
	return strchr(args->letters, letter) != NULL;
}

void read_args_release(struct read_args *args)
{
	image_ref_release(&args->image);
}

int read_args_images(const struct read_args *args, struct layout **ret_layout,
                     struct image_set *ret_set, const struct manifest **ret_only, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	int r = layout_open(args->image.layout, &layout, err);

	*ret_only = NULL;
	if (r == 0)
		r = layout_images(layout, args->image.tag, ret_set, err);
	if (r < 0)
		return r;
	if (args->has_platform) {
		*ret_only = image_set_find(ret_set, &args->platform, err);
		if (!*ret_only)
			return -ENOENT;
	}
	*ret_layout = TAKE_PTR(layout);
	return 0;
}

int read_args_open(const struct read_args *args, struct image **ret, struct err *err)
{
	return image_open_ref(&args->image, args->has_platform ? &args->platform : NULL, ret, err);
}

int read_args_find(struct image *img, const char *path, struct node *ret, struct err *err)
{
	char shown[NAME_SHOWN_MAX];
	int r = index_resolve(image_index(img), path, ret, err);

	if (r < 0)
		return r;
	return r == 1 ? 0 : err_set(err, -ENOENT, "the image has no '%s'", name_shown(path, shown));
}
