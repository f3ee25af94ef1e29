/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of fetch share. */
#pragma once

#include <pthread.h>

#include "base/table.h"
#include "fetch.h"
#include "ranges.h"

enum {
	FETCH_THREADS = 16,
	FETCH_CONNECTIONS = 8, /* of an origin: one that does not answer leaves threads to others */
	FETCH_STREAMS = 4,     /* readers in order that are told apart in a blob */
	FETCH_FLIGHT = 4 << 20, /* bytes of a flight, at most */
	FETCH_AHEAD = 8 << 20,  /* bytes that are fetched ahead of a reader, at most */
	FETCH_STEP = 1 << 20,   /* bytes of a flight in the background */
	FETCH_SOURCES = 32,     /* of an origin, that are told apart */
	FETCH_DAMAGE = 64,      /* damaged ranges of a blob that are remembered */
};

/* A range on its way. Flights of a blob do not overlap, nor do they bring what is there. */
struct flight {
	struct flight *next;   /* of the fetch: in order of age */
	struct origin *origin; /* owned reference */
	struct blob *blob;
	uint64_t pos, end; /* what is still to come */
	bool urgent;       /* somebody waits for it */
	bool flying;
};

/* Somebody who reads a blob in order. */
struct stream {
	uint64_t pos;  /* end of what was read last */
	uint64_t used; /* bytes that were read */
};

struct blob {
	struct table_node node; /* in fetch->blobs */
	struct digest digest;
	uint64_t size;
	struct ranges have;
	uint32_t n_holds; /* calls of fetch_hold() that wait or that were not released */
	uint32_t n_needs; /* origins that need it */
	uint32_t n_flights;
	uint64_t used; /* tick of its last use */
	bool leaving;  /* its bytes are being removed */
	struct stream stream[FETCH_STREAMS];
	unsigned oldest;        /* stream to be replaced next */
	pthread_cond_t changed; /* bytes came, or a flight failed, or it has left */

	struct giver *givers;              /* owned; fetch_blame.c */
	struct ranges hopeless;            /* all who have them have other bytes; nobody is asked */
	uint64_t hopeless_until;           /* clock */
	uint64_t round;                    /* how often bytes turned out to be damaged */
	struct range damage[FETCH_DAMAGE]; /* the last of these, by round */

	uint32_t n_failures;         /* of its flights */
	const struct origin *failed; /* whose flight failed last; may be gone */
	struct err failure;          /* of that */
};

struct origin {
	struct fetch *fetch;
	struct fetch_from from; /* owned */

	/* under the lock of the fetch */
	uint32_t refs;
	uint32_t n_flying; /* flights under way */
	struct origin *next;
	struct blob **needs; /* owned; in the order of the image */
	uint32_t n_needs;
	uint32_t n_background; /* of them that are fetched in the background, the first ones */
	bool cancelled;
	bool given_up;     /* somebody has waited for long enough, and nothing has come since */
	uint64_t progress; /* clock of the last byte */
	uint64_t retry_at; /* clock; nothing is begun before */
	uint64_t retry_ns; /* the wait after the last failure; 0: something has come since */
};

struct fetch {
	/* constant after fetch_new() */
	int dir; /* owned */
	struct store_db *db;
	struct stats *stats;
	uint64_t size, rate;
	uint64_t timeout_ns;

	pthread_mutex_t lock;
	pthread_cond_t work;  /* there is a flight, or the end has come */
	pthread_cond_t paced; /* there may be something to do in the background */
	pthread_cond_t quiet; /* a thread has ended */
	/* under lock */
	pthread_t thread[FETCH_THREADS + 1]; /* one for the background */
	struct table blobs;                  /* struct blob, by digest; owned */
	struct origin *origins;              /* all there are */
	struct flight *flights;              /* owned */
	unsigned n_threads;  /* that were started; the background's is not among them */
	unsigned n_idle;     /* that wait for a flight */
	unsigned n_running;  /* of all that were started */
	bool has_background; /* its thread was started */
	bool stop;
	uint64_t used; /* bytes of all blobs */
	uint64_t tick;
};

/* All but these want the lock held. */

/* The blob of @d, made when there is none; NULL when memory runs out. */
struct blob *fetch_blob(struct fetch *fetch, const struct descriptor *d);

/*
 * Whether bytes of @range are neither there nor on their way, nor hopeless; sets *@ret to the first run
 * of such.
 */
bool fetch_missing(const struct fetch *fetch, const struct blob *blob, const struct range *range,
                   struct range *ret);

/* Begin flights for what is missing of @range. Returns 0, -ENOMEM, or -EAGAIN without threads. */
MUST_CHECK int fetch_begin(struct origin *origin, struct blob *blob, const struct range *range,
                           bool urgent);

/* Start a thread. Returns 0 or -EAGAIN. */
MUST_CHECK int fetch_start_thread(struct fetch *fetch, pthread_t *ret, void *(*run)(void *));

/* To be called at the end of such a thread. */
void fetch_end_thread(struct fetch *fetch);

/* Let blobs leave until @room more bytes fit. Gives the lock up meanwhile. */
void fetch_make_room(struct fetch *fetch, uint64_t room);

/* Let blobs leave that have @bytes, as far as there are such. Gives the lock up meanwhile. */
void fetch_let_leave(struct fetch *fetch, uint64_t bytes);

/* Give a reference back. Gives the lock up meanwhile. */
void fetch_put_origin(struct origin *origin);

/* Wait on @cond until @clock, of stats_clock(), at most. */
void fetch_wait(struct fetch *fetch, pthread_cond_t *cond, uint64_t clock);

/* Start the background thread, unless it was. */
void fetch_start_background(struct fetch *fetch);

/* Give up the flights that have not begun. No thread is left. Gives the lock up meanwhile. */
void fetch_drop_flights(struct fetch *fetch);

/*
 * Without the lock: open the file of a blob of @size bytes for writing, making it. Returns a descriptor or
 * -errno.
 */
MUST_CHECK int fetch_open_file(const struct fetch *fetch, const struct digest *digest,
                               uint64_t size);

/* Without the lock: remember that [@start, @end) of @blob is there. */
void fetch_remember(struct fetch *fetch, const struct blob *blob, const struct range *range);
