/* SPDX-License-Identifier: Apache-2.0 */
/* index: everything that was written is found again. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "index_writer.h"
#include "sample.h"

static char dir[SAMPLE_PATH_MAX];
static char path[SAMPLE_PATH_MAX]; /* of the sample's index */

static void make_index(void)
{
	struct err err = ERR_INIT;

	sample_dir(dir);
	cr_assert_eq(sample_index(sample_path(dir, "index.sqlite", path), &err), 0, "%s", err.msg);
}

static void remove_index(void)
{
	sample_dir_remove(dir);
}

TestSuite(index, .init = make_index, .fini = remove_index);

static struct index *open_index(void)
{
	struct index *idx = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(index_open(path, &idx, &err), 0, "%s", err.msg);
	return idx;
}

Test(index, says_how_much_it_holds)
{
	CLEANUP(index_close) struct index *idx = open_index();
	const struct index_info *info = index_info(idx);

	cr_expect_eq(info->n_packs, SAMPLE_N_PACKS);
	cr_expect_eq(info->n_chunks, SAMPLE_N_CHUNKS);
	cr_expect_eq(info->n_contents, 3);
	cr_expect_eq(info->n_nodes, SAMPLE_N_NODES);
	cr_expect_eq(info->n_files, 4);
	cr_expect_eq(info->bytes, 10 + 5 + SAMPLE_DEEP);
	cr_expect_eq(info->content_bytes, 10 + 5 + SAMPLE_DEEP);
	cr_expect(info->has_xattrs);
	cr_assert_not_null(index_pack(idx, 2));
	cr_expect_eq(index_pack(idx, 2)->digest.bytes[0], 2);
	cr_expect_eq(index_pack(idx, 2)->size, 1000);
	cr_expect_null(index_pack(idx, 0));
	cr_expect_null(index_pack(idx, 3));
}

Test(index, gives_nodes_by_number)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct node n;

	cr_assert_eq(index_node(idx, 2, &n, NULL), 1);
	cr_expect_eq(n.ino, 2);
	cr_expect_eq(n.mode, S_IFREG | 0644);
	cr_expect_eq(n.nlink, 2);
	cr_expect_eq(n.mtime_s, -5);
	cr_expect_eq(n.mtime_ns, 999999999);
	cr_expect_eq(n.size, 10);
	cr_expect_eq(n.content, 1);
	cr_assert_eq(index_node(idx, 4, &n, NULL), 1);
	cr_expect_eq(n.uid, 1000);
	cr_expect_eq(n.gid, 4294967294);
	cr_expect_eq(n.content, 0);
	cr_assert_eq(index_node(idx, 3, &n, NULL), 1);
	cr_expect_eq(n.mode, S_IFDIR | 01777);
	cr_expect_eq(index_node(idx, 0, &n, NULL), 0);
	cr_expect_eq(index_node(idx, 9, &n, NULL), 0);
	cr_expect_eq(index_node(idx, UINT64_MAX, &n, NULL), 0);
}

Test(index, looks_names_up_byte_by_byte)
{
	CLEANUP(index_close) struct index *idx = open_index();
	char long_name[257];
	struct node n;

	memset(long_name, 'n', sizeof(long_name));
	cr_assert_eq(index_lookup(idx, 1, "a.txt", 5, &n, NULL), 1);
	cr_expect_eq(n.ino, 2);
	cr_assert_eq(index_lookup(idx, 1, "other", 5, &n, NULL), 1);
	cr_expect_eq(n.ino, 2, "hard links are one node");
	cr_assert_eq(index_lookup(idx, 1, "\377\376", 2, &n, NULL), 1);
	cr_expect_eq(n.ino, 6);
	cr_assert_eq(index_lookup(idx, 3, long_name, 255, &n, NULL), 1);
	cr_expect_eq(n.ino, 8);
	cr_expect_eq(index_lookup(idx, 3, long_name, 254, &n, NULL), 0);
	cr_expect_eq(index_lookup(idx, 3, long_name, 256, &n, NULL), 0);
	cr_expect_eq(index_lookup(idx, 1, "A.TXT", 5, &n, NULL), 0);
	cr_expect_eq(index_lookup(idx, 1, "a.tx", 4, &n, NULL), 0);
	cr_expect_eq(index_lookup(idx, 1, "", 0, &n, NULL), 0);
	cr_expect_eq(index_lookup(idx, 99, "a.txt", 5, &n, NULL), 0);
}

