/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "commands.h"
#include "listing.h"
#include "names.h"
#include "read_args.h"

static const char help[] =
	"Usage: assetpack tree [OPTION]... IMAGE [PATH]\n"
	"Show a directory of an image (default: its root) and all below it.\n\n"
	"      --platform OS/ARCH   image to look into (default: this machine's)\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { READ_OPTIONS };

static const struct read_command command = {
	.name = "tree",
	.help = help,
	.shorts = "h",
	.options = options,
	.max_arguments = 1,
	.wants = "IMAGE and at most one PATH",
};

/* The lines that lead to a name. */
struct drawing {
	const char *more, *last, *bar, *space;
};

static const struct drawing boxes = { "├── ", "└── ", "│   ", "    " };
static const struct drawing ascii = { "|-- ", "`-- ", "|   ", "    " };

/* A directory on the way to where we are. */
struct level {
	struct listing listing;
	size_t next; /* entry to print */
};

struct tree_printer {
	struct index *idx; /* borrowed */
	const struct drawing *drawing;
	struct level *levels; /* owned */
	size_t n_levels;
	size_t levels_max;
	uint64_t n_dirs, n_files, n_links;
};

static void tree_printer_release_cleanup(struct tree_printer *t)
{
	while (t->n_levels > 0)
		listing_release(&t->levels[--t->n_levels].listing);
	free(t->levels);
}

static int enter(struct tree_printer *t, uint64_t ino, struct err *err)
{
	struct level *levels = array_grow(t->levels, t->n_levels, &t->levels_max, sizeof(*levels));

	if (!levels)
		return err_set(err, -ENOMEM, "out of memory");
	t->levels = levels;
	levels[t->n_levels++].next = 0;
	return listing_load_below(t->idx, ino, &levels[t->n_levels - 1].listing, err);
}

static int print_entry(struct tree_printer *t, const struct listed *l, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	int r = 0;

	for (size_t i = 0; i < t->n_levels; i++) {
		const struct level *level = &t->levels[i];
		bool last = level->next == level->listing.n;

		if (i + 1 < t->n_levels)
			(void)fputs(last ? t->drawing->space : t->drawing->bar, stdout);
		else
			(void)fputs(last ? t->drawing->last : t->drawing->more, stdout);
	}
	name_print(l->name, l->name_len);
	if (S_ISLNK(l->node.mode)) {
		r = index_target(t->idx, l->node.ino, target, err);
		(void)fputs(" -> ", stdout);
		if (r == 0)
			name_print(target, strlen(target));
	}
	(void)putchar('\n');
	t->n_dirs += S_ISDIR(l->node.mode);
	t->n_files += S_ISREG(l->node.mode);
	t->n_links += S_ISLNK(l->node.mode);
	return r;
}

/* Print everything below the directory that was entered. */
static int print_below(struct tree_printer *t, struct err *err)
{
	int r = 0;

	while (r == 0 && t->n_levels > 0) {
		struct level *level = &t->levels[t->n_levels - 1];
		struct listed *l;

		if (level->next == level->listing.n) {
			listing_release(&level->listing);
			t->n_levels--;
			continue;
		}
		l = &level->listing.list[level->next++];
		r = print_entry(t, l, err);
		if (r == 0 && S_ISDIR(l->node.mode))
			r = enter(t, l->node.ino, err);
	}
	return r;
}

static int show(struct image *img, const char *path, struct err *err)
{
	/* Threads come and go within calls that do not touch the locale. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	CLEANUP(tree_printer_release)
	struct tree_printer t = {
		.idx = image_index(img),
		.drawing = utf8 ? &boxes : &ascii,
	};
	struct node node;
	int r = read_args_find(img, path, &node, err);

	if (r < 0)
		return r;
	name_print(path[0] != '\0' ? path : "/", path[0] != '\0' ? strlen(path) : 1);
	(void)putchar('\n');
	if (S_ISDIR(node.mode)) {
		r = enter(&t, node.ino, err);
		if (r == 0)
			r = print_below(&t, err);
	}
	if (r < 0)
		return r;
	(void)printf("\n%llu directories, %llu files, %llu links\n", (unsigned long long)t.n_dirs,
	             (unsigned long long)(t.n_files + S_ISREG(node.mode)),
	             (unsigned long long)(t.n_links + S_ISLNK(node.mode)));
	return 0;
}

int cmd_tree(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	CLEANUP(image_close) struct image *img = NULL;
	struct err err = ERR_INIT;
	int status = read_args_parse(&command, argc, argv, &args);

	if (status >= 0)
		return status;
	/* No other thread runs yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)setlocale(LC_CTYPE, "");
	if (read_args_open(&args, &img, &err) < 0 ||
	    show(img, args.n_arguments > 0 ? args.arguments[0] : "", &err) < 0)
		return fail(&err);
	return cli_finish(STATUS_OK);
}
