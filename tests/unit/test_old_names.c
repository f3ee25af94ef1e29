/* SPDX-License-Identifier: Apache-2.0 */
/* old_names: which old file a new path most likely was. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "build.h"
#include "old.h"
#include "sample.h"

/* Files of the old release, each of its own content. */
static const char *const files[] = {
	"music/moved.ogg",       "noext",
	"tex/a/twice.png",       "tex/b/twice.png",
	"tex/deep/grass_09.png", "tex/grass_01.png",
	"tex/grass_02.png",      "tex/noext_1",
	"tex/rock_01.jpg",       "top.txt",
};

struct fixture {
	char dir[SAMPLE_PATH_MAX];
	struct old old;
	struct old_names *names;
};

static void fixture_release_cleanup(struct fixture *f)
{
	old_names_free(f->names);
	old_release(&f->old);
	sample_dir_remove(f->dir);
}

static void make_file(const char *dir, const char *name, const char *text)
{
	char path[SAMPLE_PATH_MAX];
	const char *slash = strrchr(sample_path(dir, name, path), '/');
	CLEANUP(free) char *parent = strndup(path, (size_t)(slash - path));
	CLEANUP(close) int fd = -1;

	cr_assert_eq(io_make_dirs(parent, NULL), 0);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	cr_assert(fd >= 0 && io_write(fd, text, strlen(text)) == 0);
}

static void make_tree(const char *dir)
{
	char path[SAMPLE_PATH_MAX];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		make_file(dir, files[i], files[i]);
	make_file(dir, "empty.txt", "");
	cr_assert_eq(symlink("top.txt", sample_path(dir, "to", path)), 0);
}

static struct fixture make(void)
{
	struct fixture f = { .old = OLD_INIT };
	char source[SAMPLE_PATH_MAX], layout[SAMPLE_PATH_MAX];
	struct image_ref ref = { .layout = layout, .tag = (char[]){ "v1" } };
	struct build_options options = {
		.source = source,
		.image = &ref,
		.pipeline = { .group_target = 1 << 16, .level = 1, .jobs = 1 },
		.progress = PROGRESS_NONE,
	};
	struct build_report report;
	struct err err = ERR_INIT;

	sample_dir(f.dir);
	(void)sample_path(f.dir, "source", source);
	(void)sample_path(f.dir, "layout", layout);
	make_tree(source);
	chunker_init(&options.pipeline.chunker, 1 << 16);
	cr_assert_eq(build(&options, &report, &err), 0, "%s", err.msg);
	cr_assert_eq(old_open(layout, "v1", &f.old, &err), 0, "%s", err.msg);
	f.names = old_names_new(f.old.images[0]);
	cr_assert_not_null(f.names);
	return f;
}

/* That @path was @file; NULL: nothing. */
static void expect(const struct fixture *f, const char *path, const char *file)
{
	struct node node = { .content = 0 };
	struct err err = ERR_INIT;
	uint64_t found;

	if (file)
		cr_assert_eq(index_resolve(image_index(f->old.images[0]), file, &node, NULL), 1);
	if (!old_file_at(f->old.images[0], path, &found))
		cr_assert_eq(old_names_find(f->names, path, &found, &err), 0, "%s", err.msg);
	cr_expect_eq(found, node.content, "'%s' is not found as '%s'", path, file ? file : "");
}

Test(old_names, finds_what_is_at_the_path)
{
	CLEANUP(fixture_release) struct fixture f = make();

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		expect(&f, files[i], files[i]);
}

Test(old_names, finds_what_moved_with_its_name)
{
	CLEANUP(fixture_release) struct fixture f = make();

	expect(&f, "moved.ogg", "music/moved.ogg");
	expect(&f, "sound/new/moved.ogg", "music/moved.ogg");
	/* A name before names that are alike. */
	expect(&f, "tex/grass_09.png", "tex/deep/grass_09.png");
	/* Of several, the one in the directory that comes first. */
	expect(&f, "twice.png", "tex/a/twice.png");
	expect(&f, "tex/b/c/twice.png", "tex/a/twice.png");
}

Test(old_names, finds_the_most_alike_in_the_directory)
{
	CLEANUP(fixture_release) struct fixture f = make();

	expect(&f, "tex/grass_01_new.png", "tex/grass_01.png");
	expect(&f, "tex/grass_22.png", "tex/grass_02.png");
	expect(&f, "tex/old_grass_02.png", "tex/grass_02.png");
	expect(&f, "tex/grass_01.jpg", "tex/rock_01.jpg");
	expect(&f, "tex/noext_2", "tex/noext_1");
	expect(&f, "top2.txt", "top.txt");
}

Test(old_names, finds_nothing_that_is_not_alike)
{
	CLEANUP(fixture_release) struct fixture f = make();

	expect(&f, "tex/qqq.tga", NULL);
	/* Only the extension is the same. */
	expect(&f, "tex/qqq.png", NULL);
	/* Another directory, or one that was not there. */
	expect(&f, "music/grass_03.png", NULL);
	expect(&f, "other/grass_03.png", NULL);
	expect(&f, "top.txt/x", NULL);
	/* What is no file with bytes. */
	expect(&f, "a/to", NULL);
	expect(&f, "a/empty.txt", NULL);
	expect(&f, "", NULL);
}

Test(old_names, takes_a_path_of_an_empty_file_or_a_directory)
{
	CLEANUP(fixture_release) struct fixture f = make();

	expect(&f, "empty.txt", NULL);
	expect(&f, "tex", NULL);
	expect(&f, "to", NULL);
}
