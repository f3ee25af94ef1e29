/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of a session take turns at reading requests.
 *
 * One thread reads, answers what it has read, and reads on: nobody is woken for that, which would take several
 * times as long as the answer. Before it does what may take long, such as filling a file, it steps
 * aside, and another thread reads meanwhile: one that waits, or a new one. (Leader and followers:
 * Schmidt and others, Pattern-Oriented Software Architecture 2.)
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse_io.h"

struct session_threads_config {
	/*
	 * Wait for a request and read it into @buf, which is the thread's. Returns its size, -EINTR, or else
	 * what ends all threads.
	 */
	int (*receive)(void *arg, struct fuse_buf *buf);
	/* Answer it. */
	void (*process)(void *arg, const struct fuse_buf *buf);
	void *arg;         /* borrowed */
	unsigned max;      /* threads */
	unsigned max_idle; /* of them that wait for their turn; more than that end */
};

struct session_threads {
	struct session_threads_config config; /* constant */
	pthread_mutex_t lock;
	pthread_cond_t passed_on; /* the turn is free, or all is over */
	pthread_cond_t none_left; /* of the threads */

	/* under lock */
	const void *reader;  /* the thread that has the turn, by what it has of its own; or NULL */
	bool answering;      /* that thread is not reading */
	uint64_t n_requests; /* that were read */
	uint64_t n_seen;     /* of them when session_threads_relieve() was called last */
	unsigned n_threads;
	unsigned n_waiting; /* for their turn */
	bool ended;
};

/* @config is copied. Release it when no thread uses it any more. */
void session_threads_init(struct session_threads *t, const struct session_threads_config *config);
void session_threads_release(struct session_threads *t);

/* Serve until the connection ends, by other threads than the caller's. -EAGAIN: there is none to be had. */
MUST_CHECK int session_threads_run(struct session_threads *t, struct err *err);

/*
 * The calling thread is about to do what may take long, or what waits for other requests: it reads no more
 * until it is done. Does nothing in a thread that is not about to read.
 */
void session_threads_step_aside(void);

/*
 * Call it from time to time: a thread that has answered the same request ever since the last call,
 * without having stepped aside, is relieved of reading. Any thread.
 */
void session_threads_relieve(struct session_threads *t);
