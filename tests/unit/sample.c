/* SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "codec.h"
#include "format.h"
#include "index_writer.h"
#include "pack.h"

void sample_dir(char ret[static SAMPLE_PATH_MAX])
{
	/* The tests are single-threaded here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(ret, SAMPLE_PATH_MAX, "%s/assetfs-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(ret)) {
		perror(ret);
		abort();
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void sample_dir_remove(const char *dir)
{
	/* No other thread walks. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *sample_path(const char *dir, const char *name, char ret[static SAMPLE_PATH_MAX])
{
	(void)snprintf(ret, SAMPLE_PATH_MAX, "%s/%s", dir, name);
	return ret;
}

const uint8_t *sample_chunk(uint64_t chunk, size_t *ret_size)
{
	static const size_t sizes[SAMPLE_N_CHUNKS] = { SAMPLE_CHUNK1, SAMPLE_CHUNK2,
		                                       SAMPLE_CHUNK3 };
	static uint8_t bytes[SAMPLE_N_CHUNKS][SAMPLE_CHUNK3];
	uint8_t *b = bytes[chunk - 1];

	/* Compressible, and different in each chunk. */
	for (size_t i = 0; i < sizes[chunk - 1]; i++)
		b[i] = (uint8_t)(i * i / 7 % 50 + chunk * 31);
	*ret_size = sizes[chunk - 1];
	return b;
}

struct build {
	struct chunk chunks[SAMPLE_N_CHUNKS];
	struct pack_info packs[SAMPLE_N_PACKS];
};

static const struct node nodes[SAMPLE_N_NODES] = {
	{ .ino = 1, .mode = S_IFDIR | 0755, .nlink = 3, .mtime_s = 1, .size = 6 },
	{ .ino = 2,
	  .mode = S_IFREG | 0644,
	  .nlink = 2,
	  .mtime_s = -5,
	  .mtime_ns = 999999999,
	  .size = 10,
	  .content = 1 },
	{ .ino = 3, .mode = S_IFDIR | 01777, .nlink = 3, .size = 2 },
	{ .ino = 4, .mode = S_IFREG | 0400, .nlink = 1, .uid = 1000, .gid = 4294967294 },
	{ .ino = 5, .mode = S_IFLNK | 0777, .nlink = 1, .size = 10 },
	{ .ino = 6, .mode = S_IFREG | 0755, .nlink = 1, .size = 5, .content = 3 },
	{ .ino = 7, .mode = S_IFREG | 0644, .nlink = 1, .size = SAMPLE_DEEP, .content = 2 },
	{ .ino = 8, .mode = S_IFDIR | 0755, .nlink = 2 },
};

static const struct {
	uint64_t parent, seq, ino;
	const char *name; /* NULL: the long one */
} entries[] = {
	{ 1, 1, 2, "a.txt" }, { 1, 2, 3, "d" },        { 1, 3, 4, "empty" },    { 1, 4, 5, "link" },
	{ 1, 5, 2, "other" }, { 1, 6, 6, "\377\376" }, { 3, 1, 7, "deep.bin" }, { 3, 2, 8, NULL },
};

static const struct extent extents[] = {
	{ .content = 1, .off = 0, .len = 10, .chunk_off = 0, .chunk.id = 1 },
	{ .content = 2, .off = 0, .len = SAMPLE_CHUNK2, .chunk_off = 0, .chunk.id = 2 },
	{ .content = 2, .off = 1800, .len = SAMPLE_CHUNK3, .chunk_off = 0, .chunk.id = 3 },
	{ .content = 3, .off = 0, .len = 5, .chunk_off = 10, .chunk.id = 1 },
};

static int write_contents(struct index_writer *w, struct err *err)
{
	uint8_t deep[SAMPLE_DEEP] = { 0 };
	struct content contents[] = { { .id = 1, .size = 10 },
		                      { .id = 2, .size = SAMPLE_DEEP },
		                      { .id = 3, .size = 5 } };
	size_t size;
	int r = 0;

	sha256(sample_chunk(1, &size), 10, &contents[0].digest);
	memcpy(deep, sample_chunk(2, &size), SAMPLE_CHUNK2);
	memcpy(deep + 1800, sample_chunk(3, &size), SAMPLE_CHUNK3);
	sha256(deep, sizeof(deep), &contents[1].digest);
	sha256(sample_chunk(1, &size) + 10, 5, &contents[2].digest);
	for (size_t i = 0; r == 0 && i < sizeof(contents) / sizeof(contents[0]); i++)
		r = index_writer_content(w, &contents[i], err);
	for (size_t i = 0; r == 0 && i < sizeof(extents) / sizeof(extents[0]); i++)
		r = index_writer_extent(w, &extents[i], err);
	return r;
}

static int write_tree(struct index_writer *w, struct err *err)
{
	char long_name[FORMAT_NAME_MAX + 1];
	int r = 0;

	memset(long_name, 'n', FORMAT_NAME_MAX);
	long_name[FORMAT_NAME_MAX] = '\0';
	for (size_t i = 0; r == 0 && i < SAMPLE_N_NODES; i++)
		r = index_writer_node(w, &nodes[i], S_ISLNK(nodes[i].mode) ? "d/deep.bin" : NULL,
		                      err);
	for (size_t i = 0; r == 0 && i < sizeof(entries) / sizeof(entries[0]); i++)
		r = index_writer_entry(w, entries[i].parent, entries[i].seq,
		                       entries[i].name ? entries[i].name : long_name,
		                       entries[i].ino, err);
	if (r == 0)
		r = index_writer_xattr(w, 2, "user.a", "1", 1, err);
	if (r == 0)
		r = index_writer_xattr(w, 2, "user.b", NULL, 0, err);
	return r;
}

