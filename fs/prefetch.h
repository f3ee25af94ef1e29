/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefetch: filling an image before it is read, along a trace or by packs.
 *
 * A job fills one image, in order, by a few threads at lowest priority that all jobs share;
 * the oldest job comes first. It ends when all is filled, when the region has no room, or
 * when it is cancelled; what became of it is remembered for the image, by digest,
 * until a later one begins. Damage costs only its own range. Who asks is told what of it is in
 * the region still.
 *
 * Memory: a job holds 24 bytes for each use or content, and while it reads a trace, the text; one that
 * has ended, 16 bytes for each content.
 * Functions may be called from any thread.
 */
#pragma once

#include "fill.h"
#include "image.h"

struct prefetch;

enum prefetch_source {
	PREFETCH_IMAGE, /* the image's own trace; without one, all */
	PREFETCH_ALL,
	PREFETCH_TRACE, /* a trace that was given */
};

enum prefetch_state {
	PREFETCH_RUNNING,
	PREFETCH_DONE,
	PREFETCH_EVICTED, /* it was done, and some of it has left the region since */
	PREFETCH_FULL,    /* the region has no room for the rest */
	PREFETCH_FAILED,
	PREFETCH_CANCELLED,
};

/* Called by a thread of the prefetch when a job has ended. */
typedef void (*prefetch_ended_fn)(void *arg);

struct prefetch_config {
	struct region *region; /* borrowed */
	struct fill *fill;     /* borrowed */
	unsigned n_threads;
	prefetch_ended_fn ended;
	void *arg;
};

MUST_CHECK int prefetch_new(const struct prefetch_config *config, struct prefetch **ret,
                            struct err *err);

/* Cancel all jobs and end the threads. Accepts NULL. No other call may be under way. */
void prefetch_free(struct prefetch *p);
DEFINE_CLEANUP(struct prefetch *, prefetch_free)

struct prefetch_order {
	struct image *img;
	bool take;      /* @img is closed at the end; else it is borrowed until prefetch_cancel() */
	bool passed_on; /* as prefetch_passed_on() says */
	const char *name; /* of the image, for people */
	enum prefetch_source source;
	char *text; /* of PREFETCH_TRACE: taken; it has passed trace_check() */
	size_t len;
};

/*
 * Begin to fill as @order says, instead of what is being filled of the same image;
 * nothing changes when that is the same. Takes what is to be taken also when it fails. Returns 0 or -ENOMEM.
 */
MUST_CHECK int prefetch_start(struct prefetch *p, struct prefetch_order *order, struct err *err);

/* Cancel the jobs that fill @img, or all when it is NULL, and wait until none uses it. Accepts NULL. */
void prefetch_cancel(struct prefetch *p, const struct image *img);

/* Whether a job runs. Accepts NULL. */
bool prefetch_busy(struct prefetch *p);

/* A job, running or ended. */
struct prefetch_report {
	struct digest digest; /* of the image */
	const char *name; /* borrowed for the call that gave the report; NULL from prefetch_find() */
	enum prefetch_source source;
	enum prefetch_state state;
	uint64_t done;   /* bytes that are filled */
	uint64_t total;  /* bytes to be filled; 0 until it is known */
	char error[200]; /* why not all could be filled; or "" */
};

/*
 * A session of small files serves the image @digest: what its kernel cache has leaves the region, which is no
 * loss, so that jobs stay done. Accepts NULL.
 */
void prefetch_passed_on(struct prefetch *p, const struct digest *digest);

/* "running", "done", ... */
const char *prefetch_state_name(enum prefetch_state state);

/*
 * Report the last job of the image @digest. Returns whether there was one. Looks at the region
 * when something may have left it, which takes some tens of milliseconds when that has 100,000 objects.
 */
bool prefetch_find(struct prefetch *p, const struct digest *digest, struct prefetch_report *ret);

/* Call @fn for each job, oldest first, with the lock held: it may not call back. Looks as prefetch_find(). */
typedef void (*prefetch_report_fn)(void *arg, const struct prefetch_report *report);
void prefetch_each(struct prefetch *p, prefetch_report_fn fn, void *arg);
