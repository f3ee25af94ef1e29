/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of chunks, kept for the next one, and patience with those who have one. A thread that
 * reads from a disk that hangs does not come back: the others go on, and do not follow it all.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "fill_internal.h"

enum {
	READERS_KEPT = 4, /* each has some 500 KiB of buffers in use */
	LOCAL_MAX = 32,   /* readers of local images: fewer than a session has threads */
};

void fill_deadline(const struct fill *fill, struct timespec *ret)
{
	(void)clock_gettime(CLOCK_MONOTONIC, ret);
	ret->tv_sec += fill->patience;
}

int fill_wait(struct fill *fill, pthread_cond_t *condition, const struct timespec *deadline)
{
	int code = fill->patience == 0 ? pthread_cond_wait(condition, &fill->lock)
	                               : pthread_cond_timedwait(condition, &fill->lock, deadline);

	return -code;
}

/* Wait for the turn of a reader of a local image, and take it. With fill->lock held. */
static int take_turn(struct fill *fill)
{
	struct timespec deadline;

	fill_deadline(fill, &deadline);
	while (fill->n_local >= LOCAL_MAX && !fill->is_stuck)
		fill->is_stuck = fill_wait(fill, &fill->returned, &deadline) == -ETIMEDOUT &&
		                 fill->n_local >= LOCAL_MAX;
	if (fill->n_local >= LOCAL_MAX)
		return -ETIMEDOUT;
	fill->n_local++;
	return 0;
}

/* With fill->lock held. */
static void end_turn(struct fill *fill)
{
	fill->n_local--;
	fill->is_stuck = false;
	(void)pthread_cond_signal(&fill->returned);
}

/* Take the reader that has read the chunk of @digest, or else the first one. With fill->lock held. */
static struct pooled_reader *take_reader(struct fill *fill, const struct digest *digest)
{
	struct pooled_reader **link = &fill->readers;
	struct pooled_reader *pooled;

	while (digest && *link && !((*link)->plain && digest_equal(&(*link)->digest, digest)))
		link = &(*link)->next;
	if (!*link)
		link = &fill->readers;
	pooled = *link;
	if (pooled) {
		*link = pooled->next;
		fill->n_readers--;
	}
	return pooled;
}

static struct pooled_reader *new_reader(void)
{
	CLEANUP(free) struct pooled_reader *fresh = calloc(1, sizeof(*fresh));

	if (!fresh)
		return NULL;
	fresh->reader = chunk_reader_new();
	return fresh->reader ? TAKE_PTR(fresh) : NULL;
}

int borrow_reader(struct fill *fill, const struct image *img, const struct digest *digest,
                  struct pooled_reader **ret, struct err *err)
{
	bool is_local = !image_is_remote(img);
	struct pooled_reader *pooled = NULL;
	int r;

	(void)pthread_mutex_lock(&fill->lock);
	r = is_local ? take_turn(fill) : 0;
	if (r == 0)
		pooled = take_reader(fill, digest);
	(void)pthread_mutex_unlock(&fill->lock);
	if (r < 0)
		return err_set(err, r,
		               "%d threads have read for more than %u s: see whether a disk hangs",
		               LOCAL_MAX, fill->patience);
	if (!pooled)
		pooled = new_reader();
	if (!pooled) {
		(void)pthread_mutex_lock(&fill->lock);
		if (is_local)
			end_turn(fill);
		(void)pthread_mutex_unlock(&fill->lock);
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (!digest || !pooled->plain || !digest_equal(&pooled->digest, digest))
		pooled->plain = NULL;
	pooled->is_local = is_local;
	/* What was fetched stays in the store: every byte of it has to be right, those of checksums as well. */
	chunk_reader_set_checks(pooled->reader,
	                        is_local ? fill->local_checks : CHECK_CHECKSUM | CHECK_DIGEST);
	*ret = pooled;
	return 0;
}

static void free_reader(struct pooled_reader *pooled)
{
	chunk_reader_free(pooled->reader);
	free(pooled);
}

void return_reader(struct fill *fill, struct pooled_reader *pooled)
{
	bool keep;

	(void)pthread_mutex_lock(&fill->lock);
	if (pooled->is_local)
		end_turn(fill);
	keep = fill->n_readers < READERS_KEPT;
	if (keep) {
		pooled->next = fill->readers;
		fill->readers = pooled;
		fill->n_readers++;
	}
	(void)pthread_mutex_unlock(&fill->lock);
	/* Many threads may have read at once: their buffers are not kept for ever. */
	if (!keep)
		free_reader(pooled);
}

void fill_trim(struct fill *fill)
{
	struct pooled_reader *list;

	(void)pthread_mutex_lock(&fill->lock);
	list = fill->readers;
	fill->readers = NULL;
	fill->n_readers = 0;
	(void)pthread_mutex_unlock(&fill->lock);
	while (list) {
		struct pooled_reader *pooled = list;

		list = pooled->next;
		free_reader(pooled);
	}
}
