/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants
 * 1. Flights of a blob do not overlap, and bring nothing that is there. So each byte comes once.
 * 2. What is in blob->have was written to the file before it was put there.
 * 3. A blob that is held, or that has a flight, does not leave.
 * 4. A blob is never freed before the fetch is.
 */
#include "fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/log.h"
#include "fetch_blame.h"

#define NS_PER_S ((uint64_t)1000000000)

enum { NEAR = 256 << 10 }; /* threads that share a file take its frames nearly in order */

void fetch_wait(struct fetch *fetch, pthread_cond_t *cond, uint64_t clock)
{
	const struct timespec until = { .tv_sec = (time_t)(clock / NS_PER_S),
		                        .tv_nsec = (long)(clock % NS_PER_S) };

	(void)pthread_cond_timedwait(cond, &fetch->lock, &until);
}

static struct blob *find_blob(const struct fetch *fetch, const struct digest *digest)
{
	struct table_node *n = table_first(&fetch->blobs, digest_key(digest));

	for (; n; n = table_next(n)) {
		struct blob *blob = TABLE_ENTRY(n, struct blob, node);

		if (digest_equal(&blob->digest, digest))
			return blob;
	}
	return NULL;
}

struct blob *fetch_blob(struct fetch *fetch, const struct descriptor *d)
{
	struct blob *blob = find_blob(fetch, &d->digest);

	if (blob) {
		/* Who says something wrong of a blob must not spoil it for others. */
		if (blob->size != d->size && blob->have.n == 0 && blob->n_flights == 0 &&
		    blob->n_holds == 0 && !blob->leaving)
			blob->size = d->size;
		return blob;
	}
	blob = calloc(1, sizeof(*blob));
	if (!blob)
		return NULL;
	blob->digest = d->digest;
	blob->size = d->size;
	if (table_insert(&fetch->blobs, &blob->node, digest_key(&d->digest)) < 0) {
		free(blob);
		return NULL;
	}
	cond_init_monotonic(&blob->changed);
	return blob;
}

void fetch_remember(struct fetch *fetch, const struct blob *blob, const struct range *range)
{
	static struct log_limit limit;
	struct stored_range stored = { .digest = blob->digest,
		                       .start = range->start,
		                       .end = range->end };
	struct err err = ERR_INIT;

	(void)pthread_mutex_lock(&fetch->lock);
	stored.size = blob->size;
	stored.used = blob->used;
	(void)pthread_mutex_unlock(&fetch->lock);
	if (fetch->db && range->start < range->end && store_db_add(fetch->db, &stored, &err) < 0 &&
	    log_allowed(&limit))
		log_warn("what was fetched is not remembered, the next daemon fetches it again: %s",
		         err.msg);
}

static void forget(const struct fetch *fetch, const struct blob *blob, const struct range *range)
{
	const struct stored_range stored = { .digest = blob->digest,
		                             .start = range->start,
		                             .end = range->end };

	if (fetch->db)
		(void)!store_db_remove(fetch->db, &stored, NULL);
}

/* The stream that @range goes on with, or a new one. */
static struct stream *find_stream(struct blob *blob, const struct range *range)
{
	struct stream *s;

	for (unsigned i = 0; i < FETCH_STREAMS; i++) {
		s = &blob->stream[i];
		if (s->used > 0 && range->start + NEAR >= s->pos && range->start <= s->pos + NEAR)
			return s;
	}
	s = &blob->stream[blob->oldest++ % FETCH_STREAMS];
	*s = (struct stream){ .pos = range->end, .used = 0 };
	return s;
}

/* Take note of who reads @range. Returns the end of what is worth having soon. */
static uint64_t end_ahead(struct blob *blob, const struct range *range)
{
	struct stream *s = find_stream(blob, range);
	uint64_t ahead = s->used < FETCH_AHEAD ? s->used : FETCH_AHEAD;

	s->pos = range->end;
	s->used += range->end - range->start;
	return ahead < blob->size - range->end ? range->end + ahead : blob->size;
}

/* A wait for a range. */
struct waiting {
	struct origin *origin;
	struct blob *blob;
	struct range range;
	uint64_t since;      /* clock */
	uint32_t n_failures; /* of the blob, that are known */
};

/* Whether trying again is of no use. */
static bool is_final(int code)
{
	return code == -ENOENT || code == -ENOMEDIUM || code == -EBADMSG || code == -ENOMEM;
}

