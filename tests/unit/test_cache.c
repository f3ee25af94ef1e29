/* SPDX-License-Identifier: Apache-2.0 */
/* cache: what was saved is found by its stamp; what is wrong in any way is empty. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "cache.h"
#include "sample.h"

#define N ((size_t)3000)

enum { FILE_MAX = 1 << 20, HEADER = 16, RECORD = 40 };

/* A tree of files and a list of their contents, in a layout of their own. */
struct fixture {
	char dir[SAMPLE_PATH_MAX];
	int dirfd;
	struct tree_node node[N];
	struct placed_node placed[N];
	struct new_content content[N];
	struct platform_tree tree;
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	cr_assert_not_null(f);
	sample_dir(f->dir);
	f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(f->dirfd, 0);
	for (uint64_t i = 0; i < N; i++) {
		/* Not in order of stamp. */
		f->node[i] = (struct tree_node){
			.mode = S_IFREG | 0644,
			.size = 1 + i,
			.stamp = (i + 1) * 0x9e3779b97f4a7c15u,
			.content = &f->content[i],
			.platforms = 1,
		};
		f->content[i].file = &f->node[i];
		f->placed[i].node = &f->node[i];
		sha256(&i, sizeof(i), &f->content[i].digest);
	}
	f->tree = (struct platform_tree){ .nodes = f->placed, .n_nodes = N };
	return f;
}

static void fixture_free(struct fixture *f)
{
	(void)close(f->dirfd);
	sample_dir_remove(f->dir);
	free(f);
}
DEFINE_CLEANUP(struct fixture *, fixture_free)

static void save(const struct fixture *f, const struct platform_tree *trees, unsigned n)
{
	CLEANUP(cache_close) struct cache *cache = cache_open(f->dirfd);

	cr_assert_not_null(cache);
	cr_assert_eq(cache_save(cache, f->dirfd, trees, n, NULL), 0);
}

/* The contents as a build that begins has them, filled from the cache. The caller frees them. */
static struct new_content *fill(struct fixture *f)
{
	CLEANUP(cache_close) struct cache *cache = cache_open(f->dirfd);
	struct new_content *list = calloc(N, sizeof(*list));

	cr_assert(cache && list);
	for (size_t i = 0; i < N; i++)
		list[i].file = &f->node[i];
	cache_fill(cache, list, N);
	return list;
}

/* How many were found; those have the digest that they had. */
static size_t count_found(struct fixture *f)
{
	CLEANUP(free) struct new_content *list = fill(f);
	size_t n = 0;

	for (size_t i = 0; i < N; i++) {
		if (!list[i].has_digest)
			continue;
		cr_assert(digest_equal(&list[i].digest, &list[i].file->content->digest));
		n++;
	}
	return n;
}

static bool is_found(struct fixture *f, size_t i)
{
	CLEANUP(free) struct new_content *list = fill(f);

	for (size_t k = 0; k < N; k++) {
		if (list[k].file == &f->node[i])
			return list[k].has_digest;
	}
	cr_assert_fail("a content is gone");
	return false;
}

static char *read_cache(const struct fixture *f, size_t *ret_len)
{
	char *bytes = NULL;

	cr_assert_eq(io_read_file(f->dirfd, ".assetpack-cache", FILE_MAX, &bytes, ret_len, NULL),
	             0);
	return bytes;
}

static void write_cache(const struct fixture *f, const char *bytes, size_t len)
{
	cr_assert_eq(io_publish_bytes(f->dirfd, ".assetpack-cache", bytes, len, 0644, NULL), 0);
}

/* Make the digest at the end right again. */
static void seal(char *bytes, size_t len)
{
	struct digest digest;

	sha256(bytes, len - sizeof(digest), &digest);
	memcpy(bytes + len - sizeof(digest), &digest, sizeof(digest));
}

Test(cache, finds_what_was_saved)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();

	cr_expect_eq(count_found(f), 0, "there is no cache yet");
	save(f, &f->tree, 1);
	cr_expect_eq(count_found(f), N);
}

Test(cache, does_not_find_what_has_changed)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();

	save(f, &f->tree, 1);
	f->node[5].stamp++;
	f->node[N - 1].stamp--;
	cr_expect_eq(count_found(f), N - 2);
	cr_expect_not(is_found(f, 5));
	cr_expect_not(is_found(f, N - 1));
}

Test(cache, finds_all_files_of_a_stamp)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();

	/* Later names of a file, and the same source for two platforms. */
	f->node[7].stamp = f->node[8].stamp;
	f->content[7].digest = f->content[8].digest;
	save(f, &f->tree, 1);
	cr_expect_eq(count_found(f), N);
}

