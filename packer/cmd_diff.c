/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "commands.h"
#include "diff.h"
#include "names.h"
#include "options.h"

enum { SHOWN_DEFAULT = 20 };

static const char help[] =
	"Usage: assetpack diff [OPTION]... OLD NEW\n"
	"Show what a node that holds image OLD fetches for image NEW, and which files\n"
	"are the reason, the costliest first.\n\n"
	"  -n, --lines N            show at most N files, 0 for all (default 20; with\n"
	"                           --json all)\n"
	"      --json               print JSON; names of fields stay as they are\n"
	"      --platform OS/ARCH   image to compare (default: this machine's)\n"
	"  -h, --help               show this help\n\n"
	"Reasons: new; changed; moved: its bytes were at another path; re-cut: its bytes\n"
	"were there, in other chunks; metadata: only mode, owner or time are others.\n";

enum { OPT_JSON = 256, OPT_PLATFORM };

static const struct option options[] = {
	{ "lines", required_argument, NULL, 'n' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "platform", required_argument, NULL, OPT_PLATFORM },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct diff_args {
	struct image_ref old, new; /* owned */
	struct platform platform;
	size_t lines;
	bool has_lines;
	bool json;
	const char *texts[2]; /* borrowed; OLD and NEW as they were given */
};

static void diff_args_release_cleanup(struct diff_args *args)
{
	image_ref_release(&args->old);
	image_ref_release(&args->new);
}

DEFINE_CLEANUP(json_t *, json_decref)

/* Returns 0 or -EINVAL with a message. */
static int apply_option(int option, void *arg, struct err *err)
{
	struct diff_args *args = arg;
	uint64_t lines;

	switch (option) {
	case OPT_JSON:
		args->json = true;
		return 0;
	case OPT_PLATFORM:
		return platform_parse(optarg, &args->platform, err);
	default:
		if (text_parse_uint(optarg, UINT32_MAX, &lines) < 0)
			return err_set(err, -EINVAL, "'%s' is not a number of lines", optarg);
		args->lines = lines == 0 ? SIZE_MAX : (size_t)lines;
		args->has_lines = true;
		return 0;
	}
}

static const struct option_spec spec = {
	.command = "diff",
	.help = help,
	.shorts = "hn:",
	.options = options,
	.min_arguments = 2,
	.max_arguments = 2,
	.wants = "OLD and NEW",
	.apply = apply_option,
};

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char *argv[], struct diff_args *args)
{
	struct err err = ERR_INIT;
	int status = options_parse(&spec, argc, argv, args);

	if (status >= 0)
		return status;
	args->texts[0] = argv[optind];
	args->texts[1] = argv[optind + 1];
	if (image_ref_parse(args->texts[0], &args->old, &err) < 0 ||
	    image_ref_parse(args->texts[1], &args->new, &err) < 0)
		return fail_usage("diff", "%s", err.msg);
	if (!args->has_lines)
		args->lines = args->json ? SIZE_MAX : SHOWN_DEFAULT;
	return -1;
}

static void print_file(const struct diff_file *file)
{
	char cost[TEXT_SIZE_MAX], size[TEXT_SIZE_MAX];

	(void)printf("%10s %10s  %-8s  ", text_size(file->cost, cost), text_size(file->size, size),
	             diff_reason_name(file->reason));
	name_print(file->path, strlen(file->path));
	if (file->was) {
		(void)fputs("  was ", stdout);
		name_print(file->was, strlen(file->was));
	}
	(void)putchar('\n');
}

static void print_total(const char *what, uint64_t bytes)
{
	char size[TEXT_SIZE_MAX];

	(void)printf("%10s  %s\n", text_size(bytes, size), what);
}

static void print_text(const struct diff *d, size_t lines)
{
	size_t shown = lines < d->n_files ? lines : d->n_files;
	char cost[TEXT_SIZE_MAX];
	uint64_t rest = 0;

	if (shown > 0)
		(void)printf("%10s %10s  %-8s  %s\n", "COST", "SIZE", "REASON", "PATH");
	for (size_t i = 0; i < shown; i++)
		print_file(&d->files[i]);
	for (size_t i = shown; i < d->n_files; i++)
		rest += d->files[i].cost;
	if (shown < d->n_files)
		(void)printf("%10s  %zu more\n", text_size(rest, cost), d->n_files - shown);
	if (d->n_files > 0)
		(void)putchar('\n');
	for (unsigned i = 0; i < DIFF_REASONS; i++)
		(void)printf("%s%llu %s",
		             i > 0 ? ", " : "files: ", (unsigned long long)d->counts[i],
		             diff_reason_name(i));
	(void)puts("\n");
	print_total("update: blobs that the old image lacks", d->update_bytes);
	print_total("  packs", d->pack_bytes);
	print_total("    new chunks", d->new_chunk_bytes);
	print_total("    chunks that were in other packs", d->kept_chunk_bytes);
	print_total("  index", d->index_bytes);
	print_total("  manifest and config", d->manifest_bytes);
	print_total("blobs that only the old image names", d->dropped_bytes);
	print_total("files that were removed", d->removed_file_bytes);
}

