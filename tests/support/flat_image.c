/* SPDX-License-Identifier: Apache-2.0 */
#include "flat_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index_writer.h"
#include "layout_writer.h"
#include "pack.h"

enum { CHUNKS_MAX = 4096 };

struct builder {
	struct pack_writer *pack;
	struct codec *codec;
	struct chunk chunk[CHUNKS_MAX];
	size_t n_chunks;
	struct extent extent[CHUNKS_MAX];
	size_t n_extents;
};

/* Store @size bytes as a chunk, unless they are. Returns its id, from 1; 0 when it fails. */
static uint64_t store(struct builder *b, const void *data, size_t size, struct err *err)
{
	CLEANUP(free) void *frame = malloc(codec_bound(size));
	struct chunk c = { .id = b->n_chunks + 1, .pack = 1, .size = (uint32_t)size };
	size_t frame_size;

	sha256(data, size, &c.digest);
	for (size_t i = 0; i < b->n_chunks; i++) {
		if (digest_equal(&b->chunk[i].digest, &c.digest))
			return b->chunk[i].id;
	}
	if (!frame || b->n_chunks == CHUNKS_MAX ||
	    codec_compress(b->codec, 1, data, size, frame, codec_bound(size), &frame_size) < 0)
		return 0;
	c.frame_size = (uint32_t)frame_size;
	if (pack_writer_append(b->pack, frame, c.frame_size, c.size, &c.frame_off, err) < 0)
		return 0;
	b->chunk[b->n_chunks++] = c;
	return c.id;
}

static int add_extent(struct builder *b, uint64_t content, uint64_t off, size_t len, uint64_t chunk,
                      size_t chunk_off)
{
	if (chunk == 0 || b->n_extents == CHUNKS_MAX)
		return -ENOSPC;
	b->extent[b->n_extents++] = (struct extent){
		.content = content,
		.off = off,
		.len = (uint32_t)len,
		.chunk_off = (uint32_t)chunk_off,
		.chunk = { .id = chunk },
	};
	return 0;
}

static bool is_grouped(const struct flat_file *file)
{
	return !file->part && file->size <= FLAT_GROUPED;
}

/* Store the small files as one chunk. Returns its id; 0 when it fails or there are none. */
static uint64_t store_group(struct builder *b, const struct flat_file *file, size_t n,
                            struct err *err)
{
	CLEANUP(free) uint8_t *group = malloc(n * FLAT_GROUPED + 1);
	size_t size = 0;

	for (size_t i = 0; group && i < n; i++) {
		if (is_grouped(&file[i])) {
			memcpy(group + size, file[i].data, file[i].size);
			size += file[i].size;
		}
	}
	return size > 0 ? store(b, group, size, err) : 0;
}

static int store_cut(struct builder *b, uint64_t content, const struct flat_file *file,
                     struct err *err)
{
	const uint8_t *data = file->data;
	int r = 0;

	for (size_t off = 0; off < file->size && r == 0; off += FLAT_CHUNK) {
		size_t left = file->size - off;
		size_t len = left < FLAT_CHUNK ? left : FLAT_CHUNK;

		r = add_extent(b, content, off, len, store(b, data + off, len, err), 0);
	}
	return r;
}

static int store_parts(struct builder *b, uint64_t content, const struct flat_file *file,
                       struct err *err)
{
	size_t off = 0;
	int r = 0;

	for (size_t i = 0; i < file->n_parts && r == 0; i++) {
		const struct flat_part *p = &file->part[i];

		if (p->chunk)
			r = add_extent(b, content, off, p->len,
			               store(b, p->chunk, p->chunk_size, err), p->off);
		off += p->len;
	}
	return r;
}

static int store_files(struct builder *b, const struct flat_file *file, size_t n, struct err *err)
{
	uint64_t group = store_group(b, file, n, err);
	size_t group_off = 0;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		if (file[i].part) {
			r = store_parts(b, i + 1, &file[i], err);
		} else if (is_grouped(&file[i])) {
			r = add_extent(b, i + 1, 0, file[i].size, group, group_off);
			group_off += file[i].size;
		} else {
			r = store_cut(b, i + 1, &file[i], err);
		}
	}
	return r;
}