Test(index, resolves_paths_without_following_links)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct node n;

	cr_assert_eq(index_resolve(idx, "d/deep.bin", &n, NULL), 1);
	cr_expect_eq(n.ino, 7);
	cr_assert_eq(index_resolve(idx, "//d///deep.bin/", &n, NULL), 1);
	cr_expect_eq(n.ino, 7);
	cr_assert_eq(index_resolve(idx, "", &n, NULL), 1);
	cr_expect_eq(n.ino, 1);
	cr_assert_eq(index_resolve(idx, "/", &n, NULL), 1);
	cr_expect_eq(n.ino, 1);
	cr_assert_eq(index_resolve(idx, "link", &n, NULL), 1);
	cr_expect_eq(n.ino, 5);
	cr_expect_eq(index_resolve(idx, "link/x", &n, NULL), 0);
	cr_expect_eq(index_resolve(idx, "d/..", &n, NULL), 0);
	cr_expect_eq(index_resolve(idx, "a.txt/x", &n, NULL), 0);
}

struct listing {
	struct index *idx;
	uint64_t inos[10];
	uint64_t seqs[10];
	size_t n;
	size_t stop_at; /* entries after which to stop */
	bool nested;    /* ask the index something in the callback */
};

static int collect(void *arg, const struct dir_entry *entry)
{
	struct listing *l = arg;
	struct node n;

	cr_assert_eq(strlen(entry->name), entry->name_len);
	cr_assert_lt(l->n, 10);
	l->inos[l->n] = entry->node.ino;
	l->seqs[l->n++] = entry->seq;
	if (l->nested) {
		cr_assert_eq(index_lookup(l->idx, 3, "deep.bin", 8, &n, NULL), 1);
		cr_assert_eq(index_node(l->idx, entry->node.ino, &n, NULL), 1);
		cr_assert_eq(n.size, entry->node.size);
	}
	return l->n == l->stop_at ? 1 : 0;
}

Test(index, lists_in_order_of_names)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct listing l = { .idx = idx, .nested = true };
	static const uint64_t expected[] = { 2, 3, 4, 5, 2, 6 };

	cr_assert_eq(index_list(idx, 1, 0, collect, &l, NULL), 0);
	cr_assert_eq(l.n, 6);
	cr_expect_eq(memcmp(l.inos, expected, sizeof(expected)), 0);
	l.n = 0;
	cr_expect_eq(index_list(idx, 8, 0, collect, &l, NULL), 0);
	cr_expect_eq(l.n, 0, "an empty directory has no entries");
}

Test(index, goes_on_with_a_listing_where_it_stopped)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct listing l = { .idx = idx, .stop_at = 2 };
	static const uint64_t expected[] = { 2, 3, 4, 5, 2, 6 };

	cr_assert_eq(index_list(idx, 1, 0, collect, &l, NULL), 1);
	cr_assert_eq(l.n, 2);
	l.stop_at = 0;
	cr_assert_eq(index_list(idx, 1, l.seqs[1], collect, &l, NULL), 0);
	cr_assert_eq(l.n, 6);
	cr_expect_eq(memcmp(l.inos, expected, sizeof(expected)), 0);
	cr_expect_eq(index_list(idx, 1, 6, collect, &l, NULL), 0);
	cr_expect_eq(index_list(idx, 1, UINT64_MAX, collect, &l, NULL), 0);
	cr_expect_eq(l.n, 6);
}

static int fail(void *arg, const struct dir_entry *entry)
{
	(void)arg;
	(void)entry;
	return -ECANCELED;
}

Test(index, hands_the_error_of_a_callback_on)
{
	CLEANUP(index_close) struct index *idx = open_index();

	cr_expect_eq(index_list(idx, 1, 0, fail, NULL, NULL), -ECANCELED);
}

Test(index, knows_parents_and_paths)
{
	CLEANUP(index_close) struct index *idx = open_index();
	uint64_t parent = 0;
	char buf[300], small[8];

	cr_assert_eq(index_parent(idx, 1, &parent, NULL), 1);
	cr_expect_eq(parent, 1);
	cr_assert_eq(index_parent(idx, 3, &parent, NULL), 1);
	cr_expect_eq(parent, 1);
	cr_assert_eq(index_parent(idx, 8, &parent, NULL), 1);
	cr_expect_eq(parent, 3);
	cr_expect_eq(index_parent(idx, 7, &parent, NULL), 0, "files may have several");
	index_path(idx, 1, buf, sizeof(buf));
	cr_expect_str_eq(buf, "");
	index_path(idx, 2, buf, sizeof(buf));
	cr_expect_str_eq(buf, "a.txt");
	index_path(idx, 7, buf, sizeof(buf));
	cr_expect_str_eq(buf, "d/deep.bin");
	index_path(idx, 8, buf, sizeof(buf));
	cr_expect_eq(strlen(buf), 257);
	index_path(idx, 7, small, sizeof(small));
	cr_expect_str_eq(small, "....bin");
	index_path(idx, 99, buf, sizeof(buf));
	cr_expect_str_eq(buf, "inode 99");
}

