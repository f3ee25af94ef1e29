/* SPDX-License-Identifier: Apache-2.0 */
/* tree, walk, input, platform_tree: nodes without paths, and entries that nobody stored. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "input.h"
#include "platform_tree.h"
#include "prng.h"
#include "walk.h"

enum { RANDOM_NODES = 400 };

static char dir[] = "/tmp/assetfs-tree-XXXXXX";
static const struct walk_options plain;

static void enter_dir(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
}

static void leave_dir(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_expect_eq(chdir("/"), 0);
	/* The name is mkdtemp()'s. NOLINTNEXTLINE(cert-env33-c,concurrency-mt-unsafe) */
	cr_expect_eq(system(command), 0);
}

TestSuite(tree, .init = enter_dir, .fini = leave_dir);

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t len = (ssize_t)strlen(text);

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(write(fd, text, (size_t)len), len);
	(void)close(fd);
}

static void make_dir(const char *path)
{
	cr_assert_eq(mkdir(path, 0755), 0, "%s", path);
}

static void must_walk(const char *path, unsigned rank, struct source *ret)
{
	struct err err = ERR_INIT;

	cr_assert_eq(walk(path, rank, &plain, ret, &err), 0, "%s", err.msg);
}

/* The node that is the @n-th created, from 0. */
static struct tree_node *nth(struct source *source, unsigned n)
{
	struct tree_node *node = &source->root;

	while (node && n-- > 0)
		node = tree_next(node);
	if (!node)
		abort();
	return node;
}

/* The paths of all nodes in order of creation, each with a blank behind it. */
static const char *list_nodes(struct source *source, char *text, size_t size)
{
	CLEANUP(path_buf_release) struct path_buf buf = PATH_BUF_INIT;
	size_t used = 0;

	for (struct tree_node *n = &source->root; n; n = tree_next(n))
		used += (size_t)snprintf(text + used, size - used, "%s ", tree_path(n, &buf));
	return text;
}

Test(tree, walk_finds_directory_after_directory_in_order_of_names)
{
	struct source source;
	char text[256];

	make_dir("s");
	make_dir("s/b");
	make_dir("s/a");
	make_dir("s/a/z");
	make_dir("s/c");
	write_file("s/a/z/deep", "");
	write_file("s/c/2", "");
	write_file("s/c/1", "");
	write_file("s/B", "");
	cr_assert_eq(symlink("B", "s/a/link"), 0);
	cr_assert_eq(link("s/c/2", "s/c/3"), 0);
	cr_assert_eq(mkfifo("s/c/0", 0600), 0);
	must_walk("s", 0, &source);
	cr_expect_str_eq(list_nodes(&source, text, sizeof(text)),
	                 " B a b c a/link a/z c/1 c/2 a/z/deep ");
	cr_expect_eq(source.n_nodes, 10);
	cr_expect_eq(source.n_other_names, 1);
	cr_expect_eq(nth(&source, 4)->n_children, 3, "the pipe is left out");
	cr_expect_eq(tree_named(&nth(&source, 4)->children[2]), nth(&source, 8));
	cr_expect_str_eq(nth(&source, 5)->target, "B");
	cr_expect_eq(tree_source(nth(&source, 9)), &source);
	source_release(&source);
}

/* Random nodes, each below one before it. */
struct forest {
	struct tree_node nodes[RANDOM_NODES];
	char names[RANDOM_NODES][4];
};

static void make_forest(struct forest *f)
{
	static const char letters[] = "a-.0~\x01\xc3"; /* below and above the slash */
	struct prng prng = PRNG_INIT(1);

	f->nodes[0] = (struct tree_node){ .name = "" };
	for (size_t i = 1; i < RANDOM_NODES; i++) {
		size_t len = 1 + prng_below(&prng, 3);

		for (size_t k = 0; k < len; k++)
			f->names[i][k] = letters[prng_below(&prng, sizeof(letters) - 1)];
		f->nodes[i] = (struct tree_node){
			.parent = &f->nodes[prng_below(&prng, i)],
			.name = f->names[i],
		};
	}
}