/* Whether a flight has failed meanwhile, and nothing more is to be hoped for. */
static bool has_failed(struct waiting *w)
{
	const struct blob *blob = w->blob;
	bool is_new = blob->n_failures != w->n_failures;

	w->n_failures = blob->n_failures;
	return is_new && blob->failed == w->origin &&
	       (is_final(blob->failure.code) || w->origin->given_up);
}

static int give_up(const struct waiting *w, struct err *err)
{
	const struct fetch *fetch = w->origin->fetch;
	const struct err *why = &w->blob->failure;

	w->origin->given_up = true;
	stats_add(fetch->stats, STAT_FETCH_TIMEOUTS, 1);
	return err_set(err, -ETIMEDOUT, "nothing has come for %llu s%s%s",
	               (unsigned long long)(fetch->timeout_ns / NS_PER_S),
	               why->code < 0 ? ": " : "", why->code < 0 ? why->msg : "");
}

/* Begin what is missing, or wait for a moment. Returns 0 to look again, or an error. */
static int wait_more(struct waiting *w, struct err *err)
{
	struct origin *origin = w->origin;
	struct fetch *fetch = origin->fetch;
	uint64_t now = stats_clock();
	uint64_t until = w->since > origin->progress ? w->since : origin->progress;
	int r;

	if (origin->cancelled || fetch->stop)
		return err_set(err, -ECANCELED, "it is no longer wanted");
	if (ranges_touch(&w->blob->hopeless, w->range.start, w->range.end))
		return err_set(err, -EBADMSG, "whoever has it has other bytes");
	if (has_failed(w))
		return err_set(err, w->blob->failure.code, "%s", w->blob->failure.msg);
	until += fetch->timeout_ns;
	if (now >= until)
		return give_up(w, err);
	if (now >= origin->retry_at && !w->blob->leaving) {
		r = fetch_begin(origin, w->blob, &w->range, /* urgent= */ true);
		if (r < 0)
			return err_set(err, r, "a transfer could not be begun");
	} else if (origin->retry_at > now && origin->retry_at < until) {
		until = origin->retry_at;
	}
	fetch_wait(fetch, &w->blob->changed, until);
	return 0;
}

static bool is_there(const struct blob *blob, const struct range *range)
{
	return !blob->leaving && ranges_cover(&blob->have, range->start, range->end);
}

/* Wait until @range is there. */
static int await(struct origin *origin, struct blob *blob, const struct range *range,
                 struct err *err)
{
	struct waiting w = { .origin = origin,
		             .blob = blob,
		             .range = *range,
		             .since = stats_clock(),
		             .n_failures = blob->n_failures };
	int r = 0;

	while (r == 0 && !is_there(blob, range))
		r = wait_more(&w, err);
	return r;
}

/*
 * Begin to fetch what a reader of @range is going to want: together with @range, when that is neither there nor
 * on its way; else when half of what was fetched ahead is used. Failures show when it is read.
 */
static void begin_ahead(struct origin *origin, struct blob *blob, const struct range *range)
{
	struct range ahead = { .start = range->end, .end = end_ahead(blob, range) };
	struct range near = { .start = ahead.start, .end = ahead.start };
	struct range gap;
	bool missing;

	near.end += (ahead.end - ahead.start) / 2;
	if (blob->leaving || origin->cancelled || origin->fetch->stop ||
	    stats_clock() < origin->retry_at)
		return;
	missing = fetch_missing(origin->fetch, blob, range, &gap);
	if (missing)
		ahead.start = range->start;
	if (missing || fetch_missing(origin->fetch, blob, &near, &gap))
		(void)!fetch_begin(origin, blob, &ahead, /* urgent= */ missing);
}

int fetch_hold(struct origin *origin, const struct descriptor *d, struct pack_hold *hold,
               struct err *err)
{
	const struct range wanted = { .start = hold->range.off,
		                      .end = hold->range.off + hold->range.len };
	struct fetch *fetch = origin->fetch;
	struct blob *blob;
	int r;

	(void)pthread_mutex_lock(&fetch->lock);
	blob = fetch_blob(fetch, d);
	r = blob ? 0 : err_set(err, -ENOMEM, "out of memory");
	if (blob && blob->size != d->size)
		r = err_set(err, -EBADMSG, "another image says that it has %llu bytes, not %llu",
		            (unsigned long long)blob->size, (unsigned long long)d->size);
	if (r == 0) {
		blob->n_holds++;
		blob->used = ++fetch->tick;
		fetch_forgive(blob);
		stats_add(fetch->stats, STAT_FETCH_REQUESTS, 1);
		if (is_there(blob, &wanted))
			stats_add(fetch->stats, STAT_FETCH_HITS, 1);
		begin_ahead(origin, blob, &wanted);
		r = await(origin, blob, &wanted, err);
		hold->round = blob->round;
		if (r < 0)
			blob->n_holds--;
	}
	(void)pthread_mutex_unlock(&fetch->lock);
	return r;
}

