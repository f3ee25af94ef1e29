/* SPDX-License-Identifier: Apache-2.0 */
#include "listings.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"

enum {
	SMALL = 64,      /* entries, of which a page of the kernel's has as many */
	MOST = 64 << 10, /* directories, in 512 KiB */
};

struct listings {
	pthread_mutex_t lock;
	/* under lock */
	uint64_t *ino; /* owned */
	size_t n, cap;
};

struct listings *listings_new(void)
{
	struct listings *listings = calloc(1, sizeof(*listings));

	if (listings)
		(void)pthread_mutex_init(&listings->lock, NULL);
	return listings;
}

void listings_free(struct listings *listings)
{
	if (!listings)
		return;
	free(listings->ino);
	(void)pthread_mutex_destroy(&listings->lock);
	free(listings);
}

/* With the lock held. */
static void add(struct listings *listings, uint64_t ino)
{
	if (listings->n == listings->cap) {
		size_t cap = listings->cap > 0 ? listings->cap * 2 : 64;
		uint64_t *more = NULL;

		if (cap <= MOST)
			more = reallocarray(listings->ino, cap, sizeof(*more));
		if (!more)
			return;
		listings->ino = more;
		listings->cap = cap;
	}
	listings->ino[listings->n++] = ino;
}

void listings_add(struct listings *listings, uint64_t ino, uint64_t entries)
{
	if (entries > SMALL)
		return;
	(void)pthread_mutex_lock(&listings->lock);
	add(listings, ino);
	(void)pthread_mutex_unlock(&listings->lock);
}

void listings_take(struct listings *listings, void (*fn)(void *arg, uint64_t ino), void *arg)
{
	CLEANUP(free) uint64_t *ino = NULL;
	size_t n;

	(void)pthread_mutex_lock(&listings->lock);
	ino = listings->ino;
	n = listings->n;
	listings->ino = NULL;
	listings->n = listings->cap = 0;
	(void)pthread_mutex_unlock(&listings->lock);
	for (size_t i = 0; i < n; i++)
		fn(arg, ino[i]);
}
