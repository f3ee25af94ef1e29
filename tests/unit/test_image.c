/* SPDX-License-Identifier: Apache-2.0 */
/* image: chunks come back; damage is told by its kind, and costs nothing but what it hit. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sample.h"

static char dir[SAMPLE_PATH_MAX];
static struct manifest manifest;

static void make_image(void)
{
	struct err err = ERR_INIT;

	sample_dir(dir);
	cr_assert_eq(sample_image(dir, "index.sqlite", "any", &manifest, &err), 0, "%s", err.msg);
}

static void remove_image(void)
{
	manifest_release(&manifest);
	sample_dir_remove(dir);
}

TestSuite(image, .init = make_image, .fini = remove_image);

static struct image *open_image(void)
{
	char layout[SAMPLE_PATH_MAX];
	struct image_ref ref = { .layout = layout, .tag = (char[]){ "latest" } };
	struct image *img = NULL;
	struct err err = ERR_INIT;

	(void)sample_path(dir, "layout", layout);
	cr_assert_eq(image_open_ref(&ref, NULL, &img, &err), 0, "%s", err.msg);
	return img;
}

struct chunk_list {
	struct chunk chunks[SAMPLE_N_CHUNKS];
	size_t n;
};

static int collect(void *arg, const struct chunk *chunk)
{
	struct chunk_list *list = arg;

	list->chunks[list->n++] = *chunk;
	return 0;
}

static struct chunk_list chunks_of(const struct image *img)
{
	struct chunk_list list = { .n = 0 };

	cr_assert_eq(index_each_chunk(image_index(img), collect, &list, NULL), 0);
	cr_assert_eq(list.n, SAMPLE_N_CHUNKS);
	return list;
}

/* Read @chunk and compare it with the sample's; returns what image_read_chunk() does. */
static int read_and_compare(struct image *img, struct chunk_reader *reader,
                            const struct chunk *chunk, struct err *err)
{
	const void *data = NULL;
	size_t size = 0;
	const uint8_t *expected = sample_chunk(chunk->id, &size);
	int r = image_read_chunk(img, reader, chunk, &data, err);

	if (r == 0)
		cr_assert(chunk->size == size && memcmp(data, expected, size) == 0, "chunk %llu",
		          (unsigned long long)chunk->id);
	return r;
}

/* Expect @codes for chunks 1, 2 and 3, read by a new image. */
static void expect_codes(const int codes[static SAMPLE_N_CHUNKS])
{
	CLEANUP(image_close) struct image *img = open_image();
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(img);

	cr_assert_not_null(reader);
	for (size_t i = 0; i < SAMPLE_N_CHUNKS; i++) {
		struct err err = ERR_INIT;
		char hex[DIGEST_HEX_SIZE];

		cr_expect_eq(read_and_compare(img, reader, &list.chunks[i], &err), codes[i],
		             "chunk %zu: %s", i + 1, err.msg);
		(void)digest_hex(&manifest.packs[list.chunks[i].pack - 1].digest, hex);
		hex[12] = '\0';
		cr_expect(codes[i] == 0 || strstr(err.msg, hex), "%s", err.msg);
	}
}

static const char *pack_path(size_t i, char ret[static SAMPLE_PATH_MAX])
{
	char hex[DIGEST_HEX_SIZE];

	(void)snprintf(ret, SAMPLE_PATH_MAX, "%.300s/layout/blobs/sha256/%s", dir,
	               digest_hex(&manifest.packs[i].digest, hex));
	cr_assert_eq(chmod(ret, 0600), 0);
	return ret;
}

static void flip_bit(const char *path, uint64_t at, unsigned bit)
{
	CLEANUP(close) int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	cr_assert_eq(io_pread(fd, &byte, 1, at), 0);
	byte ^= (uint8_t)(1u << bit);
	cr_assert_eq(io_pwrite(fd, &byte, 1, at), 0);
}

static void flip(const char *path, uint64_t at)
{
	flip_bit(path, at, 0);
}

Test(image, gives_all_chunks)
{
	expect_codes((int[]){ 0, 0, 0 });
}

