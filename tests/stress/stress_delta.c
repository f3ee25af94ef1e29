/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: stress_delta
 *
 * Many threads read an image whose pack is missing, from its first chunk on at once: one of them
 * opens its delta. Ends with status 1 when a chunk cannot be read (each is compared with its digest).
 * To be run under ThreadSanitizer.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "add_delta.h"
#include "flat_image.h"
#include "layout_writer.h"
#include "prng.h"
#include "sample.h"

enum {
	THREADS = 16,
	ROUNDS = 100,
	SIZE = 8 * FLAT_CHUNK,
};

struct chunks {
	struct chunk list[SIZE / FLAT_CHUNK];
	size_t n;
};

struct worker {
	pthread_t thread;
	struct image *img;
	const struct chunks *chunks;
	size_t first;
	int failed;
};

static int add_chunk(void *arg, const struct chunk *chunk)
{
	struct chunks *chunks = arg;

	chunks->list[chunks->n++] = *chunk;
	return 0;
}

static void *run(void *arg)
{
	struct worker *w = arg;
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct err err = ERR_INIT;

	for (size_t i = 0; reader && i < w->chunks->n; i++) {
		const struct chunk *chunk = &w->chunks->list[(w->first + i) % w->chunks->n];
		const void *plain;

		if (image_read_chunk(w->img, reader, chunk, &plain, &err) < 0) {
			(void)fprintf(stderr, "%s\n", err.msg);
			w->failed = 1;
		}
	}
	return NULL;
}

static int run_round(const struct image_ref *ref, struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	struct worker worker[THREADS];
	struct chunks chunks = { .n = 0 };
	int failed = 0;
	int r = image_open_ref(ref, NULL, &img, err);

	if (r == 0)
		r = index_each_chunk(image_index(img), add_chunk, &chunks, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){ .img = img, .chunks = &chunks, .first = i };
		if (pthread_create(&worker[i].thread, NULL, run, &worker[i]) != 0)
			abort();
	}
	for (size_t i = 0; i < THREADS; i++) {
		(void)pthread_join(worker[i].thread, NULL);
		failed |= worker[i].failed;
	}
	return failed ? err_set(err, -1, "chunks could not be read") : 0;
}

/* Build a release and let "base" name it, too, when @is_base. */
static int build(const char *path, unsigned number, bool is_base, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(layout_writer_close) struct layout_writer *w = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	static uint8_t bytes[SIZE];
	struct flat_file file = { .name = "file", .data = bytes, .size = SIZE };
	struct prng prng = PRNG_INIT(1);
	struct descriptor tagged;
	int r;

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)prng_next(&prng);
	for (size_t i = 0; i < SIZE; i += 1000)
		bytes[i] = (uint8_t)number;
	r = flat_image_build(path, &file, 1, err);
	if (r < 0 || !is_base)
		return r;
	r = layout_open(path, &layout, err);
	if (r == 0)
		r = layout_images(layout, "latest", &set, err);
	if (r == 0)
		r = layout_writer_open(path, &w, err);
	return r < 0 ? r
	             : layout_writer_tag(w, "base", set.manifests, set.n_manifests, &tagged, err);
}

static int remove_pack(const struct image_ref *ref, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_close) struct image *img = NULL;
	char hex[DIGEST_HEX_SIZE];
	int r = layout_open(ref->layout, &layout, err);

	if (r == 0)
		r = image_open_ref(ref, NULL, &img, err);
	if (r < 0)
		return r;
	(void)digest_hex(&image_manifest(img)->packs[0].digest, hex);
	return unlinkat(layout_blobs(layout), hex, 0) < 0 ? err_set_errno(err, "%s", hex) : 0;
}

int main(void)
{
	char dir[SAMPLE_PATH_MAX], path[SAMPLE_PATH_MAX];
	struct image_ref ref = { .layout = path, .tag = (char[]){ "latest" } };
	struct err err = ERR_INIT;
	int r;

	sample_dir(dir);
	(void)sample_path(dir, "layout", path);
	r = build(path, 1, /* is_base= */ true, &err);
	if (r == 0)
		r = build(path, 2, /* is_base= */ false, &err);
	if (r == 0)
		r = add_delta(path, "base", "latest", &err);
	if (r == 0)
		r = remove_pack(&ref, &err);
	for (int i = 0; r == 0 && i < ROUNDS; i++)
		r = run_round(&ref, &err);
	sample_dir_remove(dir);
	if (r < 0)
		(void)fprintf(stderr, "stress_delta: %s\n", err.msg);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
