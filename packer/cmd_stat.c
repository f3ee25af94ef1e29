/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "commands.h"
#include "image.h"
#include "names.h"
#include "node_text.h"
#include "read_args.h"
#include "report.h"

static const char help[] =
	"Usage: assetpack stat [OPTION]... IMAGE [PATH]\n"
	"Show each platform's sizes and what they share, or one file of an image.\n\n"
	"  -v, --verbose            with PATH: list the chunks of the file\n"
	"      --platform OS/ARCH   image to look into (default: without PATH all,\n"
	"                           with PATH this machine's)\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { { "verbose", no_argument, NULL, 'v' }, READ_OPTIONS };

static const struct read_command command = {
	.name = "stat",
	.help = help,
	.shorts = "hv",
	.options = options,
	.max_arguments = 1,
	.wants = "IMAGE and at most one PATH",
};

static void print_bytes(const char *what, uint64_t bytes)
{
	char size[TEXT_SIZE_MAX];

	(void)printf("  %-15s %15llu  %s\n", what, (unsigned long long)bytes,
	             text_size(bytes, size));
}

static int print_image(const struct layout *layout, const struct manifest *m, struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	const struct index_info *info;
	uint64_t stored = 0;
	int r = image_open_in_memory(layout, m, &img, err);

	if (r < 0)
		return r;
	info = index_info(image_index(img));
	for (uint32_t i = 0; i < m->n_packs; i++)
		stored += m->packs[i].size;
	(void)printf("platform %s\n", m->platform.name);
	(void)printf("  %-15s %15llu\n", "files", (unsigned long long)info->n_files);
	print_bytes("bytes", info->bytes);
	print_bytes("unique bytes", info->content_bytes);
	(void)printf("  %-15s %15llu\n", "chunks", (unsigned long long)info->n_chunks);
	(void)printf("  %-15s %15u\n", "packs", m->n_packs);
	print_bytes("stored bytes", stored);
	return 0;
}

/* What platforms share, and what they would cost without. */
static int print_sharing(const struct image_set *set, struct err *err)
{
	struct report report;
	int r = report_make(set, NULL, &report, err);

	if (r < 0)
		return r;
	(void)puts("all platforms");
	print_bytes("shared bytes", report.shared_bytes);
	print_bytes("all blobs", report.stored_bytes);
	print_bytes("separate images", report.separate_bytes);
	if (report.separate_bytes > report.stored_bytes)
		print_bytes("saved", report.separate_bytes - report.stored_bytes);
	return 0;
}

static int stat_set(const struct read_args *args, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	const struct manifest *only = NULL;
	char hex[DIGEST_HEX_SIZE];
	int r = read_args_images(args, &layout, &set, &only, err);

	if (r < 0)
		return r;
	(void)printf("image index sha256:%s\n", digest_hex(&set.self.digest, hex));
	for (uint32_t i = 0; r == 0 && i < set.n_manifests; i++) {
		if (!only || only == &set.manifests[i])
			r = print_image(layout, &set.manifests[i], err);
	}
	if (r == 0 && !only && set.n_manifests > 1)
		r = print_sharing(&set, err);
	return r;
}

static int print_content(struct image *img, uint64_t id, bool verbose, struct err *err)
{
	CLEANUP(free) struct extent *extents = NULL;
	struct content content;
	char hex[DIGEST_HEX_SIZE];
	uint32_t n = 0;
	int r = index_content(image_index(img), id, &content, err);

	if (r == 0)
		r = index_extents(image_index(img), &content, &extents, &n, err);
	if (r < 0)
		return r;
	(void)printf("content  sha256:%s\n", digest_hex(&content.digest, hex));
	(void)printf("extents  %u\n", n);
	for (uint32_t i = 0; verbose && i < n; i++) {
		const struct extent *e = &extents[i];

		(void)printf("  %llu+%u in chunk %llu at %u of %u, sha256:%s, pack %u at %llu+%u\n",
		             (unsigned long long)e->off, e->len, (unsigned long long)e->chunk.id,
		             e->chunk_off, e->chunk.size, digest_hex(&e->chunk.digest, hex),
		             e->chunk.pack, (unsigned long long)e->chunk.frame_off,
		             e->chunk.frame_size);
	}
	return 0;
}

static int stat_node(const struct read_args *args, struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	const char *path = args->arguments[0];
	char target[FORMAT_TARGET_MAX + 1];
	char mode[MODE_TEXT_SIZE];
	char when[TIME_TEXT_SIZE];
	struct node node = { .ino = 0 };
	int r = read_args_open(args, &img, err);

	if (r == 0)
		r = read_args_find(img, path, &node, err);
	if (r == 0 && S_ISLNK(node.mode))
		r = index_target(image_index(img), node.ino, target, err);
	if (r < 0)
		return r;
	(void)fputs("path     ", stdout);
	name_print(path, strlen(path));
	(void)printf("\ninode    %llu\nmode     %s\nlinks    %u\nowner    %u:%u\nsize     %llu\n",
	             (unsigned long long)node.ino, node_mode_text(&node, mode), node.nlink,
	             node.uid, node.gid, (unsigned long long)node.size);
	(void)printf("modified %s.%09u\n", node_time_text(&node, when), node.mtime_ns);
	if (S_ISLNK(node.mode)) {
		(void)fputs("target   ", stdout);
		name_print(target, strlen(target));
		(void)putchar('\n');
	}
	if (node.content == 0)
		return 0;
	return print_content(img, node.content, read_args_has(args, 'v'), err);
}

int cmd_stat(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	struct err err = ERR_INIT;
	int status = read_args_parse(&command, argc, argv, &args);
	int r;

	if (status >= 0)
		return status;
	r = args.n_arguments > 0 ? stat_node(&args, &err) : stat_set(&args, &err);
	return r < 0 ? fail(&err) : cli_finish(STATUS_OK);
}
