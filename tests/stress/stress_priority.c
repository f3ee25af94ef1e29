/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A caller is not queued behind background work. While callers are more than cores,
 * background threads begin nothing, so that what is decompressed meanwhile is what was under way
 * and what the callers ask for; with cores to spare, they go on, the most urgent task first,
 * never more of them than allowed. Counts, not times, decide. To be run under ThreadSanitizer.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fill_fixture.h"
#include "fill_internal.h"

enum {
	FILES = 8,
	CHUNKS = 60,
	CHUNK = 40 << 10,
	THREADS = 2,
	EXIT_SKIP = 77,
};

struct load {
	struct fill_fixture f; /* with an image of our own */
	uint8_t *bytes;        /* owned; of all files */
	struct extent_map *map[FILES];
	struct object *obj[FILES];

	/* atomic */
	int n_ending;    /* background fills that end, */
	int done[FILES]; /* their files in that order, */
	int n_done;      /* and how many are in there */
};

static uint64_t decompressed(const struct load *l)
{
	return stats_get(&l->f.stats, STAT_CHUNKS_DECOMPRESSED);
}

static int make_image(struct load *l, struct err *err)
{
	static struct flat_part part[FILES][CHUNKS];
	struct flat_file file[FILES];
	static char name[FILES][8];

	l->bytes = malloc((size_t)FILES * CHUNKS * CHUNK);
	if (!l->bytes)
		return -ENOMEM;
	for (size_t i = 0; i < (size_t)FILES * CHUNKS * CHUNK; i++)
		l->bytes[i] = (uint8_t)(i / 50 * 7);
	for (size_t k = 0; k < (size_t)FILES * CHUNKS; k++)
		memcpy(l->bytes + k * CHUNK, &k, sizeof(k));
	for (size_t i = 0; i < FILES; i++) {
		(void)snprintf(name[i], sizeof(name[i]), "%zu", i);
		for (size_t k = 0; k < CHUNKS; k++)
			part[i][k] = (struct flat_part){ l->bytes + (i * CHUNKS + k) * CHUNK, CHUNK,
				                         0, CHUNK };
		file[i] = (struct flat_file){ name[i], l->bytes + i * CHUNKS * CHUNK,
			                      (size_t)CHUNKS * CHUNK, part[i], CHUNKS };
	}
	return flat_image_open(l->f.dir, file, FILES, &l->f.img, err);
}

static int open_files(struct load *l, struct err *err)
{
	char name[8];
	int r = 0;

	for (size_t i = 0; i < FILES && r == 0; i++) {
		struct content content;

		(void)snprintf(name, sizeof(name), "%zu", i);
		r = flat_image_content(l->f.img, name, &content, err);
		if (r == 0)
			r = extent_map_load(l->f.img, &content, &l->map[i], err);
		if (r == 0)
			r = region_get(l->f.region, &content.digest, content.size, &l->obj[i]);
	}
	return r;
}

static void count_done(void *arg, struct object *obj)
{
	struct load *l = arg;

	for (int i = 0; i < FILES; i++) {
		if (l->obj[i] == obj)
			l->done[__atomic_fetch_add(&l->n_ending, 1, __ATOMIC_RELAXED)] = i;
	}
	(void)__atomic_fetch_add(&l->n_done, 1, __ATOMIC_RELEASE);
}

static int n_done(const struct load *l)
{
	return __atomic_load_n(&l->n_done, __ATOMIC_ACQUIRE);
}

static void fail(const char *what, uint64_t got, uint64_t limit)
{
	(void)fprintf(stderr, "%s: %llu instead of at most %llu\n", what, (unsigned long long)got,
	              (unsigned long long)limit);
	_Exit(EXIT_FAILURE);
}

static void later(struct load *l, int i, enum fill_priority priority)
{
	if (fill_later(l->f.fill, l->map[i], l->obj[i], priority, count_done, l) < 0)
		abort();
}

