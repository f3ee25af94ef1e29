/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write an image that is as large as its index says and takes little room, always the same.
 *
 * usage: big_image LAYOUT FILES BYTES
 *
 * LAYOUT:latest gets FILES files, 1000 in each directory. Nine of ten are small, 64 to 1087 bytes, with
 * contents of their own that can be read. The others share BYTES among them, in chunks of
 * 256 KiB: their rows are as those of any image, but their packs are files without blocks and
 * cannot be read. With BYTES 0 there are none, and all of the image is valid.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "index_blob.h"
#include "index_writer.h"
#include "layout_writer.h"
#include "pack.h"
#include "sections.h"

enum {
	FILES_IN_DIR = 1000,
	SMALL_MIN = 64,
	SMALL_SPAN = 1024,
	CHUNK = 256 << 10,
	FRAME = 200 << 10,
	FRAMES_IN_PACK = 1280, /* 250 MiB */
	LARGE_EVERY = 10,
};

struct big {
	uint64_t n_files;
	uint64_t large_size; /* bytes of each large file; 0: there is none */
	uint64_t n_dirs;
	uint64_t n_small_chunks;
	uint64_t small_bytes; /* of contents up to FORMAT_SMALL_MAX */
	uint64_t n_large_chunks;
	struct pack_info *packs; /* owned */
	uint32_t n_packs;
	struct codec *codec; /* owned */
	struct index_writer *index;
	struct pack_writer *pack;
	uint8_t *group; /* owned; CHUNK bytes of small files */
	size_t n_group;
	void *frame; /* owned */
};

static bool is_large(const struct big *b, uint64_t file)
{
	return b->large_size > 0 && file % LARGE_EVERY == 0;
}

/* Put the bytes of small file @file, 1 to n_files, at @ret. Returns how many. */
static size_t small_bytes(uint64_t file, uint8_t *ret)
{
	uint64_t state = file * UINT64_C(0x9e3779b97f4a7c15);
	size_t size = SMALL_MIN + (size_t)(state >> 40) % SMALL_SPAN;

	for (size_t i = 0; i < size; i++)
		ret[i] = (uint8_t)(i < 16 ? state >> i % 8 * 8 : i / 16);
	memcpy(ret, &file, sizeof(file));
	return size;
}

/* A digest of nothing that exists. */
static struct digest made_up(char kind, uint64_t id)
{
	char text[32];
	struct digest digest;
	int n = snprintf(text, sizeof(text), "%c %" PRIu64, kind, id);

	sha256(text, (size_t)n, &digest);
	return digest;
}

static int flush_group(struct big *b, struct err *err)
{
	struct chunk c = { .id = b->n_small_chunks + 1, .pack = 1, .size = (uint32_t)b->n_group };
	size_t size;
	int r;

	if (b->n_group == 0)
		return 0;
	sha256(b->group, b->n_group, &c.digest);
	r = codec_compress(b->codec, 1, b->group, b->n_group, b->frame, codec_bound(CHUNK), &size);
	if (r < 0)
		return err_set(err, r, "a chunk could not be compressed");
	c.frame_size = (uint32_t)size;
	r = pack_writer_append(b->pack, b->frame, c.frame_size, c.size, &c.frame_off, err);
	b->n_small_chunks++;
	b->n_group = 0;
	return r < 0 ? r : index_writer_chunk(b->index, &c, err);
}

/* Store small @file, with its extent and content. */
static int add_small(struct big *b, uint64_t file, uint64_t *ret_size, struct err *err)
{
	uint8_t data[SMALL_MIN + SMALL_SPAN];
	size_t size = small_bytes(file, data);
	struct content content = { .id = file, .size = size };
	struct extent x = { .content = file, .len = (uint32_t)size };
	int r = 0;

	if (b->n_group + size > CHUNK)
		r = flush_group(b, err);
	x.chunk_off = (uint32_t)b->n_group;
	x.chunk.id = b->n_small_chunks + 1;
	memcpy(b->group + b->n_group, data, size);
	b->n_group += size;
	sha256(data, size, &content.digest);
	*ret_size = size;
	b->small_bytes += size;
	if (r == 0)
		r = index_writer_content(b->index, &content, err);
	return r < 0 ? r : index_writer_extent(b->index, &x, err);
}

