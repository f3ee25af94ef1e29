/* SPDX-License-Identifier: Apache-2.0 */
/* Where the blobs of an image come from, and which ones it needs. */
#include <errno.h>
#include <stdlib.h>

#include "fetch_internal.h"

struct origin *origin_new(struct fetch *fetch, const struct fetch_from *from)
{
	struct origin *origin = calloc(1, sizeof(*origin));

	if (!origin) {
		from->release(from->arg);
		return NULL;
	}
	origin->fetch = fetch;
	origin->from = *from;
	origin->refs = 1;
	(void)pthread_mutex_lock(&fetch->lock);
	origin->next = fetch->origins;
	fetch->origins = origin;
	(void)pthread_mutex_unlock(&fetch->lock);
	return origin;
}

/* With the lock held. */
static void drop_needs(struct origin *origin)
{
	for (uint32_t i = 0; i < origin->n_needs; i++)
		origin->needs[i]->n_needs--;
	free(origin->needs);
	origin->needs = NULL;
	origin->n_needs = 0;
}

void fetch_put_origin(struct origin *origin)
{
	struct fetch *fetch = origin->fetch;
	struct origin **link = &fetch->origins;

	if (--origin->refs > 0)
		return;
	while (*link != origin)
		link = &(*link)->next;
	*link = origin->next;
	drop_needs(origin);
	(void)pthread_mutex_unlock(&fetch->lock);
	origin->from.release(origin->from.arg);
	free(origin);
	(void)pthread_mutex_lock(&fetch->lock);
}

void origin_unref(struct origin *origin)
{
	struct fetch *fetch = origin ? origin->fetch : NULL;

	if (!origin)
		return;
	(void)pthread_mutex_lock(&fetch->lock);
	fetch_put_origin(origin);
	(void)pthread_mutex_unlock(&fetch->lock);
}

int origin_needs(struct origin *origin, const struct descriptor *blobs, uint32_t n,
                 uint32_t n_packs)
{
	struct fetch *fetch = origin->fetch;
	struct blob **needs = calloc(n + 1u, sizeof(struct blob *));
	int r = 0;

	if (!needs)
		return -ENOMEM;
	(void)pthread_mutex_lock(&fetch->lock);
	origin->needs = needs;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct blob *blob = fetch_blob(fetch, &blobs[i]);

		if (!blob) {
			r = -ENOMEM;
		} else {
			blob->n_needs++;
			origin->needs[origin->n_needs++] = blob;
		}
	}
	origin->n_background = n_packs;
	if (r == 0 && fetch->rate > 0)
		fetch_start_background(fetch);
	(void)pthread_cond_broadcast(&fetch->paced);
	(void)pthread_mutex_unlock(&fetch->lock);
	return r;
}

void origin_cancel(struct origin *origin)
{
	struct fetch *fetch = origin->fetch;

	(void)pthread_mutex_lock(&fetch->lock);
	origin->cancelled = true;
	for (uint32_t i = 0; i < origin->n_needs; i++)
		(void)pthread_cond_broadcast(&origin->needs[i]->changed);
	drop_needs(origin);
	(void)pthread_mutex_unlock(&fetch->lock);
}

static int source_hold(void *arg, const struct descriptor *pack, struct pack_hold *hold,
                       struct err *err)
{
	return fetch_hold(arg, pack, hold, err);
}

static bool source_release(void *arg, const struct descriptor *pack, const struct pack_hold *hold,
                           bool damaged)
{
	return fetch_release(arg, pack, hold, damaged);
}

static uint64_t source_lacks(void *arg, const struct descriptor *blob,
                             const struct blob_range *range)
{
	return fetch_lacks(arg, blob, range);
}

static void source_cancel(void *arg)
{
	origin_cancel(arg);
}

static void source_close(void *arg)
{
	struct origin *origin = arg;

	origin_cancel(origin);
	origin_unref(origin);
}

struct pack_source origin_source(struct origin *origin)
{
	return (struct pack_source){
		.hold = source_hold,
		.release = source_release,
		.lacks = source_lacks,
		.cancel = source_cancel,
		.close = source_close,
		.arg = origin,
	};
}
