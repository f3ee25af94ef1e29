/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/cond.h"
#include "base/log.h"

struct watchdog {
	unsigned seconds;
	struct stats *stats; /* borrowed */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct watched *sessions;
	bool stop;
};

/* What is to be told of a request that took too long. */
struct report {
	struct watchdog *dog;
	struct watched *session;
};

static void report_expired(void *arg, const char *operation, uint64_t node)
{
	static struct log_limit limit;
	const struct report *report = arg;

	(void)__atomic_fetch_add(report->session->errors, 1, __ATOMIC_RELAXED);
	stats_add(report->dog->stats, STAT_ERRORS, 1);
	stats_add(report->dog->stats, STAT_REQUESTS_TIMED_OUT, 1);
	/* Not its path: the index may lie on the disk that hangs. */
	if (log_allowed(&limit))
		log_err("%s of inode %llu of %s has taken %u s and failed: see whether a disk hangs",
		        operation, (unsigned long long)node, report->session->name,
		        report->dog->seconds);
}

static void *watch(void *arg)
{
	struct watchdog *dog = arg;
	struct timespec next;

	(void)pthread_mutex_lock(&dog->lock);
	while (!dog->stop) {
		(void)clock_gettime(CLOCK_MONOTONIC, &next);
		next.tv_sec++;
		while (!dog->stop &&
		       pthread_cond_timedwait(&dog->changed, &dog->lock, &next) != ETIMEDOUT)
			;
		for (struct watched *s = dog->sessions; s && !dog->stop; s = s->next) {
			struct report report = { .dog = dog, .session = s };

			session_threads_relieve(s->threads);
			fuse_io_expire(s->io, dog->seconds, report_expired, &report);
		}
	}
	(void)pthread_mutex_unlock(&dog->lock);
	return NULL;
}

int watchdog_new(unsigned seconds, struct stats *stats, struct watchdog **ret, struct err *err)
{
	struct watchdog *dog = calloc(1, sizeof(*dog));

	if (!dog)
		return err_set(err, -ENOMEM, "out of memory");
	dog->seconds = seconds;
	dog->stats = stats;
	(void)pthread_mutex_init(&dog->lock, NULL);
	cond_init_monotonic(&dog->changed);
	if (pthread_create(&dog->thread, NULL, watch, dog) != 0) {
		free(dog);
		return err_set(err, -EAGAIN, "no thread for the watchdog");
	}
	*ret = dog;
	return 0;
}

void watchdog_free(struct watchdog *dog)
{
	if (!dog)
		return;
	(void)pthread_mutex_lock(&dog->lock);
	dog->stop = true;
	(void)pthread_cond_broadcast(&dog->changed);
	(void)pthread_mutex_unlock(&dog->lock);
	(void)pthread_join(dog->thread, NULL);
	(void)pthread_cond_destroy(&dog->changed);
	(void)pthread_mutex_destroy(&dog->lock);
	free(dog);
}

void watchdog_add(struct watchdog *dog, struct watched *session)
{
	(void)pthread_mutex_lock(&dog->lock);
	session->next = dog->sessions;
	dog->sessions = session;
	(void)pthread_mutex_unlock(&dog->lock);
}

void watchdog_remove(struct watchdog *dog, struct watched *session)
{
	struct watched **link = &dog->sessions;

	(void)pthread_mutex_lock(&dog->lock);
	while (*link && *link != session)
		link = &(*link)->next;
	if (*link)
		*link = session->next;
	(void)pthread_mutex_unlock(&dog->lock);
}
