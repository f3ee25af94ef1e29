/* SPDX-License-Identifier: Apache-2.0 */
/* image: chunks of a missing pack come from deltas while their base is whole, and never wrong. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "add_delta.h"
#include "flat_image.h"
#include "index_writer.h"
#include "layout_writer.h"
#include "prng.h"
#include "sample.h"

enum { SIZE = 12 * FLAT_CHUNK, N_CHUNKS = 12 };

static char dir[SAMPLE_PATH_MAX];
static char layout[SAMPLE_PATH_MAX];

static void make_layout(void)
{
	sample_dir(dir);
	(void)sample_path(dir, "layout", layout);
}

static void remove_layout(void)
{
	sample_dir_remove(dir);
}

TestSuite(image_delta, .init = make_layout, .fini = remove_layout);

/* The bytes of release @number: a few of each chunk differ from one to the next. */
static uint8_t *release_bytes(unsigned number)
{
	uint8_t *bytes = malloc(SIZE);
	struct prng prng = PRNG_INIT(5);

	cr_assert_not_null(bytes);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)prng_next(&prng);
	for (size_t i = 0; i < SIZE; i += FLAT_CHUNK / 2)
		bytes[i] = (uint8_t)number;
	return bytes;
}

/* Load what @tag names; it is one image. */
static struct manifest load(const char *tag)
{
	CLEANUP(layout_close) struct layout *opened = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	struct manifest manifest;
	struct err err = ERR_INIT;

	cr_assert_eq(layout_open(layout, &opened, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_images(opened, tag, &set, &err), 0, "%s", err.msg);
	cr_assert_eq(set.n_manifests, 1);
	manifest = set.manifests[0];
	set.n_manifests = 0;
	return manifest;
}

/* Build release @number and tag it. */
static void build(unsigned number, const char *tag)
{
	CLEANUP(free) uint8_t *bytes = release_bytes(number);
	CLEANUP(layout_writer_close) struct layout_writer *w = NULL;
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct flat_file file = { .name = "file", .data = bytes, .size = SIZE };
	struct descriptor tagged;
	struct err err = ERR_INIT;

	cr_assert_eq(flat_image_build(layout, &file, 1, &err), 0, "%s", err.msg);
	m = load("latest");
	cr_assert_eq(layout_writer_open(layout, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_writer_tag(w, tag, &m, 1, &tagged, &err), 0, "%s", err.msg);
}

/* Releases "a" and "b", the second with a delta; its pack is gone. */
static void build_both(void)
{
	struct err err = ERR_INIT;

	build(1, "a");
	build(2, "b");
	cr_assert_eq(add_delta(layout, "a", "b", &err), 0, "%s", err.msg);
}

static const char *blob_path(const struct digest *digest, char ret[static SAMPLE_PATH_MAX])
{
	char hex[DIGEST_HEX_SIZE];

	(void)snprintf(ret, SAMPLE_PATH_MAX, "%.300s/blobs/sha256/%s", layout,
	               digest_hex(digest, hex));
	return ret;
}

static void remove_blob(const struct digest *digest)
{
	char path[SAMPLE_PATH_MAX];

	cr_assert_eq(unlink(blob_path(digest, path)), 0, "%s", path);
}

static void remove_pack(const char *tag)
{
	CLEANUP(manifest_release) struct manifest m = load(tag);

	cr_assert_eq(m.n_packs, 1);
	remove_blob(&m.packs[0].digest);
}

static struct image *open_image(const char *tag)
{
	char copy[16];
	struct image_ref ref = { .layout = layout, .tag = copy };
	struct image *img = NULL;
	struct err err = ERR_INIT;

	(void)snprintf(copy, sizeof(copy), "%s", tag);
	cr_assert_eq(image_open_ref(&ref, NULL, &img, &err), 0, "%s", err.msg);
	return img;
}

struct extents {
	struct extent *list; /* owned */
	uint32_t n;
};

static struct extents extents_of(struct image *img)
{
	struct extents extents = { .n = 0 };
	struct content content;

	cr_assert_eq(flat_image_content(img, "file", &content, NULL), 0);
	cr_assert_eq(index_extents(image_index(img), &content, &extents.list, &extents.n, NULL), 0);
	cr_assert_eq(extents.n, N_CHUNKS);
	return extents;
}

/* Read all chunks: each right, or an error. Returns how many are errors; all give @expect. */
static uint32_t count_failures(struct image *img, unsigned number, int expect, struct err *err)
{
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	CLEANUP(free) uint8_t *bytes = release_bytes(number);
	struct extents extents = extents_of(img);
	uint32_t n_failed = 0;

	for (uint32_t i = 0; i < extents.n; i++) {
		const struct extent *e = &extents.list[i];
		const void *plain = NULL;
		int r = image_read_chunk(img, reader, &e->chunk, &plain, err);

		cr_expect(r == 0 || r == expect, "%d: %s", r, err->msg);
		if (r == 0)
			cr_expect_eq(memcmp(bytes + e->off, plain, e->len), 0, "wrong bytes");
		n_failed += r < 0;
	}
	free(extents.list);
	return n_failed;
}

Test(image_delta, gives_all_chunks_of_a_missing_pack)
{
	struct err err = ERR_INIT;

	build_both();
	remove_pack("b");
	CLEANUP(image_close) struct image *img = open_image("b");
	cr_expect_eq(image_check_packs(img, &err), 0, "%s", err.msg);
	cr_expect_eq(count_failures(img, 2, 0, &err), 0, "%s", err.msg);
}

Test(image_delta, is_small_and_not_needed_while_the_pack_is_there)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;

	build_both();
	m = load("b");
	cr_assert_eq(m.n_deltas, 1);
	cr_expect_lt(m.deltas[0].blob.size, m.packs[0].size / 20);
	remove_blob(&m.deltas[0].blob.digest);
	CLEANUP(image_close) struct image *img = open_image("b");
	cr_expect_eq(image_check_packs(img, &err), 0, "%s", err.msg);
	cr_expect_eq(count_failures(img, 2, 0, &err), 0, "%s", err.msg);
}

/* All chunks of "b" must fail with -ENOENT; the message names the pack and says @hint. */
static void expect_missing(const char *hint)
{
	CLEANUP(image_close) struct image *img = open_image("b");
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];

