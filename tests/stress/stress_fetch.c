/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads want random ranges of a few blobs from two places that fail now and then, while blobs
 * leave in some rounds, a source lies in others, and images come and go. Ends with status 1 at the first wrong byte, when a byte came twice
 * though all had room, or when something is not given back. To be run under ThreadSanitizer.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "far_blob.h"

enum {
	THREADS = 12,
	STEPS = 60,
	ROUNDS = 6,
	BLOBS = 5,
	BLOB_SIZE = 3 << 20,
	RANGE_MAX = 200 << 10,
};

struct scene {
	struct fetch *fetch;
	int dir;
	struct far_place place[2];
	bool small; /* there is no room for all */
	bool lies;  /* the first of two sources does */
};

struct worker {
	pthread_t thread;
	struct scene *scene;
	unsigned seed;
	int failed;
};

/* Hold @range of @d, compare its bytes, give it back. Returns 1 when others may be had, and -1. */
static int try(struct worker *w, struct origin *origin, const struct descriptor *d,
               const struct blob_range *range)
{
	struct pack_hold hold;
	bool again;
	struct err err = ERR_INIT;
	int wrong, r;

	hold.range = *range;
	r = fetch_hold(origin, d, &hold, &err);
	if (r < 0) {
		(void)fprintf(stderr, "hold: %s\n", err.msg);
		return -1;
	}
	wrong = far_wrong_bytes(w->scene->dir, d, range->off, range->len);
	again = fetch_release(origin, d, &hold, /* damaged= */ wrong != 0);
	if (again && w->scene->lies)
		return 1;
	if (wrong != 0)
		(void)fprintf(stderr, "%d wrong bytes\n", wrong);
	return wrong == 0 ? 0 : -1;
}

/* Any range, until its bytes are right. */
static int step(struct worker *w, struct origin *origin)
{
	struct descriptor d = far_blob((uint8_t)(1 + rand_r(&w->seed) % BLOBS), BLOB_SIZE);
	struct blob_range range = { .off = (uint64_t)rand_r(&w->seed) % (BLOB_SIZE - 1) };
	int r = 1;

	if (w->scene->lies)
		range.off %= (uint64_t)2 * FAR_MARK;
	range.len = 1 + (uint64_t)rand_r(&w->seed) % RANGE_MAX;
	if (range.len > BLOB_SIZE - range.off)
		range.len = BLOB_SIZE - range.off;
	for (int i = 0; i < IMAGE_SOURCE_TRIES && r > 0; i++)
		r = try(w, origin, &d, &range);
	if (r > 0)
		(void)fprintf(stderr, "wrong bytes again and again\n");
	return r == 0 ? 0 : -1;
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct descriptor needed = far_blob((uint8_t)(1 + w->seed % BLOBS), BLOB_SIZE);
	struct far_place *place = &w->scene->place[w->seed % 2];

	for (int i = 0; i < STEPS && !w->failed;) {
		struct fetch_from from = far_from(place);
		struct origin *origin = origin_new(w->scene->fetch, &from);
		struct pack_source source;

		if (!origin || origin_needs(origin, &needed, 1, 1) < 0)
			return NULL;
		if (rand_r(&w->seed) % 4 == 0)
			__atomic_store_n(&place->n_failures, 2, __ATOMIC_RELAXED);
		for (int k = 0; k < STEPS / 4 && !w->failed; k++, i++)
			w->failed = step(w, origin) < 0;
		source = origin_source(origin);
		source.close(source.arg);
	}
	return NULL;
}

static int check(struct scene *s, const struct stats *stats)
{
	uint64_t given = 0, released = 0;
	struct fetch_usage usage;

	fetch_usage(s->fetch, &usage);
	for (int i = 0; i < 2; i++) {
		given += s->place[i].n_bytes;
		released += __atomic_load_n(&s->place[i].released, __ATOMIC_ACQUIRE);
	}
	if (released == (uint64_t)THREADS * 4 && given == stats_get(stats, STAT_BYTES_FETCHED) &&
	    (s->small || s->lies || given == usage.used))
		return 0;
	(void)fprintf(stderr, "%llu bytes given, %llu there, %llu origins released\n",
	              (unsigned long long)given, (unsigned long long)usage.used,
	              (unsigned long long)released);
	return -1;
}

static int run_round(const char *path, const char *blobs, struct scene *s, unsigned round)
{
	struct worker worker[THREADS] = { 0 };
	struct stats *stats = stats_private();
	struct fetch_config config = { .dir = blobs,
		                       .stats = stats,
		                       .size = s->small ? (uint64_t)2 * BLOB_SIZE : 0,
		                       .rate = round % 2 ? (uint64_t)64 << 20 : 0,
		                       .timeout_s = 600 };
	int failed = 0;

	if (!stats || store_db_open(path, &config.db, NULL) < 0)
		return -1;
	if (fetch_new(&config, &s->fetch, NULL) < 0)
		return -1;
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i].scene = s;
		worker[i].seed = round * THREADS + i;
		if (pthread_create(&worker[i].thread, NULL, run, &worker[i]) != 0)
			return -1;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		(void)pthread_join(worker[i].thread, NULL);
		failed |= worker[i].failed;
	}
	while (!fetch_stop(s->fetch))
		;
	failed |= check(s, stats);
	fetch_free(s->fetch);
	store_db_close(config.db);
	stats_close(stats);
	return failed ? -1 : 0;
}

int main(void)
{
	int status = EXIT_SUCCESS;

	log_set_level(LOG_LEVEL_ERR);

	for (unsigned round = 0; round < ROUNDS && status == EXIT_SUCCESS; round++) {
		char path[] = "/tmp/stress-fetch.XXXXXX", command[64], blobs[64];
		struct scene s = { .small = round == 2 || round == 3, .lies = round >= 4 };

		if (!mkdtemp(path))
			return EXIT_FAILURE;
		(void)snprintf(blobs, sizeof(blobs), "%s/blobs", path);
		if (mkdir(blobs, 0755) < 0)
			return EXIT_FAILURE;
		for (int i = 0; s.lies && i < 2; i++) {
			s.place[i].n_sources = 2;
			s.place[i].liars = 1;
		}
		s.dir = open(blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (run_round(path, blobs, &s, round) < 0)
			status = EXIT_FAILURE;
		(void)close(s.dir);
		(void)snprintf(command, sizeof(command), "rm -r '%s'", path);
		/* The only thread. NOLINTNEXTLINE(concurrency-mt-unsafe,cert-env33-c) */
		if (system(command) != 0)
			status = EXIT_FAILURE;
	}
	return status;
}