Test(index, reads_link_targets)
{
	CLEANUP(index_close) struct index *idx = open_index();
	char target[FORMAT_TARGET_MAX + 1];

	cr_assert_eq(index_target(idx, 5, target, NULL), 0);
	cr_expect_str_eq(target, "d/deep.bin");
	cr_expect_eq(index_target(idx, 2, target, NULL), -EINVAL);
	cr_expect_eq(index_target(idx, 99, target, NULL), -ENOENT);
}

Test(index, gives_extents_around_holes)
{
	CLEANUP(index_close) struct index *idx = open_index();
	CLEANUP(free) struct extent *e = NULL;
	struct content c;
	uint32_t n = 0;
	struct content found;

	cr_assert_eq(index_content(idx, 2, &c, NULL), 0);
	cr_expect_eq(c.size, SAMPLE_DEEP);
	cr_assert_eq(index_extents(idx, &c, &e, &n, NULL), 0);
	cr_assert_eq(n, 2);
	cr_expect_eq(e[0].off, 0);
	cr_expect_eq(e[0].len, SAMPLE_CHUNK2);
	cr_expect_eq(e[0].chunk.id, 2);
	cr_expect_eq(e[0].chunk.frame_off, 100);
	cr_expect_eq(e[0].seq, 0);
	cr_expect_eq(e[1].off, 1800);
	cr_expect_eq(e[1].content, 2);
	cr_expect_eq(e[1].chunk.pack, 2);
	cr_expect_eq(e[1].chunk.size, SAMPLE_CHUNK3);
	cr_expect_eq(e[1].seq, 1);
	cr_assert_eq(index_find_content(idx, &c.digest, &found, NULL), 1);
	cr_expect_eq(found.size, SAMPLE_DEEP);
	cr_expect_eq(found.id, 2);
	c.digest.bytes[5] ^= 1;
	cr_expect_eq(index_find_content(idx, &c.digest, &found, NULL), 0);
	cr_expect_eq(index_content(idx, 4, &c, NULL), -EBADMSG);
}

/* Ranges are looked up as they are found among all extents. */
Test(index, gives_extents_of_a_range)
{
	CLEANUP(index_close) struct index *idx = open_index();
	CLEANUP(free) struct extent *all = NULL;
	struct content c;
	uint32_t n_all;

	cr_assert_eq(index_content(idx, 2, &c, NULL), 0);
	cr_assert_eq(index_extents(idx, &c, &all, &n_all, NULL), 0);
	for (uint64_t start = 0; start < c.size; start += 50) {
		for (uint64_t end = start + 1; end <= c.size; end += 99) {
			const struct index_range range = { .start = start, .end = end };
			CLEANUP(free) struct extent *some = NULL;
			uint32_t n, k = 0;

			cr_assert_eq(index_extents_in(idx, &c, &range, &some, &n, NULL), 0);
			for (uint32_t i = 0; i < n_all; i++) {
				if (all[i].off >= end || all[i].off + all[i].len <= start)
					continue;
				/* One that ends before the range may come first. */
				while (k < n && some[k].off + some[k].len <= start)
					k++;
				cr_assert_lt(k, n);
				cr_assert_eq(some[k++].off, all[i].off);
			}
			cr_assert_eq(k < n ? some[k].off + some[k].len <= start : 1, 1);
		}
	}
}

struct extents {
	struct extent extent[4];
	size_t n, stop_after;
};

static int collect_extent(void *arg, const struct content *content, const struct extent *extent)
{
	struct extents *all = arg;

	cr_assert_lt(all->n, 4);
	cr_expect_eq(extent->content, content->id);
	all->extent[all->n++] = *extent;
	return all->n == all->stop_after ? 1 : 0;
}

struct gathering {
	struct index *idx;
	uint64_t last;
	size_t n_contents;
	size_t n_extents;
	size_t stop_at; /* contents after which to stop */
};

