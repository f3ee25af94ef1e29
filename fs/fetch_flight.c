/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flights, and the threads that fly them. Bytes count as there as soon as they are written, so that
 * who waits for the first of them does not wait for the last. A flight that fails leaves what came of it;
 * who still wants the rest begins another one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fetch_blame.h"

#define RETRY_FIRST ((uint64_t)250 * 1000 * 1000)  /* ns */
#define RETRY_LAST  ((uint64_t)4000 * 1000 * 1000) /* ns */

int fetch_start_thread(struct fetch *fetch, pthread_t *ret, void *(*run)(void *))
{
	if (pthread_create(ret, NULL, run, fetch) != 0)
		return -EAGAIN;
	fetch->n_running++;
	return 0;
}

void fetch_end_thread(struct fetch *fetch)
{
	fetch->n_running--;
	(void)pthread_cond_broadcast(&fetch->quiet);
}

/* The flight of @blob that brings the first of @range; NULL when there is none. */
static struct flight *first_flight(const struct fetch *fetch, const struct blob *blob,
                                   const struct range *range)
{
	struct flight *first = NULL;

	for (struct flight *f = fetch->flights; f && blob->n_flights > 0; f = f->next) {
		if (f->blob == blob && f->pos < range->end && f->end > range->start &&
		    (!first || f->pos < first->pos))
			first = f;
	}
	return first;
}

bool fetch_missing(const struct fetch *fetch, const struct blob *blob, const struct range *range,
                   struct range *ret)
{
	struct range left = *range;
	const struct flight *f;
	struct range gap, hope;

	while (ranges_gap(&blob->have, left.start, left.end, &gap)) {
		if (!ranges_gap(&blob->hopeless, gap.start, gap.end, &hope)) {
			left.start = gap.end;
			continue;
		}
		gap = hope;
		f = first_flight(fetch, blob, &gap);
		if (!f || f->pos > gap.start) {
			ret->start = gap.start;
			ret->end = f ? f->pos : gap.end;
			return true;
		}
		left.start = f->end;
	}
	return false;
}

static void link_flight(struct fetch *fetch, struct flight *flight)
{
	struct flight **link = &fetch->flights;

	while (*link)
		link = &(*link)->next;
	*link = flight;
	flight->blob->n_flights++;
	flight->origin->refs++;
	(void)pthread_cond_signal(&fetch->work);
}

static void unlink_flight(struct fetch *fetch, const struct flight *flight)
{
	struct flight **link = &fetch->flights;

	while (*link != flight)
		link = &(*link)->next;
	*link = flight->next;
	flight->blob->n_flights--;
}

static void *fly_all(void *arg);

/* As many threads as flights that wait, if there may be so many. */
static int start_threads(struct fetch *fetch, unsigned n_waiting)
{
	int r = 0;

	while (r == 0 && n_waiting > fetch->n_idle && fetch->n_threads < FETCH_THREADS) {
		r = fetch_start_thread(fetch, &fetch->thread[fetch->n_threads], fly_all);
		if (r == 0) {
			fetch->n_threads++;
			n_waiting--;
		}
	}
	return fetch->n_threads > 0 ? 0 : r;
}

/* Whether a range costs as much as all that is before it. */
static bool sends_whole(const struct origin *origin)
{
	return origin->from.sends_whole && origin->from.sends_whole(origin->from.arg);
}

/* Begin flights for @gap, of which nothing is there or on its way. */
static int begin_gap(struct origin *origin, struct blob *blob, const struct range *gap, bool urgent)
{
	uint64_t max = sends_whole(origin) ? blob->size : FETCH_FLIGHT;

	for (uint64_t pos = gap->start; pos < gap->end;) {
		struct flight *flight = calloc(1, sizeof(*flight));

		if (!flight)
			return -ENOMEM;
		flight->origin = origin;
		flight->blob = blob;
		flight->pos = pos;
		flight->end = fetch_border(blob, pos, gap->end - pos < max ? gap->end : pos + max);
		flight->urgent = urgent;
		link_flight(origin->fetch, flight);
		pos = flight->end;
	}
	return 0;
}