/* Compare paths as text in which nothing is below the slash. */
static int compare_texts(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (*a == '/' || *b == '/')
		return *a == *b ? 0 : !*a ? -1 : !*b ? 1 : *a == '/' ? -1 : 1;
	return (unsigned char)*a - (unsigned char)*b;
}

Test(tree, paths_are_compared_name_by_name)
{
	CLEANUP(free) struct forest *f = calloc(1, sizeof(*f));
	CLEANUP(free) struct forest *other = calloc(1, sizeof(*other));
	CLEANUP(path_buf_release) struct path_buf x = PATH_BUF_INIT;
	CLEANUP(path_buf_release) struct path_buf y = PATH_BUF_INIT;

	cr_assert(f && other);
	make_forest(f);
	make_forest(other);
	for (size_t i = 0; i < RANDOM_NODES; i++) {
		const char *a = tree_path(&f->nodes[i], &x);

		for (size_t k = 0; k < RANDOM_NODES; k++) {
			const char *b = tree_path(&f->nodes[k], &y);
			int want = compare_texts(a, b);
			int same = tree_path_cmp(&f->nodes[i], &f->nodes[k]);
			int across = tree_path_cmp(&f->nodes[i], &other->nodes[k]);

			cr_assert_eq((want > 0) - (want < 0), (same > 0) - (same < 0), "%s|%s", a,
			             b);
			cr_assert_eq((want > 0) - (want < 0), (across > 0) - (across < 0), "%s|%s",
			             a, b);
		}
	}
}

Test(tree, a_directory_is_before_what_it_holds_and_before_longer_names)
{
	struct tree_node root = { .name = "" };
	struct tree_node a = { .parent = &root, .name = "a" };
	struct tree_node below = { .parent = &a, .name = "z" };
	struct tree_node longer = { .parent = &root, .name = "a-b" };
	CLEANUP(path_buf_release) struct path_buf buf = PATH_BUF_INIT;

	cr_expect_lt(tree_path_cmp(&root, &a), 0);
	cr_expect_lt(tree_path_cmp(&a, &below), 0);
	cr_expect_gt(tree_path_cmp(&below, &a), 0);
	cr_expect_lt(tree_path_cmp(&below, &longer), 0, "though '-' is below '/'");
	cr_expect_eq(tree_path_cmp(&below, &below), 0);
	cr_expect_str_eq(tree_path(&root, &buf), "");
	cr_expect_str_eq(tree_path(&below, &buf), "a/z");
}

Test(tree, a_stamp_depends_on_each_field)
{
	struct stat st[8];
	struct stat seen = { .st_dev = 1, .st_ino = 2, .st_size = 3 };

	for (size_t i = 0; i < 8; i++)
		st[i] = seen;
	st[1].st_dev++;
	st[2].st_ino++;
	st[3].st_size++;
	st[4].st_mtim.tv_sec++;
	st[5].st_mtim.tv_nsec++;
	st[6].st_ctim.tv_sec++;
	st[7].st_ctim.tv_nsec++;
	for (size_t i = 0; i < 8; i++) {
		for (size_t k = 0; k < i; k++)
			cr_expect_neq(tree_stamp(&st[i]), tree_stamp(&st[k]), "%zu and %zu", i, k);
	}
	seen.st_atim.tv_sec = 99;
	seen.st_nlink = 4;
	cr_expect_eq(tree_stamp(&seen), tree_stamp(&st[0]), "reading a file leaves its stamp");
}

Test(tree, a_file_is_fresh_for_two_seconds)
{
	const struct timespec began = { .tv_sec = 100, .tv_nsec = 500 };
	struct stat st = {
		.st_mtim = { .tv_sec = 98, .tv_nsec = 499 },
		.st_ctim = { .tv_sec = 98, .tv_nsec = 499 },
	};

	cr_expect_not(tree_is_fresh(&st, &began));
	st.st_mtim.tv_nsec = 500;
	cr_expect(tree_is_fresh(&st, &began));
	st.st_mtim.tv_sec = 1;
	cr_expect_not(tree_is_fresh(&st, &began));
	st.st_ctim.tv_sec = 2000;
	cr_expect(tree_is_fresh(&st, &began), "clocks that are ahead are not trusted");
}

