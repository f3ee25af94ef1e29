/* SPDX-License-Identifier: Apache-2.0 */
/* What a burst of work has left, and is given back: heap, page cache, listings. */
#include "daemon_internal.h"
#include "pack_fds.h"
#include "process_limits.h"

/* The session of that place in the list, or NULL. This thread alone takes sessions out and frees them. */
static struct session *session_at(struct daemon *d, size_t i)
{
	struct session *s;

	(void)pthread_mutex_lock(&d->sessions_lock);
	s = i < d->n_sessions ? d->sessions[i] : NULL;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return s;
}

/* Give back what fills and readers have left. */
static void trim(struct daemon *d, bool quiet)
{
	struct session *s;

	for (size_t i = 0; (s = session_at(d, i)) != NULL; i++)
		session_trim(s, quiet);
	fill_trim(d->engine.fill);
	pack_fds_trim();
	limits_trim();
}

static uint64_t all_requests(struct daemon *d)
{
	struct session_counts counts;
	struct session *s;
	uint64_t n = 0;

	for (size_t i = 0; (s = session_at(d, i)) != NULL; i++) {
		session_counts(s, &counts);
		n += counts.requests;
	}
	return n;
}

void daemon_trim(struct daemon *d, struct daemon_work *work)
{
	uint64_t fills = stats_get(d->engine.stats, STAT_CHUNK_REQUESTS);
	uint64_t requests = all_requests(d);
	bool filled = fills != work->fills;
	bool quiet = requests == work->requests;

	if (filled || (work->filled && quiet))
		trim(d, quiet);
	*work = (struct daemon_work){ .fills = fills,
		                      .requests = requests,
		                      .filled = filled || (work->filled && !quiet) };
}