	cr_expect_eq(image_check_packs(img, &err), 1);
	cr_expect_eq(err.code, -ENOENT);
	cr_expect_eq(count_failures(img, 2, -ENOENT, &err), N_CHUNKS);
	(void)digest_hex(&image_manifest(img)->packs[0].digest, hex);
	hex[12] = '\0';
	cr_expect_not_null(strstr(err.msg, hex), "%s", err.msg);
	cr_expect_not_null(strstr(err.msg, hint), "'%s' is not in: %s", hint, err.msg);
}

Test(image_delta, helps_nobody_without_its_base)
{
	CLEANUP(manifest_release) struct manifest base = MANIFEST_INIT;
	char hex[DIGEST_HEX_SIZE];

	build_both();
	remove_pack("b");
	base = load("a");
	remove_blob(&base.self.digest);
	(void)digest_hex(&base.self.digest, hex);
	hex[12] = '\0';
	expect_missing(hex);
}

Test(image_delta, helps_nobody_without_the_index_of_its_base)
{
	CLEANUP(manifest_release) struct manifest base = MANIFEST_INIT;

	build_both();
	remove_pack("b");
	base = load("a");
	remove_blob(&base.index.digest);
	expect_missing("not whole");
}

Test(image_delta, helps_nobody_without_the_packs_of_its_base)
{
	build_both();
	remove_pack("b");
	remove_pack("a");
	expect_missing("delta");
}

Test(image_delta, that_is_missing_leaves_the_pack_missing)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;

	build_both();
	remove_pack("b");
	m = load("b");
	remove_blob(&m.deltas[0].blob.digest);
	expect_missing("delta");
}

Test(image_delta, that_is_cut_short_leaves_the_pack_missing)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	char path[SAMPLE_PATH_MAX];

	build_both();
	remove_pack("b");
	m = load("b");
	(void)blob_path(&m.deltas[0].blob.digest, path);
	cr_assert_eq(chmod(path, 0600), 0);
	cr_assert_eq(truncate(path, (off_t)m.deltas[0].blob.size - 1), 0);
	expect_missing("bytes instead of");
}

Test(image_delta, are_not_chained)
{
	struct err err = ERR_INIT;

	build(0, "z");
	build(1, "a");
	build(2, "b");
	cr_assert_eq(add_delta(layout, "z", "a", &err), 0, "%s", err.msg);
	cr_assert_eq(add_delta(layout, "a", "b", &err), 0, "%s", err.msg);
	remove_pack("a");
	remove_pack("b");
	CLEANUP(image_close) struct image *img = open_image("a");
	cr_expect_eq(count_failures(img, 1, 0, &err), 0, "%s", err.msg);
	expect_missing("delta");
}

