/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads begin, look at and cancel prefetches of one image, others read its files. Ends
 * with status 1 when the last job does not fill all, or a chunk was decompressed twice. To be run
 * under ThreadSanitizer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fill_fixture.h"
#include "prefetch.h"

enum {
	THREADS = 8,
	STEPS = 1000,
	EXIT_SKIP = 77,
};

struct shared {
	struct fill_fixture f;
	struct prefetch *p;
	int event;
};

struct worker {
	pthread_t thread;
	struct shared *shared;
	unsigned seed;
	int failed;
};

static void ended(void *arg)
{
	(void)eventfd_write(*(int *)arg, 1);
}

static int begin(struct shared *s, enum prefetch_source source)
{
	static const char text[] = "# assetfs trace 1\n0 1 05\n0 0 01\n7 9 03\n";
	struct prefetch_order order = { .img = s->f.img, .name = "image", .source = source };

	if (source == PREFETCH_TRACE) {
		order.text = strdup(text);
		order.len = strlen(text);
		if (!order.text)
			return -ENOMEM;
	}
	return prefetch_start(s->p, &order, NULL);
}

static int read_some(struct shared *s, size_t i)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	int r = fill_fixture_open(&s->f, i, &map, &obj, NULL);

	return r < 0 ? r : fill_object(s->f.fill, map, obj, NULL);
}

static void count(void *arg, const struct prefetch_report *report)
{
	*(uint64_t *)arg += report->done;
}

static int step(struct shared *s, unsigned *seed)
{
	struct prefetch_report report;
	uint64_t sum = 0;

	switch (rand_r(seed) % 6) {
	case 0:
		return begin(s, PREFETCH_TRACE);
	case 1:
		return begin(s, PREFETCH_ALL);
	case 2:
		prefetch_cancel(s->p, s->f.img);
		return 0;
	case 3:
		prefetch_each(s->p, count, &sum);
		(void)prefetch_busy(s->p);
		return 0;
	case 4:
		(void)prefetch_find(s->p, &image_manifest(s->f.img)->self.digest, &report);
		return 0;
	default:
		return read_some(s, (size_t)rand_r(seed) % s->f.n_files);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < STEPS && w->failed == 0; i++)
		w->failed = step(w->shared, &w->seed);
	return NULL;
}

static int run_threads(struct shared *s)
{
	struct worker workers[THREADS];
	int failed = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .shared = s, .seed = i };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < THREADS; i++) {
		(void)pthread_join(workers[i].thread, NULL);
		failed = failed ? failed : workers[i].failed;
	}
	return failed;
}

/* The last job, which nobody cancels, fills all. */
static int run_last(struct shared *s)
{
	struct prefetch_report report = { .state = PREFETCH_RUNNING };
	eventfd_t n;
	int r;

	prefetch_cancel(s->p, NULL);
	r = begin(s, PREFETCH_ALL);
	while (r == 0 && prefetch_busy(s->p))
		(void)eventfd_read(s->event, &n);
	if (r < 0 || !prefetch_find(s->p, &image_manifest(s->f.img)->self.digest, &report))
		return 1;
	if (report.state != PREFETCH_DONE || report.done != report.total ||
	    stats_get(&s->f.stats, STAT_CHUNKS_DECOMPRESSED_AGAIN) != 0) {
		(void)fprintf(stderr, "%s, %llu of %llu: %s\n", prefetch_state_name(report.state),
		              (unsigned long long)report.done, (unsigned long long)report.total,
		              report.error);
		return 1;
	}
	return 0;
}

int main(void)
{
	struct shared s = { .event = eventfd(0, EFD_CLOEXEC) };
	struct err err = ERR_INIT;
	struct prefetch_config config = { .n_threads = 3, .ended = ended, .arg = &s.event };
	int status;
	int r = fill_fixture_init(&s.f, (uint64_t)64 << 20, &err);

	if (r == -EPERM) {
		(void)printf("skip: no region here\n");
		return EXIT_SKIP;
	}
	config.region = s.f.region;
	config.fill = s.f.fill;
	if (r < 0 || prefetch_new(&config, &s.p, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return EXIT_FAILURE;
	}
	status = run_threads(&s) < 0 || run_last(&s) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	(void)begin(&s, PREFETCH_ALL);
	prefetch_free(s.p);
	fill_fixture_release(&s.f);
	(void)close(s.event);
	return status;
}
