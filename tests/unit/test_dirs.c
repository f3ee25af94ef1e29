/* SPDX-License-Identifier: Apache-2.0 */
/* dirs: the way down, and what must not lead out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "dirs.h"
#include "sample.h"

static char dir[SAMPLE_PATH_MAX];
static int root = -1;

static void make_root(void)
{
	sample_dir(dir);
	root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(root, 0);
}

static void remove_root(void)
{
	(void)close(root);
	sample_dir_remove(dir);
}

TestSuite(dirs, .init = make_root, .fini = remove_root);

static int open_dir(struct dirs *d, const char *path)
{
	return dirs_open(d, path, strlen(path));
}

/* Whether @fd is the directory at @path. */
static bool is_dir(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(root, path, &b, 0) == 0 && a.st_ino == b.st_ino;
}

Test(dirs, opens_what_is_there)
{
	CLEANUP(dirs_release) struct dirs d = DIRS_INIT(root);

	cr_assert_eq(mkdirat(root, "a", 0700), 0);
	cr_assert_eq(mkdirat(root, "a/b", 0700), 0);
	cr_assert_eq(mkdirat(root, "a/b/c", 0700), 0);
	cr_assert_eq(mkdirat(root, "ab", 0700), 0);
	cr_expect_eq(dirs_open(&d, "a", 0), root);
	cr_expect(is_dir(open_dir(&d, "a/b/c"), "a/b/c"));
	cr_expect(is_dir(open_dir(&d, "a"), "a"));
	cr_expect(is_dir(open_dir(&d, "ab"), "ab"));
	cr_expect(is_dir(open_dir(&d, "a"), "a"));
	cr_expect(is_dir(open_dir(&d, "a/b"), "a/b"));
	cr_expect(is_dir(open_dir(&d, "a/b/c"), "a/b/c"));
	cr_expect_eq(dirs_open(&d, "a/b/c", 1), d.fd, "only the first bytes count");
	cr_expect(is_dir(d.fd, "a"));
	cr_expect_eq(open_dir(&d, "a/x"), -ENOENT);
	cr_expect(is_dir(open_dir(&d, "a/b"), "a/b"), "it goes on after a failure");
}

Test(dirs, follows_no_link)
{
	CLEANUP(dirs_release) struct dirs d = DIRS_INIT(root);

	cr_assert_eq(mkdirat(root, "a", 0700), 0);
	cr_assert_eq(mkdirat(root, "a/b", 0700), 0);
	cr_assert_eq(symlinkat("a", root, "link"), 0);
	cr_assert_eq(symlinkat("..", root, "a/up"), 0);
	cr_assert_eq(symlinkat("/", root, "a/out"), 0);
	cr_expect_eq(open_dir(&d, "link"), -ENOTDIR);
	cr_expect_eq(open_dir(&d, "link/b"), -ENOTDIR);
	cr_expect_eq(open_dir(&d, "a/up"), -ENOTDIR);
	cr_expect_eq(open_dir(&d, "a/up/a"), -ENOTDIR);
	cr_expect(is_dir(open_dir(&d, "a"), "a"));
	cr_expect_eq(open_dir(&d, "a/out/etc"), -ENOTDIR);
}

Test(dirs, paths_may_be_longer_than_a_system_call_takes)
{
	enum { LEVELS = 20, NAME = 250 };
	CLEANUP(dirs_release) struct dirs d = DIRS_INIT(root);
	char name[NAME + 1] = { 0 }, path[LEVELS * (NAME + 1)] = { 0 };
	int fd = root;

	memset(name, 'n', NAME);
	for (int i = 0; i < LEVELS; i++) {
		cr_assert_eq(mkdirat(fd, name, 0700), 0);
		(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s%s",
		               i > 0 ? "/" : "", name);
		fd = open_dir(&d, path);
		cr_assert_geq(fd, 0);
	}
	/* Not from where it is: from the root, all at once. */
	cr_assert_eq(mkdirat(root, "other", 0700), 0);
	cr_assert_geq(open_dir(&d, "other"), 0);
	cr_expect_geq(open_dir(&d, path), 0);
	/* The sample's own removal takes no such path. */
	for (int i = LEVELS; i > 0; i--) {
		int parent = dirs_open(&d, path, (size_t)(i - 1) * (NAME + 1) - (i > 1));

		cr_assert_geq(parent, 0);
		cr_expect_eq(unlinkat(parent, name, AT_REMOVEDIR), 0);
	}
}
