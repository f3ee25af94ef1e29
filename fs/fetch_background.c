/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching what nobody has asked for yet, of images that are in use, at a limited rate: one thread, one
 * piece at a time, only while nobody waits for bytes, and only as much as there is room for.
 */
#include <stdlib.h>

#include "fetch_internal.h"

#define NS_PER_S ((uint64_t)1000000000)
#define IDLE_NS  (10 * NS_PER_S) /* an image that comes ends it sooner */
#define BUSY_NS  (NS_PER_S / 10)

/* A piece to be fetched. */
struct piece {
	struct origin *origin;
	struct blob *blob;
	struct range range;
};

/* The first piece that @origin lacks. */
static bool find_in(const struct fetch *fetch, struct origin *origin, struct piece *ret)
{
	for (uint32_t i = 0; i < origin->n_needs && i < origin->n_background; i++) {
		struct blob *blob = origin->needs[i];
		const struct range all = { .start = 0, .end = blob->size };
		struct range gap;

		if (blob->leaving || !fetch_missing(fetch, blob, &all, &gap))
			continue;
		if (gap.end - gap.start > FETCH_STEP)
			gap.end = gap.start + FETCH_STEP;
		*ret = (struct piece){ .origin = origin, .blob = blob, .range = gap };
		return fetch->size == 0 || fetch->used + (gap.end - gap.start) <= fetch->size;
	}
	return false;
}

/* The first piece of all; else when to look again, at the latest, in *@ret_clock. */
static bool find_piece(const struct fetch *fetch, struct piece *ret, uint64_t *ret_clock)
{
	uint64_t now = stats_clock();

	*ret_clock = now + IDLE_NS;
	for (struct origin *o = fetch->origins; o; o = o->next) {
		if (o->cancelled)
			continue;
		if (now >= o->retry_at && find_in(fetch, o, ret))
			return true;
		if (now < o->retry_at && o->retry_at < *ret_clock)
			*ret_clock = o->retry_at;
	}
	return false;
}

static bool somebody_waits(const struct fetch *fetch)
{
	const struct flight *f = fetch->flights;

	while (f && !f->urgent)
		f = f->next;
	return f != NULL;
}

/* Fetch @piece. Returns when it is there, or has failed. */
static void fetch_piece(struct fetch *fetch, const struct piece *piece)
{
	struct blob *blob = piece->blob;
	uint32_t n_failures = blob->n_failures;
	struct range gap;

	piece->origin->refs++;
	blob->n_holds++;
	if (fetch_begin(piece->origin, blob, &piece->range, /* urgent= */ false) == 0) {
		while (!fetch->stop && !piece->origin->cancelled &&
		       blob->n_failures == n_failures &&
		       ranges_gap(&blob->have, piece->range.start, piece->range.end, &gap))
			(void)pthread_cond_wait(&blob->changed, &fetch->lock);
	}
	blob->n_holds--;
	fetch_put_origin(piece->origin);
}

static void *run(void *arg)
{
	struct fetch *fetch = arg;
	struct piece piece;

	(void)pthread_mutex_lock(&fetch->lock);
	while (!fetch->stop) {
		uint64_t start = stats_clock();
		uint64_t bytes, later;

		if (somebody_waits(fetch)) {
			fetch_wait(fetch, &fetch->paced, start + BUSY_NS);
		} else if (find_piece(fetch, &piece, &later)) {
			bytes = piece.range.end - piece.range.start;
			fetch_piece(fetch, &piece);
			start += bytes * NS_PER_S / fetch->rate;
			while (!fetch->stop && stats_clock() < start)
				fetch_wait(fetch, &fetch->paced, start);
		} else {
			fetch_wait(fetch, &fetch->paced, later);
		}
	}
	fetch_end_thread(fetch);
	(void)pthread_mutex_unlock(&fetch->lock);
	return NULL;
}

void fetch_start_background(struct fetch *fetch)
{
	if (!fetch->has_background && !fetch->stop)
		fetch->has_background =
			fetch_start_thread(fetch, &fetch->thread[FETCH_THREADS], run) == 0;
}