uint64_t fetch_lacks(struct origin *origin, const struct descriptor *d,
                     const struct blob_range *range)
{
	struct range left = { .start = range->off, .end = range->off + range->len };
	struct fetch *fetch = origin->fetch;
	const struct blob *blob;
	uint64_t sum = 0;
	struct range gap;

	(void)pthread_mutex_lock(&fetch->lock);
	blob = find_blob(fetch, &d->digest);
	if (!blob || blob->leaving || blob->size != d->size)
		sum = range->len;
	while (sum < range->len && left.start < left.end &&
	       fetch_missing(fetch, blob, &left, &gap)) {
		sum += gap.end - gap.start;
		left.start = gap.end;
	}
	(void)pthread_mutex_unlock(&fetch->lock);
	return sum;
}

/* Take out what is damaged. Returns as fetch_release(). */
static bool take_out(struct origin *origin, struct blob *blob, const struct range *wrong)
{
	uint64_t before = ranges_bytes(&blob->have);

	(void)!ranges_remove(&blob->have, wrong->start, wrong->end);
	origin->fetch->used -= before - ranges_bytes(&blob->have);
	return fetch_blame(origin, blob, wrong);
}

bool fetch_release(struct origin *origin, const struct descriptor *d, const struct pack_hold *hold,
                   bool damaged)
{
	const struct range wrong = { .start = hold->range.off,
		                     .end = hold->range.off + hold->range.len };
	struct fetch *fetch = origin->fetch;
	bool again = damaged;
	struct blob *blob;

	(void)pthread_mutex_lock(&fetch->lock);
	blob = find_blob(fetch, &d->digest);
	damaged = damaged && !fetch_damage_known(blob, hold->round, &wrong);
	if (damaged)
		again = take_out(origin, blob, &wrong);
	(void)pthread_mutex_unlock(&fetch->lock);
	if (damaged) {
		stats_add(fetch->stats, STAT_FETCH_DAMAGED, 1);
		forget(fetch, blob, &wrong);
	}
	/* Now that it is forgotten, too. */
	(void)pthread_mutex_lock(&fetch->lock);
	blob->n_holds--;
	(void)pthread_mutex_unlock(&fetch->lock);
	return again;
}

int fetch_put(struct fetch *fetch, const struct digest *digest, const void *bytes, size_t len,
              struct err *err)
{
	const struct descriptor d = { .digest = *digest, .size = len };
	const struct range all = { .start = 0, .end = len };
	CLEANUP(close) int fd = fetch_open_file(fetch, digest, len);
	struct blob *blob;
	uint64_t before;
	int r = fd < 0 ? fd : io_pwrite(fd, bytes, len, 0);