static int write_tree(struct index_writer *w, const struct flat_file *file, size_t n,
                      struct err *err)
{
	struct node root = { .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2, .size = n };
	int r = index_writer_node(w, &root, NULL, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		struct content content = { .id = i + 1, .size = file[i].size };
		struct node node = { .ino = i + 2,
			             .mode = S_IFREG | 0644,
			             .nlink = 1,
			             .size = file[i].size,
			             .content = i + 1 };

		sha256(file[i].data, file[i].size, &content.digest);
		r = index_writer_content(w, &content, err);
		if (r == 0)
			r = index_writer_node(w, &node, NULL, err);
		if (r == 0)
			r = index_writer_entry(w, 1, i + 1, file[i].name, i + 2, err);
	}
	return r;
}

static int write_index(struct builder *b, const char *path, const struct pack_info *pack,
                       const struct flat_file *file, size_t n, struct err *err)
{
	CLEANUP(close) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CLEANUP(index_writer_free) struct index_writer *w = NULL;
	int r = fd < 0 ? err_set_errno(err, "'%s'", path) : index_writer_open(path, &w, err);

	if (r == 0)
		r = index_writer_pack(w, 1, pack, err);
	for (size_t i = 0; i < b->n_chunks && r == 0; i++)
		r = index_writer_chunk(w, &b->chunk[i], err);
	if (r == 0)
		r = write_tree(w, file, n, err);
	for (size_t i = 0; i < b->n_extents && r == 0; i++)
		r = index_writer_extent(w, &b->extent[i], err);
	return r < 0 ? r : index_writer_finish(w, err);
}

/* Publish the image of one pack and the index at @path. */
static int publish(struct layout_writer *layout, const struct pack_info *pack, const char *path,
                   struct err *err)
{
	struct descriptor pack_blob = { .digest = pack->digest, .size = pack->size };
	struct manifest m = { .platform = { .name = FORMAT_PLATFORM_ANY },
		              .packs = &pack_blob,
		              .n_packs = 1 };
	struct descriptor tagged;
	json_t *config = json_pack("{si ss}", "formatVersion", 1, "platform", FORMAT_PLATFORM_ANY);
	int r = layout_writer_index(layout, path, &m.index, err);

	if (r == 0)
		r = layout_writer_json(layout, config, &m.config, err);
	json_decref(config);
	if (r == 0)
		r = layout_writer_manifest(layout, &m, err);
	return r < 0 ? r : layout_writer_tag(layout, "latest", &m, 1, &tagged, err);
}

int flat_image_build(const char *path, const struct flat_file *file, size_t n, struct err *err)
{
	CLEANUP(layout_writer_close) struct layout_writer *layout = NULL;
	CLEANUP(free) struct builder *b = calloc(1, sizeof(*b));
	CLEANUP(free) char *index_path = NULL;
	struct pack_info pack;
	int r = b ? layout_writer_open(path, &layout, err) : -ENOMEM;

	if (r < 0 || asprintf(&index_path, "%s/index.sqlite", path) < 0)
		return r;
	b->codec = codec_new();
	r = pack_writer_open(layout_writer_blobs(layout), &b->pack, err);
	if (r == 0)
		r = store_files(b, file, n, err);
	if (r == 0)
		r = pack_writer_publish(b->pack, &pack.digest, &pack.size, err);
	pack_writer_free(b->pack);
	codec_free(b->codec);
	if (r == 0)
		r = write_index(b, index_path, &pack, file, n, err);
	if (r == 0)
		r = publish(layout, &pack, index_path, err);
	(void)unlink(index_path);
	return r;
}

int flat_image_open(const char *dir, const struct flat_file *file, size_t n, struct image **ret,
                    struct err *err)
{
	CLEANUP(free) char *layout = NULL;
	struct image_ref ref = { .tag = (char[]){ "latest" } };
	int r;

	if (asprintf(&layout, "%s/layout", dir) < 0)
		return -ENOMEM;
	ref.layout = layout;
	r = flat_image_build(layout, file, n, err);
	return r < 0 ? r : image_open_ref(&ref, NULL, ret, err);
}

int flat_image_content(struct image *img, const char *name, struct content *ret, struct err *err)
{
	struct node node;
	int r = index_resolve(image_index(img), name, &node, err);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return index_content(image_index(img), node.content, ret, err);
}
