/* SPDX-License-Identifier: Apache-2.0 */
#include "tag_watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cond.h"

/* A tag, and what it named. */
struct watched {
	struct watched *next;
	char *name;     /* owned */
	char *platform; /* owned; or NULL */
	struct digest digest;
	struct digest now;
};

struct tag_watch {
	struct tag_watch_config config; /* constant */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	pthread_t thread;
	bool started, stop, ended;
	struct watched *known; /* owned; what was found the last time */
};

static void free_list(struct watched *list)
{
	while (list) {
		struct watched *w = list;

		list = w->next;
		free(w->name);
		free(w->platform);
		free(w);
	}
}

struct tag_watch *tag_watch_new(const struct tag_watch_config *config)
{
	struct tag_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->config = *config;
	(void)pthread_mutex_init(&watch->lock, NULL);
	cond_init_monotonic(&watch->changed);
	return watch;
}

/* For each(): put a copy in the list. One that there is no memory for is left out. */
static void collect(void *arg, const struct tagged *tagged)
{
	struct watched **list = arg;
	struct watched *w = calloc(1, sizeof(*w));

	if (!w)
		return;
	w->next = *list;
	w->name = strdup(tagged->name);
	w->platform = tagged->platform ? strdup(tagged->platform) : NULL;
	w->digest = tagged->digest;
	w->now = tagged->digest;
	*list = w;
	if (!w->name || (tagged->platform && !w->platform)) {
		*list = w->next;
		w->next = NULL;
		free_list(w);
	}
}

/* What is known of @name, which was @digest; or NULL. With the lock held. */
static const struct watched *find(const struct tag_watch *watch, const char *name,
                                  const struct digest *digest)
{
	const struct watched *w = watch->known;

	while (w && (strcmp(w->name, name) != 0 || !digest_equal(&w->digest, digest)))
		w = w->next;
	return w;
}

/* Look all of @list up; what cannot be is what it was. With the lock held, which is given up meanwhile. */
static void look_up(struct tag_watch *watch, struct watched *list)
{
	for (struct watched *w = list; w && !watch->stop; w = w->next) {
		const struct watched *before = find(watch, w->name, &w->digest);
		const struct tagged tagged = { .name = w->name,
			                       .platform = w->platform,
			                       .digest = w->digest };

		if (before)
			w->now = before->now;
		(void)pthread_mutex_unlock(&watch->lock);
		(void)!watch->config.look_up(watch->config.arg, &tagged, &w->now);
		(void)pthread_mutex_lock(&watch->lock);
	}
}

/* With the lock held. */
static void pause_between(struct tag_watch *watch)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)watch->config.interval_s;
	while (!watch->stop && pthread_cond_timedwait(&watch->changed, &watch->lock, &until) == 0)
		;
}

static void *run(void *arg)
{
	struct tag_watch *watch = arg;

	(void)pthread_mutex_lock(&watch->lock);
	for (pause_between(watch); !watch->stop; pause_between(watch)) {
		struct watched *list = NULL;

		(void)pthread_mutex_unlock(&watch->lock);
		watch->config.each(watch->config.arg, collect, &list);
		(void)pthread_mutex_lock(&watch->lock);
		look_up(watch, list);
		free_list(watch->known);
		watch->known = list;
	}
	watch->ended = true;
	(void)pthread_cond_broadcast(&watch->changed);
	(void)pthread_mutex_unlock(&watch->lock);
	return NULL;
}

void tag_watch_begin(struct tag_watch *watch)
{
	(void)pthread_mutex_lock(&watch->lock);
	if (watch->config.interval_s > 0 && !watch->started && !watch->stop)
		watch->started = pthread_create(&watch->thread, NULL, run, watch) == 0;
	(void)pthread_mutex_unlock(&watch->lock);
}

bool tag_watch_stop(struct tag_watch *watch)
{
	struct timespec until;
	bool quiet;
	int r = 0;

	if (!watch)
		return true;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	(void)pthread_mutex_lock(&watch->lock);
	watch->stop = true;
	(void)pthread_cond_broadcast(&watch->changed);
	while (watch->started && !watch->ended && r == 0)
		r = pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
	quiet = !watch->started || watch->ended;
	(void)pthread_mutex_unlock(&watch->lock);
	return quiet;
}

void tag_watch_free(struct tag_watch *watch)
{
	if (!watch)
		return;
	if (watch->started)
		(void)pthread_join(watch->thread, NULL);
	free_list(watch->known);
	(void)pthread_cond_destroy(&watch->changed);
	(void)pthread_mutex_destroy(&watch->lock);
	free(watch);
}

bool tag_watch_newer(struct tag_watch *watch, const char *name, const struct digest *digest,
                     struct digest *ret)
{
	const struct watched *w;
	bool newer;

	(void)pthread_mutex_lock(&watch->lock);
	w = find(watch, name, digest);
	newer = w && !digest_equal(&w->now, digest);
	if (newer)
		*ret = w->now;
	(void)pthread_mutex_unlock(&watch->lock);
	return newer;
}