static int write_index(const char *path, const struct build *b, struct err *err)
{
	CLEANUP(index_writer_free) struct index_writer *w = NULL;
	CLEANUP(close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = fd < 0 ? err_set_errno(err, "'%s'", path) : index_writer_open(path, &w, err);

	for (uint32_t i = 0; r == 0 && i < SAMPLE_N_PACKS; i++)
		r = index_writer_pack(w, i + 1, &b->packs[i], err);
	for (size_t i = 0; r == 0 && i < SAMPLE_N_CHUNKS; i++)
		r = index_writer_chunk(w, &b->chunks[i], err);
	if (r == 0)
		r = write_contents(w, err);
	if (r == 0)
		r = write_tree(w, err);
	return r < 0 ? r : index_writer_finish(w, err);
}

/* Compress chunk @id into pack @w and describe it in @ret. */
static int store_chunk(struct codec *codec, struct pack_writer *w, uint64_t id, struct chunk *ret,
                       struct err *err)
{
	char frame[SAMPLE_CHUNK3 + 512];
	size_t size, frame_size = 0;
	const uint8_t *plain = sample_chunk(id, &size);
	int r = codec_compress(codec, 3, plain, size, frame, sizeof(frame), &frame_size);

	if (r < 0)
		return err_set(err, r, "sample chunk not compressed");
	*ret = (struct chunk){ .id = id,
		               .size = (uint32_t)size,
		               .frame_size = (uint32_t)frame_size };
	ret->pack = id < 3 ? 1 : 2;
	sha256(plain, size, &ret->digest);
	return pack_writer_append(w, frame, ret->frame_size, ret->size, &ret->frame_off, err);
}

static int store_pack(int blobs, uint64_t first, uint64_t last, struct build *b, struct err *err)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(pack_writer_free) struct pack_writer *w = NULL;
	struct pack_info *pack = &b->packs[first < 3 ? 0 : 1];
	int r = codec ? pack_writer_open(blobs, &w, err) : err_set(err, -ENOMEM, "out of memory");

	for (uint64_t id = first; r == 0 && id <= last; id++)
		r = store_chunk(codec, w, id, &b->chunks[id - 1], err);
	return r < 0 ? r : pack_writer_publish(w, &pack->digest, &pack->size, err);
}

static int publish(struct layout_writer *lw, const char *index_path, const struct build *b,
                   struct manifest *m, struct err *err)
{
	CLEANUP(manifest_release) struct manifest made = MANIFEST_INIT;
	json_t *config = json_pack("{s:i, s:s}", "formatVersion", 1, "platform", m->platform.name);
	int r = layout_writer_json(lw, config, &made.config, err);

	json_decref(config);
	made.platform = m->platform;
	made.n_packs = SAMPLE_N_PACKS;
	made.packs = calloc(SAMPLE_N_PACKS, sizeof(*made.packs));
	if (!made.packs)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < SAMPLE_N_PACKS; i++)
		made.packs[i] = (struct descriptor){ b->packs[i].digest, b->packs[i].size };
	if (r == 0)
		r = layout_writer_index(lw, index_path, &made.index, err);
	if (r == 0)
		r = layout_writer_manifest(lw, &made, err);
	if (r < 0)
		return r;
	*m = made;
	made = MANIFEST_INIT;
	return 0;
}

int sample_image(const char *dir, const char *index, const char *platform, struct manifest *ret,
                 struct err *err)
{
	CLEANUP(layout_writer_close) struct layout_writer *lw = NULL;
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	char layout[SAMPLE_PATH_MAX], index_path[SAMPLE_PATH_MAX];
	struct descriptor tagged;
	struct build b;
	int r = layout_writer_open(sample_path(dir, "layout", layout), &lw, err);

	(void)snprintf(m.platform.name, sizeof(m.platform.name), "%s", platform);
	if (r == 0)
		r = store_pack(layout_writer_blobs(lw), 1, 2, &b, err);
	if (r == 0)
		r = store_pack(layout_writer_blobs(lw), 3, 3, &b, err);
	if (r == 0)
		r = write_index(sample_path(dir, index, index_path), &b, err);
	if (r == 0)
		r = publish(lw, index_path, &b, &m, err);
	if (r == 0)
		r = layout_writer_tag(lw, "latest", &m, 1, &tagged, err);
	if (r < 0)
		return r;
	*ret = m;
	m = MANIFEST_INIT;
	return 0;
}

int sample_index(const char *path, struct err *err)
{
	struct build b = { .packs = { { .digest = { { 1 } }, .size = 1000 },
		                      { .digest = { { 2 } }, .size = 1000 } } };

	for (uint64_t id = 1; id <= SAMPLE_N_CHUNKS; id++) {
		struct chunk *c = &b.chunks[id - 1];
		size_t size;
		const uint8_t *plain = sample_chunk(id, &size);

		sha256(plain, size, &c->digest);
		c->id = id;
		c->size = (uint32_t)size;
		c->pack = id < 3 ? 1 : 2;
		c->frame_size = 100;
		c->frame_off = id == 2 ? 100 : 0;
	}
	return write_index(path, &b, err);
}
