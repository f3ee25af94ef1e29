/* SPDX-License-Identifier: Apache-2.0 */
#include "base/feed.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/io.h"

enum { BLOCKS = 4 };

struct feed {
	/* constant after feed_open() */
	int fd; /* borrowed */
	uint64_t size;
	feed_fn fn;
	void *arg;
	bool threaded;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock; blocks are counted from 0, number i is in block[i % BLOCKS] */
	uint64_t n_read;  /* blocks that are ready */
	uint64_t n_taken; /* blocks given out; the last of them is still in use */
	int error;        /* why there are no more, or 0 */
	bool stop;

	uint8_t block[BLOCKS][FEED_BLOCK];
};

static uint64_t n_blocks(const struct feed *f)
{
	return (f->size + FEED_BLOCK - 1) / FEED_BLOCK;
}

static size_t block_len(const struct feed *f, uint64_t i)
{
	uint64_t left = f->size - i * FEED_BLOCK;

	return left < FEED_BLOCK ? (size_t)left : FEED_BLOCK;
}

static int read_block(struct feed *f, uint64_t i)
{
	void *block = f->block[i % BLOCKS];
	int r = io_pread(f->fd, block, block_len(f, i), i * FEED_BLOCK);

	if (r == 0 && f->fn)
		f->fn(f->arg, block, block_len(f, i));
	return r;
}

/* Wait until block @i has a place: the one that it replaces is no longer in use. */
static bool wait_for_place(struct feed *f, uint64_t i)
{
	bool go;

	(void)pthread_mutex_lock(&f->lock);
	while (!f->stop && i >= f->n_taken + BLOCKS - 1)
		(void)pthread_cond_wait(&f->changed, &f->lock);
	go = !f->stop;
	(void)pthread_mutex_unlock(&f->lock);
	return go;
}

static void *run(void *arg)
{
	struct feed *f = arg;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < n_blocks(f) && wait_for_place(f, i); i++) {
		r = read_block(f, i);
		(void)pthread_mutex_lock(&f->lock);
		if (r == 0)
			f->n_read++;
		f->error = r;
		(void)pthread_cond_signal(&f->changed);
		(void)pthread_mutex_unlock(&f->lock);
	}
	return NULL;
}

int feed_open(int fd, uint64_t size, feed_fn fn, void *arg, struct feed **ret)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->fd = fd;
	f->size = size;
	f->fn = fn;
	f->arg = arg;
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_cond_init(&f->changed, NULL);
	/* Without a thread it takes longer, no more. */
	f->threaded = n_blocks(f) > BLOCKS && pthread_create(&f->thread, NULL, run, f) == 0;
	*ret = f;
	return 0;
}

/* Wait until block @i is ready. Returns 0, or why it never will be. */
static int wait_for_block(struct feed *f, uint64_t i)
{
	int r;

	(void)pthread_mutex_lock(&f->lock);
	while (f->n_read <= i && f->error == 0)
		(void)pthread_cond_wait(&f->changed, &f->lock);
	r = f->n_read > i ? 0 : f->error;
	f->n_taken = i + 1;
	(void)pthread_cond_signal(&f->changed);
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

int feed_next(struct feed *f, const void **ret, size_t *ret_len)
{
	uint64_t i = f->n_taken; /* only this thread writes it */
	int r;

	if (i == n_blocks(f))
		return 0;
	if (f->threaded) {
		r = wait_for_block(f, i);
	} else {
		r = read_block(f, i);
		f->n_taken++;
	}
	if (r < 0)
		return r;
	*ret = f->block[i % BLOCKS];
	*ret_len = block_len(f, i);
	return 1;
}

void feed_free(struct feed *f)
{
	if (!f)
		return;
	(void)pthread_mutex_lock(&f->lock);
	f->stop = true;
	(void)pthread_cond_signal(&f->changed);
	(void)pthread_mutex_unlock(&f->lock);
	if (f->threaded)
		(void)pthread_join(f->thread, NULL);
	(void)pthread_cond_destroy(&f->changed);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
}