Test(cache, leaves_out_what_may_change_unseen)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();

	f->node[0].fresh = true;
	f->node[1].content = NULL; /* empty */
	f->node[2].mode = S_IFLNK | 0777;
	save(f, &f->tree, 1);
	cr_expect_eq(count_found(f), N - 3);
	for (size_t i = 0; i < 3; i++)
		cr_expect_not(is_found(f, i));
}

Test(cache, saves_each_file_of_two_trees_once)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();
	struct platform_tree trees[2];
	size_t len;

	/* The first has two thirds, the second has the last two thirds. */
	for (size_t i = 0; i < N; i++)
		f->node[i].platforms = i < N / 3 ? 1 : i < N / 3 * 2 ? 3 : 2;
	trees[0] = (struct platform_tree){ .nodes = f->placed, .n_nodes = N / 3 * 2 };
	trees[1] = (struct platform_tree){ .nodes = f->placed + N / 3, .n_nodes = N / 3 * 2 };
	save(f, trees, 2);
	cr_expect_eq(count_found(f), N);
	free(read_cache(f, &len));
	cr_expect_eq(len, HEADER + N * RECORD + DIGEST_SIZE);
}

Test(cache, is_replaced_only_by_another)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();
	struct stat before, same, other;

	save(f, &f->tree, 1);
	cr_assert_eq(fstatat(f->dirfd, ".assetpack-cache", &before, 0), 0);
	save(f, &f->tree, 1);
	cr_assert_eq(fstatat(f->dirfd, ".assetpack-cache", &same, 0), 0);
	cr_expect(same.st_ino == before.st_ino && same.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
	f->content[9].digest.bytes[0] ^= 1;
	save(f, &f->tree, 1);
	cr_assert_eq(fstatat(f->dirfd, ".assetpack-cache", &other, 0), 0);
	cr_expect(other.st_ino != before.st_ino || other.st_ctim.tv_nsec != before.st_ctim.tv_nsec);
	cr_expect_eq(count_found(f), N);
}

Test(cache, of_nothing_is_found_to_be_empty)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();
	struct platform_tree nothing = PLATFORM_TREE_INIT;

	save(f, &f->tree, 1);
	save(f, &nothing, 1);
	cr_expect_eq(count_found(f), 0);
}

Test(cache, is_empty_when_it_is_damaged)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();
	CLEANUP(free) char *bytes = NULL;
	size_t len;

	save(f, &f->tree, 1);
	bytes = read_cache(f, &len);
	for (size_t at = 0; at < len; at += at < HEADER ? 1 : len / 20) {
		bytes[at] ^= 0x10;
		write_cache(f, bytes, len);
		cr_expect_eq(count_found(f), 0, "byte %zu", at);
		bytes[at] ^= 0x10;
	}
	write_cache(f, bytes, len);
	cr_expect_eq(count_found(f), N);
}

Test(cache, is_empty_when_it_is_cut_short_or_too_long)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();
	CLEANUP(free) char *bytes = NULL;
	static const size_t gone[] = { 1,
		                       DIGEST_SIZE,
		                       RECORD,
		                       DIGEST_SIZE + N * RECORD,
		                       DIGEST_SIZE + N * RECORD + 1,
		                       DIGEST_SIZE + N * RECORD + HEADER };
	size_t len;

	save(f, &f->tree, 1);
	bytes = read_cache(f, &len);
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		write_cache(f, bytes, len - gone[i]);
		cr_expect_eq(count_found(f), 0, "%zu bytes are gone", gone[i]);
	}
	bytes = realloc(bytes, len + 1);
	cr_assert_not_null(bytes);
	bytes[len] = 0;
	write_cache(f, bytes, len + 1);
	cr_expect_eq(count_found(f), 0);
}

Test(cache, is_empty_when_its_header_lies)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();
	CLEANUP(free) char *bytes = NULL;
	size_t len;

	save(f, &f->tree, 1);
	bytes = read_cache(f, &len);
	bytes[7] ^= 1; /* version */
	seal(bytes, len);
	write_cache(f, bytes, len);
	cr_expect_eq(count_found(f), 0);
	bytes[7] ^= 1;
	for (size_t i = 0; i < 8; i++) {
		bytes[8 + i] ^= 0x40; /* number of records */
		seal(bytes, len);
		write_cache(f, bytes, len);
		cr_expect_eq(count_found(f), 0);
		bytes[8 + i] ^= 0x40;
	}
	seal(bytes, len);
	write_cache(f, bytes, len);
	cr_expect_eq(count_found(f), N);
}

Test(cache, that_is_no_file_is_empty)
{
	CLEANUP(fixture_free) struct fixture *f = fixture_new();

	cr_assert_eq(mkfifoat(f->dirfd, ".assetpack-cache", 0600), 0);
	cr_expect_eq(count_found(f), 0);
	save(f, &f->tree, 1);
	cr_expect_eq(count_found(f), N, "it is replaced");
}