int fetch_begin(struct origin *origin, struct blob *blob, const struct range *range, bool urgent)
{
	const struct range all = { .start = 0, .end = blob->size };
	struct fetch *fetch = origin->fetch;
	unsigned n_waiting = 0;
	struct range gap;
	int r = 0;

	/* What nobody wants comes anyway, and is better kept. */
	while (r == 0 && fetch_missing(fetch, blob, range, &gap) &&
	       fetch_missing(fetch, blob, sends_whole(origin) ? &all : range, &gap))
		r = begin_gap(origin, blob, &gap, urgent);
	for (struct flight *f = fetch->flights; f; f = f->next) {
		if (f->blob == blob && f->pos < range->end && f->end > range->start)
			f->urgent |= urgent;
		n_waiting += !f->flying;
	}
	return r < 0 ? r : start_threads(fetch, n_waiting);
}

/* A flight under way. */
struct carrying {
	struct fetch *fetch;
	struct flight *flight;
	struct fetch_order *order;
	int fd; /* of the blob */
};

/* Count bytes that were written as there. */
static int note_arrival(const struct carrying *c, uint64_t len, struct err *err)
{
	struct flight *flight = c->flight;
	struct origin *origin = flight->origin;
	struct fetch *fetch = c->fetch;
	int r;

	(void)pthread_mutex_lock(&fetch->lock);
	r = ranges_add(&flight->blob->have, flight->pos, flight->pos + len);
	if (r == 0) {
		const struct range came = { .start = flight->pos, .end = flight->pos + len };

		fetch_note_giver(origin, flight->blob, c->order->now, &came);
		flight->pos += len;
		fetch->used += len;
		origin->progress = stats_clock();
		origin->retry_ns = 0;
		origin->retry_at = 0;
		origin->given_up = false;
	}
	(void)pthread_cond_broadcast(&flight->blob->changed);
	(void)pthread_mutex_unlock(&fetch->lock);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

/* Whether the flight of @c is worth going on. */
static bool is_wanted(const struct carrying *c)
{
	struct fetch *fetch = c->fetch;
	bool wanted;

	(void)pthread_mutex_lock(&fetch->lock);
	wanted = !fetch->stop && !c->flight->origin->cancelled;
	(void)pthread_mutex_unlock(&fetch->lock);
	return wanted;
}

static int take(void *arg, const void *data, size_t len, struct err *err)
{
	const struct carrying *c = arg;
	int r;

	if (!is_wanted(c))
		return err_set(err, -ECANCELED, "it is no longer wanted");
	stats_add(c->fetch->stats, STAT_BYTES_FETCHED, len);
	/* Nobody else moves it. */
	r = io_pwrite(c->fd, data, len, c->flight->pos);
	if (r < 0)
		return err_set(err, r, "what was fetched could not be written: %s",
		               strerrordesc_np(-r));
	return note_arrival(c, len, err);
}

int fetch_open_file(const struct fetch *fetch, const struct digest *digest, uint64_t size)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(fetch->dir, digest_hex(digest, hex), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != size && ftruncate(fd, (off_t)size) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* Bring what @flight is for. Returns 0, or an error with its message. */
static int carry(struct fetch *fetch, struct flight *flight, const struct descriptor *d,
                 const struct blob_range *range, struct fetch_order *order, struct err *err)
{
	struct origin *origin = flight->origin;
	CLEANUP(close) int fd = fetch_open_file(fetch, &d->digest, d->size);
	struct carrying c = { .fetch = fetch, .flight = flight, .order = order, .fd = fd };
	int r;

	if (fd < 0)
		return err_set(err, fd, "its file could not be opened: %s", strerrordesc_np(-fd));
	if (!is_wanted(&c))
		return err_set(err, -ECANCELED, "it is no longer wanted");
	stats_add(fetch->stats, STAT_FETCHES, 1);
	order->take = take;
	order->arg = &c;
	r = origin->from.read(origin->from.arg, d, range, order, err);
	/* Pages that are clean can be dropped when they have been read. */
	(void)sync_file_range(fd, (off_t)range->off, (off_t)range->len, SYNC_FILE_RANGE_WRITE);
	return r;
}

static void log_failure(const struct err *err)
{
	static struct log_limit limit;

	if (log_allowed(&limit))
		log_warn("a fetch failed, and is tried again while it is waited for: %s", err->msg);
}

/* A flight has failed: nothing more is begun for a while, which grows. */
static void note_failure(const struct flight *flight, const struct err *err)
{
	struct origin *origin = flight->origin;
	struct blob *blob = flight->blob;

	uint64_t now = stats_clock();

	stats_add(origin->fetch->stats, STAT_FETCH_ERRORS, 1);
	/* Those that fail together count once. */
	if (now >= origin->retry_at) {
		origin->retry_ns = origin->retry_ns == 0 ? RETRY_FIRST : origin->retry_ns * 2;
		if (origin->retry_ns > RETRY_LAST)
			origin->retry_ns = RETRY_LAST;
		origin->retry_at = now + origin->retry_ns;
	}
	blob->n_failures++;
	blob->failed = origin;
	blob->failure = *err;
}

/* With the lock held, which is given up meanwhile. */
static void fly(struct fetch *fetch, struct flight *flight)
{
	const struct descriptor d = { .digest = flight->blob->digest, .size = flight->blob->size };
	const struct blob_range range = { .off = flight->pos, .len = flight->end - flight->pos };
	const struct range all = { .start = flight->pos, .end = flight->end };
	struct range come = { .start = flight->pos };
	struct fetch_order order = { .now = 0 };
	struct err err = ERR_INIT;
	uint64_t start = stats_clock();
	int r;

	fetch_wrong_sources(flight->origin, flight->blob, &all, &order);
	flight->flying = true;
	flight->origin->n_flying++;
	(void)pthread_mutex_unlock(&fetch->lock);
	r = carry(fetch, flight, &d, &range, &order, &err);
	if (r == 0)
		stats_took(fetch->stats, LATENCY_FETCH, start);
	if (r < 0 && r != -ECANCELED)
		log_failure(&err);
	come.end = flight->pos;
	/* Before it can leave. */
	fetch_remember(fetch, flight->blob, &come);
	(void)pthread_mutex_lock(&fetch->lock);
	unlink_flight(fetch, flight);
	flight->origin->n_flying--;
	if (r < 0 && r != -ECANCELED)
		note_failure(flight, &err);
	(void)pthread_cond_broadcast(&flight->blob->changed);
	fetch_put_origin(flight->origin);
	free(flight);
	if (r == -ENOSPC)
		fetch_let_leave(fetch, FETCH_FLIGHT);
	else
		fetch_make_room(fetch, 0);
}

void fetch_drop_flights(struct fetch *fetch)
{
	while (fetch->flights) {
		struct flight *flight = fetch->flights;

		unlink_flight(fetch, flight);
		fetch_put_origin(flight->origin);
		free(flight);
	}
}

/* The next one to be flown, or NULL. */
static struct flight *next_flight(const struct fetch *fetch)
{
	struct flight *next = NULL;

	for (struct flight *f = fetch->flights; f && !(next && next->urgent); f = f->next) {
		if (!f->flying && f->origin->n_flying < FETCH_CONNECTIONS && (!next || f->urgent))
			next = f;
	}
	return next;
}

static void *fly_all(void *arg)
{
	struct fetch *fetch = arg;

	(void)pthread_mutex_lock(&fetch->lock);
	while (!fetch->stop) {
		struct flight *flight = next_flight(fetch);

		if (flight) {
			fly(fetch, flight);
			continue;
		}
		fetch->n_idle++;
		(void)pthread_cond_wait(&fetch->work, &fetch->lock);
		fetch->n_idle--;
	}
	fetch_end_thread(fetch);
	(void)pthread_mutex_unlock(&fetch->lock);
	return NULL;
}