Test(image, knows_its_manifest_and_index)
{
	CLEANUP(image_close) struct image *img = open_image();
	struct err err = ERR_INIT;

	cr_expect(digest_equal(&image_manifest(img)->self.digest, &manifest.self.digest));
	cr_expect_str_eq(image_manifest(img)->platform.name, "any");
	cr_expect_eq(index_info(image_index(img))->n_nodes, SAMPLE_N_NODES);
	cr_expect_eq(image_check_packs(img, &err), 0, "%s", err.msg);
}

/*
 * Every byte of a frame: flipping it hits its chunk, or nothing for @n_harmless bytes at most, and never another.
 */
static void expect_flips_refused(unsigned checks, uint32_t n_harmless)
{
	CLEANUP(image_close) struct image *img = open_image();
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(img);
	const struct chunk *hit = &list.chunks[1];
	char path[SAMPLE_PATH_MAX];
	uint32_t n_refused = 0;

	chunk_reader_set_checks(reader, checks);
	(void)pack_path(0, path);
	for (uint32_t i = 0; i < hit->frame_size; i++) {
		int r;

		flip(path, hit->frame_off + i);
		r = read_and_compare(img, reader, hit, NULL);
		cr_assert(r == 0 || r == -EBADMSG, "byte %u: %d", i, r);
		n_refused += r == -EBADMSG;
		cr_assert_eq(read_and_compare(img, reader, &list.chunks[0], NULL), 0);
		flip(path, hit->frame_off + i);
	}
	cr_expect_geq(n_refused, hit->frame_size - n_harmless, "%u of %u", n_refused,
	              hit->frame_size);
	cr_expect_eq(read_and_compare(img, reader, hit, NULL), 0);
}

Test(image, a_flipped_byte_costs_only_its_chunk)
{
	/* Digests prove the bytes, whatever the frame's checksum says. */
	expect_flips_refused(CHECK_DIGEST, 2 + 4);
	expect_flips_refused(CHECK_CHECKSUM, 2);
	expect_flips_refused(CHECK_CHECKSUM | CHECK_DIGEST, 2);
}

Test(image, a_chunk_with_another_digest_is_found_by_digests)
{
	CLEANUP(image_close) struct image *img = open_image();
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(img);
	struct chunk *chunk = &list.chunks[0];
	struct err err = ERR_INIT;

	chunk->digest.bytes[0] ^= 1;
	cr_expect_eq(read_and_compare(img, reader, chunk, &err), -EBADMSG);
	cr_expect(strstr(err.msg, "damaged: its digest is another"), "%s", err.msg);
	chunk_reader_set_checks(reader, CHECK_CHECKSUM);
	cr_expect_eq(read_and_compare(img, reader, chunk, NULL), 0);
	chunk_reader_set_checks(reader, CHECK_CHECKSUM | CHECK_DIGEST);
	cr_expect_eq(read_and_compare(img, reader, chunk, NULL), -EBADMSG);
}

