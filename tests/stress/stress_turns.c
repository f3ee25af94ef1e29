/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of a session that take turns at reading requests from a pipe. Some requests are answered at once;
 * some step aside and wait until the one after them is answered; some wait for it
 * without having stepped aside, so that only session_threads_relieve() gets on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "session_threads.h"

enum {
	REQUESTS = 20000,
	THREADS_MAX = 8,
	IDLE_MAX = 2,
	STEP_ASIDE = 5, /* one request in so many */
	BLOCK = 997,
	TURNS = 5, /* of everything */
};

struct queue {
	int pipe[2];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool answered[REQUESTS + 1];
	unsigned n_answered;
	unsigned n_reading;
	bool failed;
	bool over;
};

static void fail(struct queue *q, const char *what)
{
	(void)fprintf(stderr, "stress_turns: %s\n", what);
	q->failed = true;
}

/* The number of a request, each read by one thread alone. */
static int receive(void *arg, struct fuse_buf *buf)
{
	struct queue *q = arg;
	unsigned number;
	ssize_t n;

	(void)pthread_mutex_lock(&q->lock);
	if (q->n_reading++ > 0)
		fail(q, "two threads read");
	(void)pthread_mutex_unlock(&q->lock);
	n = read(q->pipe[0], &number, sizeof(number));
	(void)pthread_mutex_lock(&q->lock);
	q->n_reading--;
	(void)pthread_mutex_unlock(&q->lock);
	if (!buf->mem)
		buf->mem = malloc(sizeof(number));
	if (n != (ssize_t)sizeof(number) || !buf->mem)
		return 0;
	*(unsigned *)buf->mem = number;
	return (int)n;
}

static void process(void *arg, const struct fuse_buf *buf)
{
	struct queue *q = arg;
	const unsigned number = *(const unsigned *)buf->mem;
	const bool blocks = number % BLOCK == 0;

	if (number % STEP_ASIDE == 0)
		session_threads_step_aside();
	(void)pthread_mutex_lock(&q->lock);
	while (number < REQUESTS && (blocks || number % STEP_ASIDE == 0) &&
	       !q->answered[number + 1])
		(void)pthread_cond_wait(&q->changed, &q->lock);
	if (q->answered[number])
		fail(q, "a request is answered twice");
	q->answered[number] = true;
	q->n_answered++;
	(void)pthread_cond_broadcast(&q->changed);
	(void)pthread_mutex_unlock(&q->lock);
}

static void *write_requests(void *arg)
{
	struct queue *q = arg;

	for (unsigned i = 1; i <= REQUESTS; i++) {
		if (write(q->pipe[1], &i, sizeof(i)) != (ssize_t)sizeof(i))
			abort();
	}
	(void)pthread_mutex_lock(&q->lock);
	while (q->n_answered < REQUESTS)
		(void)pthread_cond_wait(&q->changed, &q->lock);
	(void)pthread_mutex_unlock(&q->lock);
	(void)close(q->pipe[1]);
	return NULL;
}

/* What the watchdog does, more often. */
struct reliever {
	struct queue *q;
	struct session_threads *threads;
};

static void *relieve(void *arg)
{
	const struct reliever *r = arg;
	bool over = false;

	while (!over) {
		session_threads_relieve(r->threads);
		(void)usleep(1000);
		(void)pthread_mutex_lock(&r->q->lock);
		over = r->q->over;
		(void)pthread_mutex_unlock(&r->q->lock);
	}
	return NULL;
}

static int turn(void)
{
	struct queue q = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	const struct session_threads_config config = {
		.receive = receive,
		.process = process,
		.arg = &q,
		.max = THREADS_MAX,
		.max_idle = IDLE_MAX,
	};
	struct session_threads threads;
	struct reliever reliever = { &q, &threads };
	struct err err = ERR_INIT;
	pthread_t writer, watcher;

	if (pipe(q.pipe) < 0)
		abort();
	session_threads_init(&threads, &config);
	if (pthread_create(&writer, NULL, write_requests, &q) != 0 ||
	    pthread_create(&watcher, NULL, relieve, &reliever) != 0)
		abort();
	if (session_threads_run(&threads, &err) < 0)
		fail(&q, err.msg);
	(void)pthread_join(writer, NULL);
	(void)pthread_mutex_lock(&q.lock);
	q.over = true;
	(void)pthread_mutex_unlock(&q.lock);
	(void)pthread_join(watcher, NULL);
	session_threads_release(&threads);
	(void)close(q.pipe[0]);
	return q.failed ? -1 : 0;
}

int main(void)
{
	for (unsigned i = 0; i < TURNS; i++) {
		if (turn() < 0)
			return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
