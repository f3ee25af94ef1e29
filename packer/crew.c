/* SPDX-License-Identifier: Apache-2.0 */
#include "crew.h"

#include <errno.h>

#include "base/cleanup.h"

struct member {
	pthread_t thread;
	struct crew *crew;
	crew_fn fn;
	void *arg;
};

static void work(const struct member *m, struct progress *progress)
{
	struct crew *crew = m->crew;
	struct err err = ERR_INIT;
	int r = m->fn(m->arg, progress, &err);

	if (r == 0)
		return;
	(void)pthread_mutex_lock(&crew->lock);
	if (crew->result == 0) {
		crew->err = err;
		__atomic_store_n(&crew->result, r, __ATOMIC_RELAXED);
	}
	(void)pthread_mutex_unlock(&crew->lock);
}

static void *member_body(void *arg)
{
	work(arg, NULL);
	return NULL;
}

int crew_run(struct crew *crew, unsigned jobs, crew_fn fn, void *arg, struct progress *progress,
             struct err *err)
{
	CLEANUP(free) struct member *members = calloc(jobs, sizeof(*members));
	unsigned n = 0;

	if (!members)
		return err_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < jobs; i++)
		members[i] = (struct member){ .crew = crew, .fn = fn, .arg = arg };
	/* With fewer threads than wanted the work is done all the same. */
	while (n + 1 < jobs &&
	       pthread_create(&members[n].thread, NULL, member_body, &members[n]) == 0)
		n++;
	work(&members[jobs - 1], progress);
	while (n > 0)
		(void)pthread_join(members[--n].thread, NULL);
	progress_end(progress);
	return crew->result < 0 ? err_set(err, crew->result, "%s", crew->err.msg) : 0;
}