Test(image, a_frame_without_checksum_is_found_by_who_wants_it)
{
	enum { DESCRIPTOR = 4, HAS_CHECKSUM = 2, CHECKSUM_SIZE = 4 };
	CLEANUP(image_close) struct image *img = open_image();
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(img);
	struct chunk *chunk = &list.chunks[0];
	char path[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;

	flip_bit(pack_path(0, path), chunk->frame_off + DESCRIPTOR, HAS_CHECKSUM);
	chunk->frame_size -= CHECKSUM_SIZE;
	cr_expect_eq(read_and_compare(img, reader, chunk, &err), 0, "%s", err.msg);
	chunk_reader_set_checks(reader, CHECK_CHECKSUM);
	cr_expect_eq(read_and_compare(img, reader, chunk, &err), -EBADMSG);
	cr_expect(strstr(err.msg, "frame has no checksum"), "%s", err.msg);
}

Test(image, a_truncated_pack_costs_only_what_was_cut)
{
	char path[SAMPLE_PATH_MAX];

	{
		CLEANUP(image_close) struct image *img = open_image();
		struct chunk_list list = chunks_of(img);

		cr_assert_eq(truncate(pack_path(0, path), (off_t)list.chunks[1].frame_off + 5), 0);
	}
	expect_codes((int[]){ 0, -EBADMSG, 0 });
	cr_assert_eq(truncate(path, 0), 0);
	expect_codes((int[]){ -EBADMSG, -EBADMSG, 0 });
}

Test(image, a_pack_cut_while_it_is_open_gives_an_error)
{
	CLEANUP(image_close) struct image *img = open_image();
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(img);
	char path[SAMPLE_PATH_MAX];

	cr_assert_eq(read_and_compare(img, reader, &list.chunks[0], NULL), 0);
	cr_assert_eq(truncate(pack_path(0, path), 0), 0);
	cr_expect_eq(read_and_compare(img, reader, &list.chunks[0], NULL), -EBADMSG);
	cr_expect_eq(read_and_compare(img, reader, &list.chunks[2], NULL), 0);
}

Test(image, a_missing_pack_costs_only_its_chunks_and_may_come_back)
{
	CLEANUP(image_close) struct image *img = open_image();
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(img);
	char path[SAMPLE_PATH_MAX], away[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;

	cr_assert_eq(rename(pack_path(1, path), sample_path(dir, "away", away)), 0);
	expect_codes((int[]){ 0, 0, -ENOENT });
	cr_expect_eq(read_and_compare(img, reader, &list.chunks[2], &err), -ENOENT);
	cr_assert_eq(rename(away, path), 0);
	cr_expect_eq(read_and_compare(img, reader, &list.chunks[2], &err), 0, "%s", err.msg);
}

Test(image, packs_are_checked_early_and_cheaply)
{
	CLEANUP(image_close) struct image *img = open_image();
	struct err err = ERR_INIT;
	char path[SAMPLE_PATH_MAX], hex[DIGEST_HEX_SIZE];

	cr_assert_eq(unlink(pack_path(1, path)), 0);
	cr_expect_eq(image_check_packs(img, &err), 1);
	cr_expect_eq(err.code, -ENOENT);
	cr_assert_eq(truncate(pack_path(0, path), 30), 0);
	cr_expect_eq(image_check_packs(img, &err), 2);
	cr_expect_eq(err.code, -EBADMSG);
	(void)digest_hex(&manifest.packs[0].digest, hex);
	hex[12] = '\0';
	cr_expect_not_null(strstr(err.msg, hex), "the first one is named: %s", err.msg);
}

static int try_open(struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	char layout[SAMPLE_PATH_MAX];
	struct image_ref ref = { .layout = layout, .tag = (char[]){ "latest" } };

	(void)sample_path(dir, "layout", layout);
	return image_open_ref(&ref, NULL, &img, err);
}

Test(image, a_damaged_index_layer_is_refused)
{
	char path[SAMPLE_PATH_MAX], hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;

	(void)snprintf(path, sizeof(path), "%.300s/layout/blobs/sha256/%s", dir,
	               digest_hex(&manifest.index.digest, hex));
	cr_assert_eq(chmod(path, 0600), 0);
	flip(path, manifest.index.size / 2);
	cr_expect_eq(try_open(&err), -EBADMSG);
	hex[12] = '\0';
	cr_expect_not_null(strstr(err.msg, hex), "%s", err.msg);
	flip(path, manifest.index.size / 2);
	cr_assert_eq(try_open(&err), 0, "%s", err.msg);
	cr_assert_eq(truncate(path, (off_t)manifest.index.size - 1), 0);
	cr_expect_eq(try_open(&err), -EBADMSG);
	cr_assert_eq(unlink(path), 0);
	cr_expect_eq(try_open(&err), -ENOENT);
}

Test(image, an_index_of_other_packs_is_refused)
{
	char layout_dir[SAMPLE_PATH_MAX], index_path[SAMPLE_PATH_MAX];
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_close) struct image *img = NULL;
	struct err err = ERR_INIT;
	struct descriptor pack = manifest.packs[0];

	cr_assert_eq(layout_open(sample_path(dir, "layout", layout_dir), &layout, &err), 0);
	(void)sample_path(dir, "index.sqlite", index_path);
	manifest.packs[0].size++;
	cr_expect_eq(image_open(layout, &manifest, index_path, &img, &err), -EBADMSG);
	manifest.packs[0] = manifest.packs[1];
	cr_expect_eq(image_open(layout, &manifest, index_path, &img, &err), -EBADMSG);
	manifest.packs[0] = pack;
	manifest.n_packs = 1;
	cr_expect_eq(image_open(layout, &manifest, index_path, &img, &err), -EBADMSG);
	manifest.n_packs = 2;
	cr_expect_eq(image_open(layout, &manifest, index_path, &img, &err), 0, "%s", err.msg);
}

struct job {
	struct image *img;
	const struct chunk_list *list;
	int n_failed;
};

static void *read_often(void *arg)
{
	struct job *job = arg;
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();

	for (size_t i = 0; i < 600; i++) {
		const struct chunk *chunk = &job->list->chunks[i % SAMPLE_N_CHUNKS];
		struct digest digest;
		const void *data;
		struct node node;

		if (image_read_chunk(job->img, reader, chunk, &data, NULL) < 0 ||
		    index_lookup(image_index(job->img), 1, "a.txt", 5, &node, NULL) != 1) {
			job->n_failed++;
			continue;
		}
		sha256(data, chunk->size, &digest);
		job->n_failed += !digest_equal(&digest, &chunk->digest);
	}
	return NULL;
}

Test(image, serves_many_threads_at_once)
{
	enum { N = 8 };
	CLEANUP(image_close) struct image *img = open_image();
	struct chunk_list list = chunks_of(img);
	struct job jobs[N];
	pthread_t threads[N];

	for (size_t i = 0; i < N; i++) {
		jobs[i] = (struct job){ .img = img, .list = &list };
		cr_assert_eq(pthread_create(&threads[i], NULL, read_often, &jobs[i]), 0);
	}
	for (size_t i = 0; i < N; i++) {
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
		cr_expect_eq(jobs[i].n_failed, 0);
	}
}

/* A source that has the packs' bytes, and puts them where the image reads. */
struct brought {
	struct image *img;
	uint8_t *bytes[SAMPLE_N_PACKS]; /* owned */
	unsigned n_holds, n_releases, n_damaged, n_cancels, n_closes;
	unsigned n_lies;  /* wrong frames that are still to come */
	unsigned n_again; /* how often there is still somebody else to be asked */
	int failure;      /* of all calls of hold() */
};

/* The place of @pack in the manifest. */
static size_t slot_of(const struct descriptor *pack)
{
	size_t i = 0;

	while (!digest_equal(&manifest.packs[i].digest, &pack->digest))
		i++;
	return i;
}

static int bring(void *arg, const struct descriptor *pack, struct pack_hold *hold, struct err *err)
{
	const struct blob_range *range = &hold->range;
	struct brought *b = arg;
	char path[SAMPLE_PATH_MAX];
	CLEANUP(close) int fd = open(pack_path(slot_of(pack), path), O_WRONLY | O_CLOEXEC);
	const uint8_t *bytes = b->bytes[slot_of(pack)] + range->off;
	uint8_t wrong = (uint8_t)(bytes[0] ^ 1);

	b->n_holds++;
	if (b->failure < 0)
		return err_set(err, b->failure, "nobody answers");
	cr_assert_leq(range->off + range->len, pack->size);
	cr_assert_eq(io_pwrite(fd, bytes, range->len, range->off), 0);
	if (b->n_lies > 0) {
		b->n_lies--;
		cr_assert_eq(io_pwrite(fd, &wrong, 1, range->off), 0);
	}
	return 0;
}

static bool let_go(void *arg, const struct descriptor *pack, const struct pack_hold *hold,
                   bool damaged)
{
	struct brought *b = arg;

	(void)pack;
	(void)hold;
	b->n_releases++;
	b->n_damaged += damaged;
	return damaged && b->n_again > 0 && b->n_again-- > 0;
}

static void note_cancel(void *arg)
{
	((struct brought *)arg)->n_cancels++;
}

static void note_close(void *arg)
{
	((struct brought *)arg)->n_closes++;
}

/* Take the packs' bytes away and give them to @b, the source of a new image. */
static void open_brought(struct brought *b)
{
	const struct pack_source source = { .hold = bring,
		                            .release = let_go,
		                            .cancel = note_cancel,
		                            .close = note_close,
		                            .arg = b };

	for (size_t i = 0; i < SAMPLE_N_PACKS; i++) {
		size_t size = manifest.packs[i].size;
		char path[SAMPLE_PATH_MAX];
		CLEANUP(close) int fd = open(pack_path(i, path), O_RDWR | O_CLOEXEC);

		b->bytes[i] = malloc(size);
		cr_assert_not_null(b->bytes[i]);
		cr_assert_eq(io_pread(fd, b->bytes[i], size, 0), 0);
		cr_assert_eq(ftruncate(fd, 0), 0);
		cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	}
	b->img = open_image();
	cr_assert_not(image_is_remote(b->img));
	image_set_source(b->img, &source);
	cr_assert(image_is_remote(b->img));
}

static void close_brought(struct brought *b)
{
	image_close(b->img);
	cr_expect_eq(b->n_closes, 1);
	for (size_t i = 0; i < SAMPLE_N_PACKS; i++)
		free(b->bytes[i]);
}

/* Read all chunks; returns the first error. */
static int read_brought(struct brought *b, struct err *err)
{
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct chunk_list list = chunks_of(b->img);
	int r = 0;

	cr_assert_not_null(reader);
	for (size_t i = 0; r == 0 && i < SAMPLE_N_CHUNKS; i++)
		r = read_and_compare(b->img, reader, &list.chunks[i], err);
	return r;
}

Test(image, a_source_brings_each_frame_before_it_is_read)
{
	struct brought b = { .n_lies = 0 };
	struct err err = ERR_INIT;

	open_brought(&b);
	cr_expect_eq(image_check_packs(b.img, NULL), 0);
	cr_expect_eq(read_brought(&b, &err), 0, "%s", err.msg);
	cr_expect_eq(b.n_holds, SAMPLE_N_CHUNKS);
	cr_expect_eq(b.n_releases, SAMPLE_N_CHUNKS);
	cr_expect_eq(b.n_damaged, 0);
	image_cancel(b.img);
	cr_expect_eq(b.n_cancels, 1);
	close_brought(&b);
}

Test(image, wrong_bytes_of_a_source_are_asked_for_while_others_may_have_them)
{
	struct brought b = { .n_lies = 1, .n_again = 1 };
	struct err err = ERR_INIT;

	open_brought(&b);
	cr_expect_eq(read_brought(&b, &err), 0, "%s", err.msg);
	cr_expect_eq(b.n_holds, SAMPLE_N_CHUNKS + 1);
	cr_expect_eq(b.n_damaged, 1);
	b.n_lies = 3;
	b.n_again = 3;
	cr_expect_eq(read_brought(&b, &err), 0, "%s", err.msg);
	cr_expect_eq(b.n_damaged, 4);
	b.n_lies = 2;
	b.n_again = 1;
	cr_expect_eq(read_brought(&b, &err), -EBADMSG);
	cr_expect_eq(b.n_damaged, 6);
	cr_expect_eq(b.n_lies, 0);
	cr_expect_eq(b.n_releases, b.n_holds);
	close_brought(&b);
}

Test(image, what_a_source_cannot_bring_is_told)
{
	struct brought b = { .failure = -ETIMEDOUT };
	struct err err = ERR_INIT;

	open_brought(&b);
	cr_expect_eq(read_brought(&b, &err), -ETIMEDOUT);
	cr_expect(strstr(err.msg, "nobody answers") && strstr(err.msg, "pack '"), "%s", err.msg);
	cr_expect_eq(b.n_releases, 0);
	close_brought(&b);
}
