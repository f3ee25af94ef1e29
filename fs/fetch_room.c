/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs leave whole: those that no image needs go first, and of each kind what was not used for longest.
 * The file of one that an image needs stays, empty: the image may have it open.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fetch_internal.h"

/* Whether @a is to leave before @b. */
static bool is_before(const struct blob *a, const struct blob *b)
{
	if ((a->n_needs == 0) != (b->n_needs == 0))
		return a->n_needs == 0;
	return a->used < b->used;
}

/* The blob to leave next, or NULL. */
static struct blob *pick(const struct fetch *fetch)
{
	struct blob *best = NULL;

	for (struct table_node *n = table_walk(&fetch->blobs, NULL); n;
	     n = table_walk(&fetch->blobs, n)) {
		struct blob *blob = TABLE_ENTRY(n, struct blob, node);

		if (blob->have.n > 0 && blob->n_holds == 0 && blob->n_flights == 0 &&
		    !blob->leaving && (!best || is_before(blob, best)))
			best = blob;
	}
	return best;
}

/* Remove the bytes of @blob. Without the lock. */
static void remove_bytes(const struct fetch *fetch, const struct blob *blob, bool needed)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close) int fd = -1;

	(void)digest_hex(&blob->digest, hex);
	if (fetch->db)
		(void)!store_db_forget(fetch->db, &blob->digest, NULL);
	if (!needed) {
		(void)unlinkat(fetch->dir, hex, 0);
		return;
	}
	fd = openat(fetch->dir, hex, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		                (off_t)blob->size);
}

/* Let @blob leave. Returns the bytes that it had. */
static uint64_t leave(struct fetch *fetch, struct blob *blob)
{
	uint64_t bytes = ranges_bytes(&blob->have);
	bool needed = blob->n_needs > 0;

	blob->leaving = true;
	ranges_release(&blob->have);
	fetch->used -= bytes;
	(void)pthread_mutex_unlock(&fetch->lock);
	remove_bytes(fetch, blob, needed);
	stats_add(fetch->stats, STAT_STORE_EVICTIONS, 1);
	stats_add(fetch->stats, STAT_STORE_BYTES_EVICTED, bytes);
	(void)pthread_mutex_lock(&fetch->lock);
	blob->leaving = false;
	(void)pthread_cond_broadcast(&blob->changed);
	return bytes;
}

void fetch_let_leave(struct fetch *fetch, uint64_t bytes)
{
	struct blob *blob;
	uint64_t left = 0;

	while (left < bytes && (blob = pick(fetch)) != NULL)
		left += leave(fetch, blob);
}

void fetch_make_room(struct fetch *fetch, uint64_t room)
{
	struct blob *blob;

	while (fetch->size > 0 && fetch->used + room > fetch->size && (blob = pick(fetch)) != NULL)
		(void)leave(fetch, blob);
}