static int compare_extents(void *arg, const struct content *content, struct extent *extents,
                           uint32_t n)
{
	struct gathering *g = arg;
	CLEANUP(free) struct extent *expected = NULL;
	struct content c;
	uint32_t n_expected;

	cr_assert_gt(content->id, g->last);
	g->last = content->id;
	cr_assert_eq(index_content(g->idx, content->id, &c, NULL), 0);
	cr_expect_eq(content->size, c.size);
	cr_expect(digest_equal(&content->digest, &c.digest));
	cr_assert_eq(index_extents(g->idx, &c, &expected, &n_expected, NULL), 0);
	cr_assert_eq(n, n_expected);
	for (uint32_t i = 0; i < n; i++) {
		cr_expect_eq(extents[i].content, expected[i].content);
		cr_expect_eq(extents[i].seq, expected[i].seq);
		cr_expect_eq(extents[i].off, expected[i].off);
		cr_expect_eq(extents[i].len, expected[i].len);
		cr_expect_eq(extents[i].chunk_off, expected[i].chunk_off);
		cr_expect_eq(extents[i].chunk.id, expected[i].chunk.id);
		cr_expect_eq(extents[i].chunk.frame_off, expected[i].chunk.frame_off);
	}
	g->n_extents += n;
	return ++g->n_contents == g->stop_at;
}

Test(index, visits_contents_with_their_extents)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct gathering g = { .idx = idx };
	size_t n;

	cr_assert_eq(index_each_extents(idx, compare_extents, &g, NULL), 0);
	n = g.n_contents;
	cr_assert_eq(n, index_info(idx)->n_contents);
	cr_expect_gt(g.n_extents, 1);
	for (size_t i = 1; i <= n; i++) {
		g = (struct gathering){ .idx = idx, .stop_at = i };
		cr_expect_eq(index_each_extents(idx, compare_extents, &g, NULL), 1);
		cr_expect_eq(g.n_contents, i, "stopped by the callback");
	}
}

Test(index, finds_all_extents_of_a_chunk)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct extents one = { .n = 0 }, first = { .stop_after = 1 }, three = { .n = 0 };
	struct extents none = { .n = 0 };

	cr_assert_eq(index_chunk_extents(idx, 1, collect_extent, &one, NULL), 0);
	cr_assert_eq(one.n, 2);
	cr_expect_eq(one.extent[0].content, 1);
	cr_expect_eq(one.extent[1].content, 3);
	cr_expect_eq(one.extent[1].chunk_off, 10);
	cr_expect_eq(one.extent[1].len, 5);
	cr_expect_eq(one.extent[1].chunk.size, SAMPLE_CHUNK1);
	cr_expect_eq(index_chunk_extents(idx, 1, collect_extent, &first, NULL), 1, "stopped");
	cr_expect_eq(first.n, 1);
	cr_assert_eq(index_chunk_extents(idx, 3, collect_extent, &three, NULL), 0);
	cr_assert_eq(three.n, 1, "its content has another extent, too");
	cr_expect_eq(three.extent[0].content, 2);
	cr_expect_eq(three.extent[0].off, 1800);
	cr_assert_eq(index_chunk_extents(idx, 99, collect_extent, &none, NULL), 0);
	cr_expect_eq(none.n, 0);
}

static int sum_chunk(void *arg, const struct chunk *chunk)
{
	*(uint64_t *)arg += chunk->size;
	return 0;
}

static int sum_content(void *arg, const struct content *content)
{
	*(uint64_t *)arg += content->size;
	return 0;
}

static int sum_node(void *arg, const struct node *node)
{
	*(uint64_t *)arg += node->ino;
	return node->ino == 7 ? 1 : 0;
}

Test(index, visits_all_rows)
{
	CLEANUP(index_close) struct index *idx = open_index();
	uint64_t chunks = 0, contents = 0, nodes = 0;

	cr_expect_eq(index_each_chunk(idx, sum_chunk, &chunks, NULL), 0);
	cr_expect_eq(chunks, SAMPLE_CHUNK1 + SAMPLE_CHUNK2 + SAMPLE_CHUNK3);
	cr_expect_eq(index_each_content(idx, sum_content, &contents, NULL), 0);
	cr_expect_eq(contents, 10 + 5 + SAMPLE_DEEP);
	cr_expect_eq(index_each_node(idx, sum_node, &nodes, NULL), 1, "stopped by the callback");
	cr_expect_eq(nodes, 1 + 2 + 3 + 4 + 5 + 6 + 7);
	cr_expect_eq(index_check(idx, NULL), 0);
}