/* Rows of the contents; the large ones' chunks come after the small ones', which are counted first. */
static int add_large(struct big *b, uint64_t file, uint64_t *chunk, struct err *err)
{
	struct content content = { .id = file,
		                   .size = b->large_size,
		                   .digest = made_up('f', file) };
	int r = index_writer_content(b->index, &content, err);

	if (content.size <= FORMAT_SMALL_MAX)
		b->small_bytes += content.size;
	for (uint64_t off = 0; r == 0 && off < b->large_size; off += CHUNK) {
		struct extent x = { .content = file,
			            .off = off,
			            .len = CHUNK,
			            .chunk = { .id = ++*chunk } };

		r = index_writer_extent(b->index, &x, err);
	}
	return r;
}

static uint64_t count_small_chunks(const struct big *b)
{
	uint8_t data[SMALL_MIN + SMALL_SPAN];
	uint64_t n = 0;
	size_t group = CHUNK;

	for (uint64_t file = 1; file <= b->n_files; file++) {
		size_t size = is_large(b, file) ? 0 : small_bytes(file, data);

		n += group + size > CHUNK;
		group = group + size > CHUNK ? size : group + size;
	}
	return n;
}

static int add_file(struct big *b, uint64_t file, uint64_t *chunk, struct err *err)
{
	struct node node = { .ino = 1 + b->n_dirs + file,
		             .mode = S_IFREG | 0644,
		             .nlink = 1,
		             .content = file,
		             .size = b->large_size };
	char name[24];
	int r = is_large(b, file) ? add_large(b, file, chunk, err)
	                          : add_small(b, file, &node.size, err);

	(void)snprintf(name, sizeof(name), "%03" PRIu64, (file - 1) % FILES_IN_DIR);
	if (r == 0)
		r = index_writer_node(b->index, &node, NULL, err);
	return r < 0 ? r
	             : index_writer_entry(b->index, 2 + (file - 1) / FILES_IN_DIR,
	                                  1 + (file - 1) % FILES_IN_DIR, name, node.ino, err);
}

static int add_dirs(struct big *b, struct err *err)
{
	struct node node = { .ino = FORMAT_ROOT_INO,
		             .mode = S_IFDIR | 0755,
		             .nlink = 2 + (uint32_t)b->n_dirs,
		             .size = b->n_dirs };
	int r = index_writer_node(b->index, &node, NULL, err);

	for (uint64_t i = 0; r == 0 && i < b->n_dirs; i++) {
		uint64_t left = b->n_files - i * FILES_IN_DIR;
		char name[24];

		(void)snprintf(name, sizeof(name), "%06" PRIu64, i);
		node = (struct node){ .ino = 2 + i,
			              .mode = S_IFDIR | 0755,
			              .nlink = 2,
			              .size = left < FILES_IN_DIR ? left : FILES_IN_DIR };
		r = index_writer_node(b->index, &node, NULL, err);
		if (r == 0)
			r = index_writer_entry(b->index, 1, i + 1, name, node.ino, err);
	}
	return r;
}

static int add_large_chunks(struct big *b, struct err *err)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < b->n_large_chunks; i++) {
		struct chunk c = { .id = b->n_small_chunks + i + 1,
			           .digest = made_up('c', i),
			           .pack = (uint32_t)(2 + i / FRAMES_IN_PACK),
			           .frame_off = i % FRAMES_IN_PACK * FRAME,
			           .frame_size = FRAME,
			           .size = CHUNK };

		r = index_writer_chunk(b->index, &c, err);
	}
	return r;
}

/* A file of the right size and without blocks for each pack but the first. */
static int add_packs(struct big *b, int blobs, struct err *err)
{
	int r = pack_writer_publish(b->pack, &b->packs[0].digest, &b->packs[0].size, err);

	for (uint32_t i = 1; r == 0 && i < b->n_packs; i++) {
		struct pack_info *pack = &b->packs[i];
		char hex[DIGEST_HEX_SIZE];
		CLEANUP(close) int fd = -1;

		*pack = (struct pack_info){ .digest = made_up('p', i),
			                    .size = (uint64_t)FRAMES_IN_PACK * FRAME + 26 };
		fd = openat(blobs, digest_hex(&pack->digest, hex), O_WRONLY | O_CREAT | O_CLOEXEC,
		            0444);
		if (fd < 0 || ftruncate(fd, (off_t)pack->size) < 0)
			r = err_set_errno(err, "pack '%s'", hex);
	}
	for (uint32_t i = 0; r == 0 && i < b->n_packs; i++)
		r = index_writer_pack(b->index, i + 1, &b->packs[i], err);
	return r;
}

