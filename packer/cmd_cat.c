/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/io.h"
#include "commands.h"
#include "names.h"
#include "read_args.h"
#include "stream.h"

static const char help[] =
	"Usage: assetpack cat [OPTION]... IMAGE PATH...\n"
	"Write the bytes of files in an image to standard output.\n\n"
	"      --platform OS/ARCH   image to look into (default: this machine's)\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { READ_OPTIONS };

static const struct read_command command = {
	.name = "cat",
	.help = help,
	.shorts = "h",
	.options = options,
	.min_arguments = 1,
	.max_arguments = INT_MAX - 1, /* IMAGE is one more */
	.wants = "IMAGE and at least one PATH",
};

/* What is wrong with standard output is not the file's fault, and is told without its name. */
static int write_out(void *arg, const void *data, uint64_t off, uint64_t len)
{
	static const char zeros[64 << 10];
	struct err *failed = arg;
	int r = 0;

	(void)off;
	while (r == 0 && len > 0) {
		size_t n = data ? (size_t)len : len < sizeof(zeros) ? (size_t)len : sizeof(zeros);

		r = io_write(STDOUT_FILENO, data ? data : zeros, n);
		len -= n;
	}
	return r < 0 ? err_set(failed, r, "standard output: %s", strerrordesc_np(-r)) : 0;
}

static int print_file(struct stream *s, const char *path, struct err *err)
{
	struct err output = ERR_INIT;
	char shown[NAME_SHOWN_MAX];
	struct node node;
	int r = read_args_find(s->img, path, &node, err);

	if (r < 0)
		return r;
	(void)name_shown(path, shown);
	if (!S_ISREG(node.mode))
		return err_set(err, -EINVAL, "'%s' is not a regular file", shown);
	if (node.content == 0)
		return 0;
	r = stream_content(s, node.content, write_out, &output, err);
	if (output.code < 0)
		return err_set(err, output.code, "%s", output.msg);
	return r < 0 ? err_wrap(err, r, "'%s'", shown) : 0;
}

int cmd_cat(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	CLEANUP(image_close) struct image *img = NULL;
	CLEANUP(stream_release) struct stream s = { .reader = NULL };
	struct err err = ERR_INIT;
	int status = read_args_parse(&command, argc, argv, &args);

	if (status >= 0)
		return status;
	if (read_args_open(&args, &img, &err) < 0 || stream_init(&s, img, &err) < 0)
		return fail(&err);
	for (int i = 0; i < args.n_arguments; i++) {
		if (print_file(&s, args.arguments[i], &err) < 0)
			return fail(&err);
	}
	return STATUS_OK;
}
