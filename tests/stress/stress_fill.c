/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads fill random ranges of the same few files, some in the
 * background, and read back what they asked for: files of one image; those of
 * two releases, made of parts of the same chunks; and these in a region that
 * has no room for all, so that objects leave it all the time and some reads go past it. Ends with status 1 at
 * the first wrong byte, when a chunk was decompressed twice though there was
 * room, or when a counter does not add up. To be run under ThreadSanitizer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fill_fixture.h"
#include "ranges.h"

enum {
	THREADS = 16,
	ROUNDS = 30,
	STEPS = 60,
	EXIT_SKIP = 77,
};

struct worker {
	pthread_t thread;
	struct fill_fixture *f;
	unsigned seed;
	int failed;
};

enum kind {
	SAMPLE,
	RELEASES,
	NO_ROOM, /* the releases, in a small region */
	N_KINDS,
};

/* As the daemon does: by way of the region, or past it when @obj is NULL. */
static int get_bytes(struct fill_fixture *f, struct extent_map *map, struct object *obj,
                     const struct range *range, void *buf, struct err *err)
{
	size_t len = range->end - range->start;
	int r;

	if (!obj)
		return fill_read(f->fill, map, range->start, len, buf, err);
	r = fill_range(f->fill, map, obj, range->start, len, err);
	return r == 0 ? object_read(obj, buf, len, range->start) : r;
}

static int check_range(struct fill_fixture *f, size_t i, struct extent_map *map, struct object *obj,
                       unsigned *seed)
{
	size_t size = f->file[i].size;
	size_t off = (size_t)rand_r(seed) % size;
	size_t len = 1 + (size_t)rand_r(seed) % (size - off);
	const struct range range = { .start = off, .end = off + len };
	CLEANUP(free) uint8_t *bytes = malloc(len);
	struct err err = ERR_INIT;

	if (!bytes || get_bytes(f, map, obj, &range, bytes, &err) < 0 ||
	    memcmp(bytes, f->bytes[i] + off, len) != 0) {
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
	size_t i = (size_t)rand_r(seed) % f->n_files;
	struct err err = ERR_INIT;

	if (fill_fixture_open(f, i, &map, &obj, &err) < 0 && !map) {
		(void)fprintf(stderr, "file %zu: %s\n", i, err.msg);
		return -1;
	}
	if (obj && rand_r(seed) % 8 == 0 &&
	    fill_later(f->fill, map, obj, (enum fill_priority)(i % 3), fill_fixture_count_done, f) <
	            0)
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

static int check_counters(const struct fill_fixture *f, enum kind kind)
{
	uint64_t requests = stats_get(&f->stats, STAT_CHUNK_REQUESTS);
	uint64_t hits = stats_get(&f->stats, STAT_CHUNK_HITS);
	uint64_t decompressed = stats_get(&f->stats, STAT_CHUNKS_DECOMPRESSED);
	uint64_t again = stats_get(&f->stats, STAT_CHUNKS_DECOMPRESSED_AGAIN);
	uint64_t copied = stats_get(&f->stats, STAT_CHUNKS_COPIED);
	uint64_t evictions = stats_get(&f->stats, STAT_EVICTIONS);
	/* Both releases have the same chunks. */
	uint64_t chunks = index_info(image_index(f->img))->n_chunks;

	if (requests == hits + decompressed && (kind != RELEASES || copied > 0) &&
	    (kind == NO_ROOM ? evictions > 0 : decompressed <= chunks && again == 0))
		return 0;
	(void)fprintf(stderr,
	              "counters: %llu requests, %llu hits, %llu decompressed, %llu again, "
	              "%llu copied, %llu evictions\n",
	              (unsigned long long)requests, (unsigned long long)hits,
	              (unsigned long long)decompressed, (unsigned long long)again,
	              (unsigned long long)copied, (unsigned long long)evictions);
	return -1;
}

static int make_fixture(struct fill_fixture *f, enum kind kind, struct err *err)
{
	static const uint64_t size[N_KINDS] = {
		[SAMPLE] = (uint64_t)64 << 20,
		[RELEASES] = (uint64_t)64 << 20,
		[NO_ROOM] = (uint64_t)64 << 10,
	};

	return kind == SAMPLE ? fill_fixture_init(f, size[kind], err)
	                      : fill_fixture_init_releases(f, size[kind], RELEASE_CHUNK, err);
}

static int run_round(unsigned seed, enum kind kind)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct worker worker[THREADS] = { 0 };
	struct err err = ERR_INIT;
	int failed = 0;
	int r = make_fixture(&f, kind, &err);

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
	fill_cancel(f.fill, f.later);
	return failed > 0 || check_counters(&f, kind) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(void)
{
	int status = EXIT_SUCCESS;

	for (unsigned i = 0; i < ROUNDS && status == EXIT_SUCCESS; i++)
		status = run_round(1000 * i + 1, (enum kind)(i % N_KINDS));
	return status;
}