/* A path as JSON has it: escaped as ls does where it is no UTF-8. */
static json_t *path_json(const char *path)
{
	json_t *text = json_string(path);
	CLEANUP(free) char *escaped = NULL;
	size_t len = 0;
	FILE *to;

	if (text)
		return text;
	to = open_memstream(&escaped, &len);
	if (!to)
		return NULL;
	name_print_escaped(to, path, strlen(path));
	return fclose(to) == 0 ? json_string(escaped) : NULL;
}

static json_t *file_json(const struct diff_file *file)
{
	CLEANUP(json_decref)
	json_t *object = json_pack("{s:o, s:s, s:I, s:I}", "path", path_json(file->path), "reason",
	                           diff_reason_name(file->reason), "cost", (json_int_t)file->cost,
	                           "size", (json_int_t)file->size);

	if (object && file->was && json_object_set_new(object, "was", path_json(file->was)) < 0)
		return NULL;
	return TAKE_PTR(object);
}

static json_t *image_json(const char *text, const struct image *img)
{
	char digest[sizeof("sha256:") + DIGEST_HEX_SIZE] = "sha256:";

	(void)digest_hex(&image_manifest(img)->self.digest, digest + strlen("sha256:"));
	return json_pack("{s:o, s:s}", "image", path_json(text), "digest", digest);
}

/* Everything but the files. */
static json_t *head_json(const struct diff_args *args, const struct image *old,
                         const struct image *new, const struct diff *d)
{
	CLEANUP(json_decref) json_t *counts = json_object();

	for (unsigned i = 0; i < DIFF_REASONS; i++) {
		if (json_object_set_new(counts, diff_reason_name(i),
		                        json_integer((json_int_t)d->counts[i])) < 0)
			return NULL;
	}
	return json_pack("{s:i, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}",
	                 "version", 1, "platform", args->platform.name, "old",
	                 image_json(args->texts[0], old), "new", image_json(args->texts[1], new),
	                 "update_bytes", (json_int_t)d->update_bytes, "pack_bytes",
	                 (json_int_t)d->pack_bytes, "new_chunk_bytes",
	                 (json_int_t)d->new_chunk_bytes, "kept_chunk_bytes",
	                 (json_int_t)d->kept_chunk_bytes, "index_bytes", (json_int_t)d->index_bytes,
	                 "manifest_bytes", (json_int_t)d->manifest_bytes, "dropped_bytes",
	                 (json_int_t)d->dropped_bytes, "removed_file_bytes",
	                 (json_int_t)d->removed_file_bytes, "counts", counts);
}

/* A line for each file, so that a million of them need no memory. */
static int print_json(json_t *head, const struct diff *d, size_t lines, struct err *err)
{
	CLEANUP(json_decref) json_t *root = head;

	if (!root)
		return err_set(err, -ENOMEM, "out of memory");
	(void)putchar('{');
	(void)json_dumpf(root, stdout, JSON_COMPACT | JSON_EMBED);
	(void)fputs(",\"files\":[", stdout);
	for (size_t i = 0; i < d->n_files && i < lines; i++) {
		CLEANUP(json_decref) json_t *file = file_json(&d->files[i]);

		if (!file)
			return err_set(err, -ENOMEM, "out of memory");
		(void)fputs(i > 0 ? ",\n" : "\n", stdout);
		(void)json_dumpf(file, stdout, JSON_COMPACT);
	}
	(void)puts("\n]}");
	return 0;
}

static int show(const struct diff_args *args, struct err *err)
{
	CLEANUP(image_close) struct image *old = NULL;
	CLEANUP(image_close) struct image *new = NULL;
	CLEANUP(diff_release) struct diff d = DIFF_INIT;
	int r = image_open_ref(&args->old, &args->platform, &old, err);

	if (r == 0)
		r = image_open_ref(&args->new, &args->platform, &new, err);
	if (r == 0)
		r = diff_images(old, new, &d, err);
	if (r < 0)
		return r;
	if (args->json)
		return print_json(head_json(args, old, new, &d), &d, args->lines, err);
	print_text(&d, args->lines);
	return 0;
}

int cmd_diff(int argc, char *argv[])
{
	CLEANUP(diff_args_release)
	struct diff_args args = {
		.old = IMAGE_REF_INIT,
		.new = IMAGE_REF_INIT,
		.platform = platform_of_host(),
	};
	struct err err = ERR_INIT;
	int status = parse_options(argc, argv, &args);

	if (status >= 0)
		return status;
	return show(&args, &err) < 0 ? fail(&err) : cli_finish(STATUS_OK);
}
