/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads fill random ranges of the same few files, some in the
 * background, and read back what they asked for. Ends with status 1 at the
 * first wrong byte, when a chunk was decompressed twice, or when a counter
 * does not add up. To be run under ThreadSanitizer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fill_fixture.h"

enum {
	THREADS = 16,
	ROUNDS = 20,
	STEPS = 60,
	EXIT_SKIP = 77,
};

struct worker {
	pthread_t thread;
	struct fill_fixture *f;
	unsigned seed;
	int failed;
};

static int check_range(struct fill_fixture *f, size_t i, struct extent_map *map, struct object *obj,
                       unsigned *seed)
{
	size_t size = f->file[i].size;
	size_t off = (size_t)rand_r(seed) % size;
	size_t len = 1 + (size_t)rand_r(seed) % (size - off);
	CLEANUP(free) uint8_t *bytes = malloc(len);
	struct err err = ERR_INIT;

	if (!bytes || fill_range(f->fill, map, obj, off, len, &err) < 0 ||
	    object_read(obj, bytes, len, off) < 0 || memcmp(bytes, f->bytes[i] + off, len) != 0) {
		(void)fprintf(stderr, "file %zu, %zu bytes at %zu: wrong: %s\n", i, len, off,
		              err.msg);
		return -1;
	}
	return 0;
}

static int step(struct fill_fixture *f, unsigned *seed)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	size_t i = (size_t)rand_r(seed) % FIXTURE_FILES;
	struct err err = ERR_INIT;

	if (fill_fixture_open(f, i, &map, &obj, &err) < 0) {
		(void)fprintf(stderr, "file %zu: %s\n", i, err.msg);
		return -1;
	}
	if (rand_r(seed) % 8 == 0 && fill_later(f->fill, map, obj, fill_fixture_count_done, f) < 0)
		return -1;
	return check_range(f, i, map, obj, seed);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < STEPS && !w->failed; i++)
		w->failed = step(w->f, &w->seed) < 0;
	return NULL;
}

static int check_counters(const struct fill_fixture *f)
{
	uint64_t requests = stats_get(&f->stats, STAT_CHUNK_REQUESTS);
	uint64_t hits = stats_get(&f->stats, STAT_CHUNK_HITS);
	uint64_t decompressed = stats_get(&f->stats, STAT_CHUNKS_DECOMPRESSED);
	uint64_t again = stats_get(&f->stats, STAT_CHUNKS_DECOMPRESSED_AGAIN);

	if (again == 0 && requests == hits + decompressed &&
	    decompressed <= index_info(image_index(f->img))->n_chunks)
		return 0;
	(void)fprintf(stderr, "counters: %llu requests, %llu hits, %llu decompressed, %llu again\n",
	              (unsigned long long)requests, (unsigned long long)hits,
	              (unsigned long long)decompressed, (unsigned long long)again);
	return -1;
}

static int run_round(unsigned seed)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct worker worker[THREADS] = { 0 };
	struct err err = ERR_INIT;
	int failed = 0;
	int r = fill_fixture_init(&f, (uint64_t)64 << 20, &err);

	if (r < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return r == -EPERM ? EXIT_SKIP : EXIT_FAILURE;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){ .f = &f, .seed = seed + i };
		if (pthread_create(&worker[i].thread, NULL, run, &worker[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < THREADS; i++) {
		(void)pthread_join(worker[i].thread, NULL);
		failed += worker[i].failed;
	}
	fill_cancel(f.fill, f.img);
	return failed > 0 || check_counters(&f) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(void)
{
	int status = EXIT_SUCCESS;

	for (unsigned i = 0; i < ROUNDS && status == EXIT_SUCCESS; i++)
		status = run_round(1000 * i + 1);
	return status;
}