	if (r < 0)
		return err_set(err, r, "it could not be written: %s", strerrordesc_np(-r));
	(void)pthread_mutex_lock(&fetch->lock);
	blob = fetch_blob(fetch, &d);
	if (blob) {
		before = ranges_bytes(&blob->have);
		blob->used = ++fetch->tick;
		r = ranges_add(&blob->have, 0, len);
		fetch->used += ranges_bytes(&blob->have) - before;
		blob->n_holds++;
	}
	(void)pthread_mutex_unlock(&fetch->lock);
	if (!blob)
		return err_set(err, -ENOMEM, "out of memory");
	fetch_remember(fetch, blob, &all);
	(void)pthread_mutex_lock(&fetch->lock);
	blob->n_holds--;
	(void)pthread_mutex_unlock(&fetch->lock);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

void fetch_usage(struct fetch *fetch, struct fetch_usage *ret)
{
	(void)pthread_mutex_lock(&fetch->lock);
	*ret = (struct fetch_usage){ .size = fetch->size, .used = fetch->used };
	(void)pthread_mutex_unlock(&fetch->lock);
}

/* For store_db_each(). */
static int load_range(void *arg, const struct stored_range *range)
{
	struct fetch *fetch = arg;
	const struct descriptor d = { .digest = range->digest, .size = range->size };
	struct blob *blob = fetch_blob(fetch, &d);

	if (!blob)
		return -ENOMEM;
	blob->used = range->used;
	if (fetch->tick < range->used)
		fetch->tick = range->used;
	return ranges_add(&blob->have, range->start, range->end);
}

/* Forget blobs whose files are gone, or are not what they were. */
static void check_files(struct fetch *fetch)
{
	struct table_node *n = NULL;

	while ((n = table_walk(&fetch->blobs, n)) != NULL) {
		struct blob *blob = TABLE_ENTRY(n, struct blob, node);
		char hex[DIGEST_HEX_SIZE];
		struct stat st;

		if (fstatat(fetch->dir, digest_hex(&blob->digest, hex), &st, AT_SYMLINK_NOFOLLOW) <
		            0 ||
		    !S_ISREG(st.st_mode) || (uint64_t)st.st_size != blob->size) {
			ranges_release(&blob->have);
			(void)!store_db_forget(fetch->db, &blob->digest, NULL);
		}
		fetch->used += ranges_bytes(&blob->have);
	}
}

/* Remove files of which nothing is known. */
static int sweep(const struct fetch *fetch, struct err *err)
{
	int fd = openat(fetch->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return err_set_errno(err, "directory of blobs");
	}
	/* A stream of our own. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((entry = readdir(dir)) != NULL) {
		struct digest digest;
		const struct blob *blob;

		if (entry->d_name[0] == '.' && !io_is_temp_name(entry->d_name))
			continue;
		blob = digest_parse(entry->d_name, strlen(entry->d_name), &digest) < 0
		               ? NULL
		               : find_blob(fetch, &digest);
		if (!blob || blob->have.n == 0)
			(void)unlinkat(fetch->dir, entry->d_name, 0);
	}
	(void)closedir(dir);
	return 0;
}

int fetch_new(const struct fetch_config *config, struct fetch **ret, struct err *err)
{
	CLEANUP(fetch_free) struct fetch *fetch = calloc(1, sizeof(*fetch));
	int r = 0;

	if (!fetch)
		return err_set(err, -ENOMEM, "out of memory");
	fetch->db = config->db;
	fetch->stats = config->stats;
	fetch->size = config->size;
	fetch->rate = config->rate;
	fetch->timeout_ns = config->timeout_s * NS_PER_S;
	(void)pthread_mutex_init(&fetch->lock, NULL);
	cond_init_monotonic(&fetch->work);
	cond_init_monotonic(&fetch->paced);
	cond_init_monotonic(&fetch->quiet);
	fetch->dir = open(config->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fetch->dir < 0)
		return err_set_errno(err, "'%s'", config->dir);
	if (fetch->db)
		r = store_db_each(fetch->db, load_range, fetch, err);
	if (r < 0)
		return r;
	check_files(fetch);
	r = sweep(fetch, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(fetch);
	return 0;
}

bool fetch_stop(struct fetch *fetch)
{
	uint64_t until = stats_clock() + NS_PER_S;
	bool quiet;

	if (!fetch)
		return true;
	(void)pthread_mutex_lock(&fetch->lock);
	fetch->stop = true;
	(void)pthread_cond_broadcast(&fetch->work);
	(void)pthread_cond_broadcast(&fetch->paced);
	for (struct table_node *n = table_walk(&fetch->blobs, NULL); n;
	     n = table_walk(&fetch->blobs, n))
		(void)pthread_cond_broadcast(&TABLE_ENTRY(n, struct blob, node)->changed);
	while (fetch->n_running > 0 && stats_clock() < until)
		fetch_wait(fetch, &fetch->quiet, until);
	quiet = fetch->n_running == 0;
	if (quiet)
		fetch_drop_flights(fetch);
	(void)pthread_mutex_unlock(&fetch->lock);
	return quiet;
}

static void free_blobs(struct fetch *fetch)
{
	for (struct table_node *n = table_walk(&fetch->blobs, NULL), *next; n; n = next) {
		struct blob *blob = TABLE_ENTRY(n, struct blob, node);

		next = table_walk(&fetch->blobs, n);
		(void)pthread_cond_destroy(&blob->changed);
		ranges_release(&blob->have);
		ranges_release(&blob->hopeless);
		fetch_free_givers(blob);
		free(blob);
	}
	table_release(&fetch->blobs);
}

void fetch_free(struct fetch *fetch)
{
	if (!fetch)
		return;
	for (unsigned i = 0; i < fetch->n_threads; i++)
		(void)pthread_join(fetch->thread[i], NULL);
	if (fetch->has_background)
		(void)pthread_join(fetch->thread[FETCH_THREADS], NULL);
	free_blobs(fetch);
	if (fetch->dir >= 0)
		(void)close(fetch->dir);
	(void)pthread_cond_destroy(&fetch->work);
	(void)pthread_cond_destroy(&fetch->paced);
	(void)pthread_cond_destroy(&fetch->quiet);
	(void)pthread_mutex_destroy(&fetch->lock);
	free(fetch);
}