Test(image_delta, of_another_base_stands_in)
{
	CLEANUP(manifest_release) struct manifest base = MANIFEST_INIT;
	struct err err = ERR_INIT;

	build(0, "z");
	build(1, "a");
	build(2, "b");
	cr_assert_eq(add_delta(layout, "z", "b", &err), 0, "%s", err.msg);
	cr_assert_eq(add_delta(layout, "a", "b", &err), 0, "%s", err.msg);
	remove_pack("b");
	base = load("z");
	remove_blob(&base.self.digest);
	CLEANUP(image_close) struct image *img = open_image("b");
	cr_assert_eq(image_manifest(img)->n_deltas, 2);
	cr_expect_eq(image_check_packs(img, &err), 0, "%s", err.msg);
	cr_expect_eq(count_failures(img, 2, 0, &err), 0, "%s", err.msg);
}

/* Every byte of the frames: flipping it costs at most a chunk, and never gives wrong bytes. */
Test(image_delta, with_a_flipped_byte_fails_at_most_a_chunk)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	CLEANUP(close) int fd = -1;
	char path[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;
	const struct delta_table *table = NULL;
	uint32_t n_refused = 0, n_flipped = 0;

	build_both();
	remove_pack("b");
	m = load("b");
	CLEANUP(image_close) struct image *img = open_image("b");
	cr_assert_eq(image_delta_table(img, 0, &table, &err), 0, "%s", err.msg);
	(void)blob_path(&m.deltas[0].blob.digest, path);
	cr_assert_eq(chmod(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (uint64_t at = 0; at < delta_table_frame(table, 1).off; at += 3) {
		uint32_t n_failed;
		uint8_t byte;

		cr_assert_eq(io_pread(fd, &byte, 1, at), 0);
		byte ^= 1;
		cr_assert_eq(io_pwrite(fd, &byte, 1, at), 0);
		n_failed = count_failures(img, 2, -ENOENT, &err);
		cr_expect_leq(n_failed, 1);
		n_refused += n_failed;
		n_flipped++;
		byte ^= 1;
		cr_assert_eq(io_pwrite(fd, &byte, 1, at), 0);
	}
	cr_expect_geq(n_refused + 2, n_flipped);
	cr_expect_eq(count_failures(img, 2, 0, &err), 0, "%s", err.msg);
}

/* Give "b" a delta that the caller made a lie of: its first chunk from @bases. */
static void add_lie(const struct digest *bases, uint32_t n_bases)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = NULL;
	CLEANUP(delta_writer_free) struct delta_writer *delta = NULL;
	CLEANUP(manifest_release) struct manifest m = load("b"), base = load("a");
	CLEANUP(image_close) struct image *img = open_image("b");
	struct extents extents = extents_of(img);
	struct delta_layer *layer = calloc(1, sizeof(*layer));
	const struct chunk *chunk = &extents.list[0].chunk;
	struct descriptor tagged;
	struct err err = ERR_INIT;

	cr_assert_not_null(layer);
	cr_assert_eq(layout_writer_open(layout, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(delta_writer_open(layout_writer_blobs(w), &delta, &err), 0, "%s", err.msg);
	cr_assert_eq(delta_writer_append(delta, &chunk->digest, chunk->size, "lie", 3, bases,
	                                 n_bases, &err),
	             0, "%s", err.msg);
	cr_assert_eq(delta_writer_publish(delta, &layer->blob.digest, &layer->blob.size, &err), 0);
	layer->base = base.self.digest;
	free(m.deltas);
	m.deltas = layer;
	m.n_deltas = 1;
	cr_assert_eq(layout_writer_manifest(w, &m, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_writer_tag(w, "b", &m, 1, &tagged, &err), 0, "%s", err.msg);
	free(extents.list);
}

static int read_first(struct err *err)
{
	CLEANUP(image_close) struct image *img = open_image("b");
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct extents extents = extents_of(img);
	const void *plain;
	int r = image_read_chunk(img, reader, &extents.list[0].chunk, &plain, err);

	free(extents.list);
	return r;
}

Test(image_delta, from_chunks_that_its_base_has_not_is_refused)
{
	struct digest nobody = { { 1, 2, 3 } };
	struct err err = ERR_INIT;

	build(1, "a");
	build(2, "b");
	add_lie(&nobody, 1);
	remove_pack("b");
	cr_expect_eq(read_first(&err), -ENOENT);
	cr_expect_not_null(strstr(err.msg, "no such chunk"), "%s", err.msg);
}

/* An index of two chunks of 4 MiB in @pack, which nobody has. */
static void write_wide_index(const char *path, const struct descriptor *pack,
                             struct digest digests[static 2])
{
	CLEANUP(close) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CLEANUP(index_writer_free) struct index_writer *w = NULL;
	struct pack_info info = { .digest = pack->digest, .size = pack->size };
	struct node root = { .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2 };
	struct err err = ERR_INIT;

	cr_assert_geq(fd, 0);
	cr_assert_eq(index_writer_open(path, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(index_writer_pack(w, 1, &info, &err), 0, "%s", err.msg);
	for (uint32_t i = 0; i < 2; i++) {
		struct chunk chunk = { .id = i + 1,
			               .pack = 1,
			               .size = FORMAT_CHUNK_MAX,
			               .frame_off = (uint64_t)i * 100,
			               .frame_size = 100 };

		sha256(&i, sizeof(i), &digests[i]);
		chunk.digest = digests[i];
		cr_assert_eq(index_writer_chunk(w, &chunk, &err), 0, "%s", err.msg);
	}
	cr_assert_eq(index_writer_node(w, &root, NULL, &err), 0, "%s", err.msg);
	cr_assert_eq(index_writer_finish(w, &err), 0, "%s", err.msg);
}

/* Let "a" name an image of two chunks of 4 MiB; only their digests are true. */
static void build_wide(struct digest digests[static 2])
{
	CLEANUP(layout_writer_close) struct layout_writer *w = NULL;
	struct descriptor pack = { .digest = { { 7 } }, .size = 1000 }, tagged;
	struct manifest m = { .platform = { .name = FORMAT_PLATFORM_ANY },
		              .packs = &pack,
		              .n_packs = 1 };
	json_t *config = json_pack("{si ss}", "formatVersion", 1, "platform", FORMAT_PLATFORM_ANY);
	char path[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;

	write_wide_index(sample_path(dir, "wide", path), &pack, digests);
	cr_assert_eq(layout_writer_open(layout, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_writer_index(w, path, &m.index, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_writer_json(w, config, &m.config, &err), 0, "%s", err.msg);
	json_decref(config);
	cr_assert_eq(layout_writer_manifest(w, &m, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_writer_tag(w, "a", &m, 1, &tagged, &err), 0, "%s", err.msg);
}

Test(image_delta, from_more_bytes_than_a_prefix_may_have_is_refused)
{
	struct digest bases[2];
	struct err err = ERR_INIT;

	build(2, "b");
	build_wide(bases);
	add_lie(bases, 2);
	remove_pack("b");
	cr_expect_eq(read_first(&err), -ENOENT);
	cr_expect_not_null(strstr(err.msg, "prefix has more than"), "%s", err.msg);
}

Test(image_delta, whose_frame_is_none_is_refused)
{
	struct extents extents;
	struct err err = ERR_INIT;

	build(1, "a");
	build(2, "b");
	{
		CLEANUP(image_close) struct image *img = open_image("a");

		extents = extents_of(img);
	}
	add_lie(&extents.list[0].chunk.digest, 1);
	remove_pack("b");
	cr_expect_eq(read_first(&err), -ENOENT);
	cr_expect_not_null(strstr(err.msg, "zstd"), "%s", err.msg);
	free(extents.list);
}

struct job {
	struct image *img;
	uint32_t n_failed;
};

static void *read_all(void *arg)
{
	struct job *job = arg;
	struct err err = ERR_INIT;

	job->n_failed = count_failures(job->img, 2, 0, &err);
	return NULL;
}

Test(image_delta, are_opened_by_many_threads_at_once)
{
	enum { N = 8 };
	struct job jobs[N];
	pthread_t threads[N];

	build_both();
	remove_pack("b");
	CLEANUP(image_close) struct image *img = open_image("b");
	for (size_t i = 0; i < N; i++) {
		jobs[i] = (struct job){ .img = img };
		cr_assert_eq(pthread_create(&threads[i], NULL, read_all, &jobs[i]), 0);
	}
	for (size_t i = 0; i < N; i++) {
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
		cr_expect_eq(jobs[i].n_failed, 0);
	}
}