Test(index, gives_xattrs)
{
	CLEANUP(index_close) struct index *idx = open_index();
	CLEANUP(free) char *names = NULL;
	CLEANUP(free) void *value = NULL;
	CLEANUP(free) void *empty = NULL;
	size_t len = 0;

	cr_assert_eq(index_xattr_names(idx, 2, &names, &len, NULL), 0);
	cr_assert_eq(len, 14);
	cr_expect_eq(memcmp(names, "user.a\0user.b", 14), 0);
	cr_assert_eq(index_xattr(idx, 2, "user.a", &value, &len, NULL), 1);
	cr_assert_eq(len, 1);
	cr_expect_eq(memcmp(value, "1", 1), 0);
	cr_assert_eq(index_xattr(idx, 2, "user.b", &empty, &len, NULL), 1);
	cr_expect_eq(len, 0);
	cr_expect_eq(index_xattr(idx, 2, "user.c", &empty, &len, NULL), 0);
	cr_expect_eq(index_xattr(idx, 3, "user.a", &empty, &len, NULL), 0);
}

Test(index, same_rows_give_the_same_bytes)
{
	CLEANUP(free) char *one = NULL;
	CLEANUP(free) char *two = NULL;
	CLEANUP(close) int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char again[SAMPLE_PATH_MAX];
	size_t n_one = 0, n_two = 0;

	cr_assert_eq(sample_index(sample_path(dir, "again.sqlite", again), NULL), 0);
	cr_assert_eq(io_read_file(dirfd, "index.sqlite", 1 << 20, &one, &n_one, NULL), 0);
	cr_assert_eq(io_read_file(dirfd, "again.sqlite", 1 << 20, &two, &n_two, NULL), 0);
	cr_assert_eq(n_one, n_two);
	cr_expect_eq(memcmp(one, two, n_one), 0);
}

Test(index, stays_readable_when_its_name_is_gone)
{
	CLEANUP(index_close) struct index *idx = open_index();
	struct listing l = { .idx = idx, .nested = true };

	cr_assert_eq(unlink(path), 0);
	cr_expect_eq(index_list(idx, 1, 0, collect, &l, NULL), 0, "more connections can be made");
	cr_expect_eq(l.n, 6);
}

Test(index, the_writer_refuses_rows_that_repeat)
{
	CLEANUP(index_writer_free) struct index_writer *w = NULL;
	struct content c = { .id = 1, .size = 1 };
	struct err err = ERR_INIT;
	char file[SAMPLE_PATH_MAX];

	CLEANUP(close)
	int fd = open(sample_path(dir, "new.sqlite", file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(index_writer_open(file, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(index_writer_content(w, &c, &err), 0, "%s", err.msg);
	cr_expect_eq(index_writer_content(w, &c, &err), -EINVAL);
	c.id = 2;
	cr_assert_eq(index_writer_content(w, &c, &err), 0, "%s", err.msg);
	cr_expect_eq(index_writer_finish(w, &err), -EINVAL, "two contents have one digest");
}

Test(index, the_writer_refuses_rows_out_of_order)
{
	CLEANUP(index_writer_free) struct index_writer *w = NULL;
	struct node root = { .ino = 2, .mode = S_IFDIR | 0755, .nlink = 2 };
	struct content c = { .id = 1, .size = 1 };
	struct err err = ERR_INIT;
	char file[SAMPLE_PATH_MAX];
	struct index_place place;

	CLEANUP(close)
	int fd = open(sample_path(dir, "new.sqlite", file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(index_writer_open(file, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(index_writer_node(w, &root, NULL, &err), 0, "%s", err.msg);
	root.ino = 1;
	cr_expect_eq(index_writer_node(w, &root, NULL, &err), -EINVAL);
	cr_assert_eq(index_writer_entry(w, 1, 1, "b", 2, &err), 0, "%s", err.msg);
	cr_expect_eq(index_writer_entry(w, 1, 2, "a", 2, &err), -EINVAL, "a name before the last");
	cr_expect_eq(index_writer_entry(w, 1, 1, "c", 2, &err), -EINVAL, "a place that is taken");
	cr_assert_eq(index_writer_end_contents(w, &place, &err), 0, "%s", err.msg);
	cr_expect_eq(index_writer_content(w, &c, &err), -EINVAL, "contents have ended");
}
