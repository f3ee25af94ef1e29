/* SPDX-License-Identifier: Apache-2.0 */
#include "session_threads.h"

#include <errno.h>
#include <stdlib.h>

/* What this thread serves, or NULL; it lies elsewhere for each thread, which is known by that. */
static _Thread_local struct session_threads *served;

void session_threads_init(struct session_threads *t, const struct session_threads_config *config)
{
	*t = (struct session_threads){ .config = *config };
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->passed_on, NULL);
	(void)pthread_cond_init(&t->none_left, NULL);
}

void session_threads_release(struct session_threads *t)
{
	(void)pthread_cond_destroy(&t->none_left);
	(void)pthread_cond_destroy(&t->passed_on);
	(void)pthread_mutex_destroy(&t->lock);
}

/*
 * Have the turn, or wait for it. Returns false when this thread is to end. With lock held, which is given up
 * meanwhile.
 */
static bool take_turn(struct session_threads *t)
{
	if (t->reader != &served) {
		if (t->reader && t->n_waiting >= t->config.max_idle)
			return false;
		t->n_waiting++;
		while (t->reader && !t->ended)
			(void)pthread_cond_wait(&t->passed_on, &t->lock);
		t->n_waiting--;
		t->reader = &served;
	}
	t->answering = false;
	return !t->ended;
}

static int receive(const struct session_threads *t, struct fuse_buf *buf)
{
	int n;

	do {
		n = t->config.receive(t->config.arg, buf);
	} while (n == -EINTR);
	return n;
}

static void *serve(void *arg)
{
	struct session_threads *t = arg;
	struct fuse_buf buf = { .mem = NULL };
	int n;

	served = t;
	(void)pthread_mutex_lock(&t->lock);
	while (take_turn(t)) {
		(void)pthread_mutex_unlock(&t->lock);
		n = receive(t, &buf);
		(void)pthread_mutex_lock(&t->lock);
		t->answering = true;
		t->n_requests++;
		t->ended |= n <= 0;
		if (t->ended)
			break;
		(void)pthread_mutex_unlock(&t->lock);
		t->config.process(t->config.arg, &buf);
		(void)pthread_mutex_lock(&t->lock);
	}
	t->n_threads--;
	if (t->ended)
		(void)pthread_cond_broadcast(&t->passed_on);
	if (t->n_threads == 0)
		(void)pthread_cond_signal(&t->none_left);
	(void)pthread_mutex_unlock(&t->lock);
	free(buf.mem);
	return NULL;
}

/* With lock held. */
static int start_thread(struct session_threads *t)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, serve, t);

	if (r != 0)
		return -r;
	(void)pthread_detach(thread);
	t->n_threads++;
	return 0;
}

/* Let another thread have the turn. Without one, whoever is done first takes it. With lock held. */
static void pass_on(struct session_threads *t)
{
	t->reader = NULL;
	if (t->n_waiting > 0)
		(void)pthread_cond_signal(&t->passed_on);
	else if (t->n_threads < t->config.max)
		(void)!start_thread(t);
}

void session_threads_step_aside(void)
{
	struct session_threads *t = served;

	if (!t)
		return;
	(void)pthread_mutex_lock(&t->lock);
	if (t->reader == &served)
		pass_on(t);
	(void)pthread_mutex_unlock(&t->lock);
}

void session_threads_relieve(struct session_threads *t)
{
	(void)pthread_mutex_lock(&t->lock);
	if (t->reader && t->answering && t->n_requests == t->n_seen)
		pass_on(t);
	t->n_seen = t->n_requests;
	(void)pthread_mutex_unlock(&t->lock);
}

int session_threads_run(struct session_threads *t, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&t->lock);
	r = start_thread(t);
	while (t->n_threads > 0)
		(void)pthread_cond_wait(&t->none_left, &t->lock);
	(void)pthread_mutex_unlock(&t->lock);
	return r < 0 ? err_set(err, -EAGAIN, "no thread for the session") : 0;
}
