/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as an index: whatever opens can be walked to its end, and all that the
 * walk is given keeps the promises of index.h.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "index.h"

static void check_result(int r, const struct err *err)
{
	if (r < 0) {
		must_explain(r, err);
		must(r != -ENOENT && r != -EINVAL);
	}
}

static void check_chunk(const struct index *idx, const struct chunk *c)
{
	const struct pack_info *pack = index_pack(idx, c->pack);

	must(pack && c->id > 0 && c->size >= 1 && c->size <= FORMAT_CHUNK_MAX);
	must(c->frame_size >= 1 && c->frame_size <= FORMAT_FRAME_MAX);
	must(c->frame_size <= pack->size && c->frame_off <= pack->size - c->frame_size);
}

static void check_extent(const struct index *idx, const struct content *c, const struct extent *e)
{
	must(e->content == c->id && e->len >= 1 && e->len <= c->size);
	must(e->off <= c->size - e->len);
	must(e->len <= e->chunk.size && e->chunk_off <= e->chunk.size - e->len);
	check_chunk(idx, &e->chunk);
}

static int visit_content(void *arg, const struct content *content)
{
	CLEANUP(free) struct extent *extents = NULL;
	struct index *idx = arg;
	struct err err = ERR_INIT;
	struct content found;
	uint64_t end = 0;
	uint32_t n = 0;
	int r = index_extents(idx, content, &extents, &n, &err);

	must(content->size >= 1 && content->size <= FORMAT_FILE_MAX);
	check_result(r, &err);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		check_extent(idx, content, &extents[i]);
		must(extents[i].off >= end && extents[i].seq == i);
		end = extents[i].off + extents[i].len;
	}
	r = index_find_content(idx, &content->digest, &found, &err);
	check_result(r, &err);
	must(r < 1 || found.size >= 1);
	return 0;
}

static int visit_extents(void *arg, const struct content *content, struct extent *extents,
                         uint32_t n)
{
	struct index *idx = arg;
	uint64_t end = 0;

	for (uint32_t i = 0; i < n; i++) {
		check_extent(idx, content, &extents[i]);
		must(extents[i].off >= end && extents[i].seq == i);
		end = extents[i].off + extents[i].len;
	}
	return 0;
}

/* What the extents of one chunk must be. */
struct chunk_walk {
	struct index *idx;
	const struct chunk *chunk;
	uint64_t content, end; /* of the extent before */
};

static int visit_extent(void *arg, const struct content *content, const struct extent *extent)
{
	struct chunk_walk *w = arg;

	check_extent(w->idx, content, extent);
	must(content->size >= 1 && content->size <= FORMAT_FILE_MAX);
	must(extent->chunk.id == w->chunk->id && content->id >= w->content);
	must(content->id > w->content || extent->off >= w->end);
	w->content = content->id;
	w->end = extent->off + extent->len;
	return 0;
}

static int visit_chunk(void *arg, const struct chunk *chunk)
{
	struct chunk_walk w = { .idx = arg, .chunk = chunk };
	struct err err = ERR_INIT;

	check_chunk(w.idx, chunk);
	check_result(index_chunk_extents(w.idx, chunk->id, visit_extent, &w, &err), &err);
	return 0;
}

static void check_node(const struct node *n)
{
	must(n->ino >= 1 && n->nlink >= 1 && n->mtime_ns <= 999999999);
	must(S_ISREG(n->mode) || S_ISDIR(n->mode) || S_ISLNK(n->mode));
	must((n->mode & ~(uint32_t)S_IFMT) <= 01777);
	must(!S_ISREG(n->mode) || n->size <= FORMAT_FILE_MAX);
	must((n->content != 0) == (S_ISREG(n->mode) && n->size > 0));
}

struct walk {
	struct index *idx;
	uint64_t seq;
	uint64_t dir;
};

static int visit_entry(void *arg, const struct dir_entry *entry)
{
	struct walk *w = arg;
	struct node found;
	struct err err = ERR_INIT;
	int r;

	must(entry->seq == ++w->seq && strlen(entry->name) == entry->name_len);
	must(entry->name_len >= 1 && entry->name_len <= FORMAT_NAME_MAX);
	must(!strchr(entry->name, '/') && strcmp(entry->name, ".") != 0 &&
	     strcmp(entry->name, "..") != 0);
	must(!S_ISDIR(entry->node.mode) || entry->node.ino > w->dir);
	check_node(&entry->node);
	r = index_lookup(w->idx, w->dir, entry->name, entry->name_len, &found, &err);
	check_result(r, &err);
	if (r == 1)
		check_node(&found);
	return 0;
}

static void check_xattrs(struct index *idx, uint64_t ino)
{
	CLEANUP(free) char *names = NULL;
	CLEANUP(free) void *value = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;
	int r = index_xattr_names(idx, ino, &names, &len, &err);

	check_result(r, &err);
	if (r < 0 || len == 0)
		return;
	for (size_t at = 0; at < len; at += strlen(names + at) + 1)
		must(strncmp(names + at, "user.", 5) == 0 && strlen(names + at) <= 255);
	r = index_xattr(idx, ino, names, &value, &len, &err);
	check_result(r, &err);
	must(r < 1 || len <= 65536);
}

static int visit_node(void *arg, const struct node *node)
{
	char target[FORMAT_TARGET_MAX + 1], path[64];
	struct walk w = { .idx = arg, .dir = node->ino };
	struct err err = ERR_INIT;
	uint64_t parent = 0;
	int r;

	check_node(node);
	if (S_ISDIR(node->mode)) {
		check_result(index_list(w.idx, node->ino, 0, visit_entry, &w, &err), &err);
		r = index_parent(w.idx, node->ino, &parent, &err);
		check_result(r, &err);
		must(r < 1 || (parent >= 1 && parent <= node->ino));
	}
	if (S_ISLNK(node->mode)) {
		/* A scan and a search of a damaged tree of pages may find different rows. */
		r = index_target(w.idx, node->ino, target, &err);
		if (r < 0)
			must_explain(r, &err);
		else
			must(target[0] != '\0' && strlen(target) <= FORMAT_TARGET_MAX);
	}
	index_path(w.idx, node->ino, path, sizeof(path));
	must(strlen(path) < sizeof(path));
	check_xattrs(w.idx, node->ino);
	return 0;
}

static void walk(struct index *idx)
{
	struct err err = ERR_INIT;

	check_result(index_each_chunk(idx, visit_chunk, idx, &err), &err);
	check_result(index_each_content(idx, visit_content, idx, &err), &err);
	check_result(index_each_extents(idx, visit_extents, idx, &err), &err);
	check_result(index_each_node(idx, visit_node, idx, &err), &err);
	check_result(index_check(idx, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(close) int fd = memfd_create("index", MFD_CLOEXEC);
	CLEANUP(index_close) struct index *idx = NULL;
	struct err err = ERR_INIT;
	char path[32];
	int r;

	must(fd >= 0 && io_pwrite(fd, data, size, 0) == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = index_open(path, &idx, &err);
	check_result(r, &err);
	if (r == 0)
		walk(idx);
	return 0;
}