Test(tree, walk_marks_what_was_just_written)
{
	const struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct source source;

	make_dir("s");
	write_file("s/new", "x");
	cr_assert_eq(utimensat(AT_FDCWD, "s/new", long_ago, 0), 0);
	must_walk("s", 0, &source);
	cr_expect(nth(&source, 1)->fresh, "whatever its modification time says");
	source_release(&source);
}

Test(tree, a_rewritten_file_is_noticed_when_size_and_time_stay)
{
	const struct timespec time[2] = { { .tv_sec = 7 }, { .tv_sec = 7 } };
	CLEANUP(input_release) struct input in = INPUT_INIT;
	struct source source;
	struct err err = ERR_INIT;
	struct stat before, now;
	char byte;

	make_dir("s");
	make_dir("s/d");
	write_file("s/d/f", "1");
	cr_assert_eq(utimensat(AT_FDCWD, "s/d/f", time, 0), 0);
	cr_assert_eq(stat("s/d/f", &before), 0);
	must_walk("s", 0, &source);
	cr_assert_eq(input_open(&in, nth(&source, 2), &err), 0, "%s", err.msg);
	cr_expect_eq(input_read(&in, &byte, 1, 0, &err), 0);
	cr_expect_eq(byte, '1');
	cr_expect_eq(input_close(&in, &err), 0);
	do { /* until the clock has ticked */
		write_file("s/d/f", "2");
		cr_assert_eq(utimensat(AT_FDCWD, "s/d/f", time, 0), 0);
		cr_assert_eq(stat("s/d/f", &now), 0);
	} while (now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
	cr_expect_eq(input_open(&in, nth(&source, 2), &err), -EAGAIN);
	cr_expect_not_null(strstr(err.msg, "'d/f' changed while it was packed"), "%s", err.msg);
	source_release(&source);
}

Test(tree, input_follows_no_link_that_took_a_directorys_place)
{
	CLEANUP(input_release) struct input in = INPUT_INIT;
	struct source source, other;
	struct err err = ERR_INIT;

	make_dir("s");
	make_dir("s/d");
	make_dir("s/d/e");
	write_file("s/d/e/f", "1");
	make_dir("o");
	write_file("o/g", "2");
	must_walk("s", 0, &source);
	must_walk("o", 1, &other);
	cr_assert_eq(rename("s/d", "moved"), 0);
	cr_assert_eq(symlink("../moved", "s/d"), 0);
	cr_expect_lt(input_open(&in, nth(&source, 3), &err), 0);
	cr_expect_not_null(strstr(err.msg, "'d/e/f' could not be read"), "%s", err.msg);
	cr_assert_eq(input_open(&in, nth(&other, 1), &err), 0, "another source: %s", err.msg);
	cr_expect_eq(input_close(&in, &err), 0);
	source_release(&source);
	source_release(&other);
}

/* All entries of @tree as "place: name=place name=place; ". */
static const char *list_entries(const struct platform_tree *tree, char *text, size_t size)
{
	struct tree_entries e = TREE_ENTRIES_INIT(tree);
	struct placed_entry entry;
	size_t used = 0;

	for (uint32_t i = 0; i < tree->n_nodes; i++) {
		uint32_t n = 0;

		if (!S_ISDIR(tree->nodes[i].node->mode))
			continue;
		used += (size_t)snprintf(text + used, size - used, "%u:", i);
		tree_entries_begin(&e, i);
		for (; tree_entries_next(&e, &entry); n++)
			used += (size_t)snprintf(text + used, size - used, " %s=%u", entry.name,
			                         entry.place);
		used += (size_t)snprintf(text + used, size - used, "; ");
		cr_expect_eq(n, tree->nodes[i].n_entries);
	}
	return text;
}

/* Hard links across directories; an overlay that hides first names, merges and replaces. */
static void make_layers(struct source *base, struct source *over)
{
	make_dir("b");
	make_dir("b/d");
	make_dir("b/e");
	make_dir("b/gone");
	write_file("b/a", "a");
	write_file("b/x", "x");
	write_file("b/gone/file", "g");
	cr_assert_eq(link("b/a", "b/d/a"), 0);
	cr_assert_eq(link("b/a", "b/e/a"), 0);
	cr_assert_eq(link("b/x", "b/d/y"), 0);
	make_dir("o");
	make_dir("o/d");
	make_dir("o/x");
	write_file("o/a", "new");
	write_file("o/gone", "a file now");
	write_file("o/x/in", "");
	write_file("o/d/z", "z");
	cr_assert_eq(link("o/d/z", "o/d/zz"), 0);
	must_walk("b", 0, base);
	must_walk("o", 1, over);
}

Test(tree, entries_follow_from_the_order_of_nodes)
{
	static const char alone[] = "0: a=1 d=2 e=3 gone=4 x=5; 2: a=1 y=5; 3: a=1; 4: file=6; ";
	static const char both[] = "0: a=1 d=2 e=3 gone=4 x=5; 2: a=6 y=7 z=8 zz=8; "
				   "3: a=6; 5: in=9; ";
	struct source base, over;
	struct platform_tree trees[3];
	struct err err = ERR_INIT;
	char text[256];

	make_layers(&base, &over);
	cr_assert_eq(platform_tree_build(&base, &over, 0, &trees[0], &err), 0);
	cr_assert_eq(platform_tree_build(&base, NULL, 1, &trees[1], &err), 0);
	cr_assert_eq(platform_tree_build(&base, &over, 0, &trees[2], &err), 0);
	cr_expect_str_eq(list_entries(&trees[0], text, sizeof(text)), both);
	cr_expect_str_eq(list_entries(&trees[1], text, sizeof(text)), alone);
	cr_expect_str_eq(list_entries(&trees[2], text, sizeof(text)), both);
	cr_expect_eq(trees[0].nodes[6].nlink, 2, "the name that is hidden does not count");
	cr_expect_eq(trees[0].nodes[8].nlink, 2);
	cr_expect_eq(trees[0].nodes[0].nlink, 5);
	cr_expect_eq(trees[1].nodes[1].nlink, 3);
	cr_expect_eq(trees[0].n_files, 6);
	cr_expect_eq(trees[0].n_dirs, 4);
	cr_expect_eq(trees[1].nodes[1].node->platforms, 3);
	for (size_t i = 0; i < 3; i++)
		platform_tree_release(&trees[i]);
	source_release(&base);
	source_release(&over);
}

Test(arena, pieces_are_apart_aligned_and_of_any_size)
{
	static const size_t sizes[] = { 1, 13, 80, 4096, 300000, 1 << 20, 3 << 20 };
	CLEANUP(arena_release) struct arena arena = ARENA_INIT;
	struct prng prng = PRNG_INIT(1);
	uint8_t *pieces[200];
	size_t size[200];

	for (unsigned i = 0; i < 200; i++) {
		size[i] = sizes[prng_below(&prng, 7)];
		pieces[i] = arena_alloc(&arena, size[i], 1u << i % 5);
		cr_assert_not_null(pieces[i]);
		cr_expect_eq((uintptr_t)pieces[i] % (1u << i % 5), 0);
		memset(pieces[i], (int)i, size[i]);
	}
	for (unsigned i = 0; i < 200; i++) {
		for (size_t k = 0; k < size[i]; k++)
			cr_assert_eq(pieces[i][k], (uint8_t)i);
	}
	cr_expect_null(arena_array(&arena, SIZE_MAX / 2, 80));
	cr_expect_null(arena_alloc(&arena, SIZE_MAX, 1));
	cr_expect_str_eq(arena_copy(&arena, "text", 2), "te");
}