/* All of file 0, in ranges of a few chunks, while the other files wait in the background. */
static void read_through(struct load *l)
{
	struct err err = ERR_INIT;
	uint64_t before;

	for (int i = 1; i < FILES; i++)
		later(l, i, FILL_AHEAD);
	/* The threads are at work. */
	while (decompressed(l) == 0)
		(void)sched_yield();
	/* One caller more than there are cores. */
	for (int i = 0; i <= THREADS; i++)
		background_yield(l->f.fill->background);
	before = decompressed(l);
	for (uint64_t off = 0; off < (uint64_t)CHUNKS * CHUNK; off += (uint64_t)5 * CHUNK) {
		if (fill_range(l->f.fill, l->map[0], l->obj[0], off, (uint64_t)5 * CHUNK, &err) < 0)
			fail(err.msg, 1, 0);
	}
	if (decompressed(l) - before > CHUNKS + THREADS)
		fail("chunks while callers needed the cores", decompressed(l) - before,
		     CHUNKS + THREADS);
	for (int i = 0; i <= THREADS; i++)
		background_resume(l->f.fill->background);
	while (n_done(l) < FILES - 1)
		(void)sched_yield();
}

/* What is most urgent comes first, in order of arrival; a whole file that is waited for before all. */
static void keep_order(struct load *l)
{
	static const enum fill_priority priority[FILES] = {
		FILL_AHEAD, FILL_AHEAD, FILL_OPEN,     FILL_PREFETCH,
		FILL_OPEN,  FILL_AHEAD, FILL_PREFETCH, FILL_AHEAD,
	};
	static const int expected[] = { 3, 6, 2, 4, 1, 5, 7 };
	struct err err = ERR_INIT;

	/* Of one thread: as above. */
	background_yield(l->f.fill->background);
	background_yield(l->f.fill->background);
	for (int i = 1; i < FILES; i++)
		later(l, i, priority[i]);
	if (fill_object(l->f.fill, l->map[0], l->obj[0], &err) < 0)
		fail(err.msg, 1, 0);
	if (n_done(l) > 0 || decompressed(l) != CHUNKS)
		fail("chunks before a whole file", decompressed(l), CHUNKS);
	background_resume(l->f.fill->background);
	background_resume(l->f.fill->background);
	while (n_done(l) < FILES - 1)
		(void)sched_yield();
	for (int i = 0; i < FILES - 1; i++) {
		if (l->done[i] != expected[i])
			fail("order of background work", (uint64_t)l->done[i],
			     (uint64_t)expected[i]);
	}
}

static int run(void (*test)(struct load *), unsigned threads)
{
	struct load l = { .f = { .dir = "/tmp/fill-XXXXXX" } };
	const struct region_config config = { .size = (uint64_t)64 << 20, .stats = &l.f.stats };
	struct err err = ERR_INIT;
	int r;

	if (!mkdtemp(l.f.dir))
		return -errno;
	r = region_open(&config, &l.f.region, &err);
	if (r == 0)
		r = fill_new(l.f.region, &l.f.stats, threads, threads, &l.f.fill, &err);
	if (r == 0)
		r = make_image(&l, &err);
	if (r == 0)
		r = open_files(&l, &err);
	if (r == 0)
		test(&l);
	else
		(void)fprintf(stderr, "%s\n", err.msg);
	if (r == 0 && decompressed(&l) != (uint64_t)FILES * CHUNKS)
		fail("chunks in all", decompressed(&l), (uint64_t)FILES * CHUNKS);
	for (int i = 0; i < FILES; i++) {
		extent_map_unref(l.map[i]);
		object_unref(l.obj[i]);
	}
	fill_fixture_release(&l.f);
	free(l.bytes);
	return r;
}

int main(void)
{
	int r = run(read_through, THREADS);

	/* One thread: tasks end in the order in which they are worked on. */
	if (r == 0)
		r = run(keep_order, 1);
	if (r == -EPERM)
		return EXIT_SKIP;
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