static int write_image(struct big *b, int blobs, struct err *err)
{
	uint64_t chunk = count_small_chunks(b);
	uint64_t per_pack = FRAMES_IN_PACK;
	int r = 0;

	b->n_large_chunks = b->large_size > 0 ? b->n_files / LARGE_EVERY * (b->large_size / CHUNK)
	                                      : 0;
	b->n_packs = (uint32_t)(1 + (b->n_large_chunks + per_pack - 1) / per_pack);
	b->packs = calloc(b->n_packs, sizeof(*b->packs));
	b->group = malloc(CHUNK);
	b->frame = malloc(codec_bound(CHUNK));
	b->codec = codec_new();
	if (!b->packs || !b->group || !b->frame || !b->codec)
		return err_set(err, -ENOMEM, "out of memory");
	r = add_dirs(b, err);
	for (uint64_t file = 1; r == 0 && file <= b->n_files; file++)
		r = add_file(b, file, &chunk, err);
	if (r == 0)
		r = flush_group(b, err);
	if (r == 0)
		r = add_large_chunks(b, err);
	return r < 0 ? r : add_packs(b, blobs, err);
}

static int publish(struct layout_writer *layout, const struct big *b, const char *path,
                   struct err *err)
{
	CLEANUP(free) struct descriptor *packs = calloc(b->n_packs, sizeof(*packs));
	struct manifest m = { .platform = { .name = FORMAT_PLATFORM_ANY },
		              .packs = packs,
		              .n_packs = b->n_packs };
	CLEANUP(sections_release) struct sections sections = SECTIONS_INIT;
	json_t *config = json_pack("{si ss sI}", "formatVersion", 1, "platform",
	                           FORMAT_PLATFORM_ANY, "smallBytes", (json_int_t)b->small_bytes);
	struct descriptor tagged;
	int r = packs ? layout_writer_index_sections(
				layout, &(struct index_blob){ .path = path, .jobs = 2 }, &m.index,
				&sections, err)
	              : -ENOMEM;

	if (r == 0 && sections.n > 0)
		r = json_object_set_new(config, "indexSections", sections_json(&sections));

	for (uint32_t i = 0; r == 0 && i < b->n_packs; i++)
		packs[i] = (struct descriptor){ .digest = b->packs[i].digest,
			                        .size = b->packs[i].size };
	if (r == 0)
		r = layout_writer_json(layout, config, &m.config, err);
	json_decref(config);
	if (r == 0)
		r = layout_writer_manifest(layout, &m, err);
	return r < 0 ? r : layout_writer_tag(layout, "latest", &m, 1, &tagged, err);
}

static int build(struct big *b, const char *path, struct err *err)
{
	CLEANUP(layout_writer_close) struct layout_writer *layout = NULL;
	CLEANUP(free) char *index_path = NULL;
	CLEANUP(close) int fd = -1;
	int r = layout_writer_open(path, &layout, err);

	if (r < 0 || asprintf(&index_path, "%s/index.sqlite", path) < 0)
		return r;
	fd = open(index_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = fd < 0 ? err_set_errno(err, "'%s'", index_path)
	           : index_writer_open(index_path, &b->index, err);
	if (r == 0)
		r = pack_writer_open(layout_writer_blobs(layout), &b->pack, err);
	if (r == 0)
		r = write_image(b, layout_writer_blobs(layout), err);
	if (r == 0)
		r = index_writer_finish(b->index, err);
	if (r == 0)
		r = publish(layout, b, index_path, err);
	(void)unlink(index_path);
	return r;
}

int main(int argc, char **argv)
{
	struct big b = { .n_files = argc == 4 ? strtoull(argv[2], NULL, 10) : 0 };
	uint64_t bytes = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
	struct err err = ERR_INIT;
	int r;

	if (b.n_files < LARGE_EVERY) {
		(void)fprintf(stderr, "usage: big_image LAYOUT FILES BYTES\n");
		return 2;
	}
	b.n_dirs = (b.n_files + FILES_IN_DIR - 1) / FILES_IN_DIR;
	b.large_size = bytes / (b.n_files / LARGE_EVERY) / CHUNK * CHUNK;
	r = build(&b, argv[1], &err);
	if (r < 0)
		(void)fprintf(stderr, "big_image: %s\n", err.msg);
	pack_writer_free(b.pack);
	index_writer_free(b.index);
	codec_free(b.codec);
	free(b.packs);
	free(b.group);
	free(b.frame);
	return r < 0;
}
