/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers take the next piece of the oldest job that has any: large files are
 * filled by all of them. The first one to take a job finds out its order.
 */
#include "prefetch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "order.h"
#include "resident.h"

enum {
	PREFETCH_NICE = 19,
	ENDED_MAX = 64, /* jobs that are remembered */
};

/* Bytes of a large file that a worker takes at a time. */
#define PIECE_MAX ((uint64_t)8 << 20)

struct job {
	struct job *next;

	/* constant */
	struct digest digest;
	char *name; /* owned */
	enum prefetch_source source;
	uint64_t since;     /* region_time() when it began: what was opened later stays */
	uint64_t evictions; /* region_evictions() then */

	/* of the worker that finds out the order; then constant until the job has ended */
	char *text; /* owned */
	size_t len;
	struct order order;

	/* under prefetch->lock */
	struct image *img; /* owned if take; NULL when the job has ended */
	bool take;
	bool ordered;  /* order is known */
	bool ordering; /* a worker is finding it out */
	bool stop;     /* no more pieces are to be taken */
	size_t next_use;
	uint64_t next_off; /* within it */
	unsigned n_workers;
	enum prefetch_state state;
	uint64_t done;
	uint64_t n_failed; /* bytes */
	struct err error;  /* the first */
	struct filled filled;
	bool passed_on;  /* what is not in the region may be where it was passed on to */
	uint64_t number; /* of the jobs that have ended, in their order */
};

struct prefetch {
	/* constant after prefetch_new() */
	struct prefetch_config config;
	pthread_t *thread; /* owned */
	unsigned n_threads;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a job came or has ended, or stop was set */
	/* under lock */
	struct job *jobs; /* owned; oldest first */
	uint64_t n_ended;
	bool stop;
};

/* Bytes of one use. */
struct piece {
	uint64_t content;
	uint64_t off, len;
};

const char *prefetch_state_name(enum prefetch_state state)
{
	static const char *const names[] = {
		[PREFETCH_RUNNING] = "running",     [PREFETCH_DONE] = "done",
		[PREFETCH_FULL] = "full",           [PREFETCH_FAILED] = "failed",
		[PREFETCH_CANCELLED] = "cancelled", [PREFETCH_EVICTED] = "evicted",
	};

	return names[state];
}

static void job_free(struct job *job)
{
	order_release(&job->order);
	filled_release(&job->filled);
	free(job->text);
	free(job->name);
	free(job);
}

/* Whether a worker can do something for @job now. */
static bool has_work(const struct job *job)
{
	if (!job->img || job->stop || job->ordering)
		return false;
	return !job->ordered || job->next_use < job->order.uses.n;
}

static bool has_ended(const struct job *job)
{
	return job->n_workers == 0 && !job->ordering &&
	       (job->stop || (job->ordered && job->next_use == job->order.uses.n));
}

/* Take the next piece of @job, which has one. With lock held. */
static struct piece take_piece(struct job *job)
{
	const struct use *use = &job->order.uses.list[job->next_use];
	struct piece piece = { use->file, use->off + job->next_off, use->len - job->next_off };

	if (use->len > SYNC_FILL_MAX && piece.len > PIECE_MAX)
		piece.len = PIECE_MAX;
	job->next_off += piece.len;
	if (job->next_off == use->len) {
		job->next_use++;
		job->next_off = 0;
	}
	return piece;
}

static int fill_piece(struct prefetch *p, struct job *job, const struct piece *piece,
                      struct digest *ret_digest, struct err *err)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct content content;
	int r = index_content(image_index(job->img), piece->content, &content, err);

	if (r < 0)
		return r;
	*ret_digest = content.digest;
	r = region_get_before(p->config.region, &content.digest, content.size, job->since, &obj);
	if (r < 0)
		return err_set(err, r, "region: %s", strerrordesc_np(-r));
	/* What this job has found must stay for it, too. */
	object_touch(obj);
	if (object_covers(obj, piece->off, piece->len))
		return 0;
	r = extent_map_load_range(job->img, &content, piece->off, piece->len, &map, err);
	if (r < 0)
		return r;
	if (piece->len == content.size)
		return fill_object(p->config.fill, map, obj, err);
	return fill_range(p->config.fill, map, obj, piece->off, piece->len, err);
}

/* Note what became of a piece, or of finding out the order. With lock held. */
static void note_result(struct job *job, int r, const struct err *err, uint64_t bytes)
{
	if (r == 0) {
		job->done += bytes;
		return;
	}
	if (job->state == PREFETCH_RUNNING)
		job->error = *err;
	if (r == -ENOSPC) {
		job->state = PREFETCH_FULL;
		(void)err_set(
			&job->error, r,
			"the region has no room for the rest; see assetfs serve --region-size");
		job->stop = true;
	} else if (job->state == PREFETCH_RUNNING) {
		job->state = PREFETCH_FAILED;
	}
	job->n_failed += bytes;
}

/* Find out in which order to fill. Performs I/O. */
static int find_order(struct job *job, struct err *err)
{
	struct index *idx = image_index(job->img);
	int r = job->source == PREFETCH_TRACE;

	if (job->source == PREFETCH_IMAGE)
		r = image_read_trace(job->img, &job->text, &job->len, err);
	if (r < 0)
		return r;
	r = r > 0 ? order_add_trace(&job->order, idx, job->text, job->len, err)
	          : order_add_all(&job->order, idx, err);
	free(job->text);
	job->text = NULL;
	return r;
}

/* With lock held, which is given up meanwhile. */
static void set_order(struct prefetch *p, struct job *job)
{
	struct err err = ERR_INIT;
	int r;

	job->ordering = true;
	(void)pthread_mutex_unlock(&p->lock);
	r = find_order(job, &err);
	(void)pthread_mutex_lock(&p->lock);
	job->ordering = false;
	job->ordered = true;
	if (r < 0) {
		note_result(job, r, &err, 0);
		job->stop = true;
	}
	(void)pthread_cond_broadcast(&p->changed);
}

/* With lock held. */
static void note_filled(struct job *job, const struct digest *digest, uint64_t bytes)
{
	/* Without memory for it, the job is taken at its word. */
	if (filled_add(&job->filled, digest, bytes) < 0)
		job->passed_on = true;
}

/* As set_order(), for a piece. */
static void do_piece(struct prefetch *p, struct job *job)
{
	struct piece piece = take_piece(job);
	struct err err = ERR_INIT;
	struct digest digest;
	int r;

	job->n_workers++;
	(void)pthread_mutex_unlock(&p->lock);
	r = fill_piece(p, job, &piece, &digest, &err);
	(void)pthread_mutex_lock(&p->lock);
	job->n_workers--;
	note_result(job, r, &err, piece.len);
	if (r == 0)
		note_filled(job, &digest, piece.len);
}

/* Whether a later job is of the same image. With lock held. */
static bool is_superseded(const struct job *job)
{
	const struct job *later = job->next;

	while (later && !digest_equal(&later->digest, &job->digest))
		later = later->next;
	return later != NULL;
}

/* Forget ended jobs: those that a later one supersedes, and the oldest above the limit. With lock held. */
static void forget_ended(struct prefetch *p)
{
	struct job **link = &p->jobs;
	unsigned n = 0;

	for (const struct job *job = p->jobs; job; job = job->next)
		n += !job->img;
	while (*link) {
		struct job *job = *link;

		if (!job->img && (n > ENDED_MAX || is_superseded(job))) {
			*link = job->next;
			job_free(job);
			n--;
		} else {
			link = &job->next;
		}
	}
}

/* With lock held, which is given up meanwhile: the job's image may be closed. */
static void end_job(struct prefetch *p, struct job *job)
{
	struct image *img = job->img;
	struct order order = job->order;

	job->order = ORDER_INIT;
	job->order.bytes = order.bytes;
	job->ordering = true; /* nobody else ends it */
	if (job->state == PREFETCH_RUNNING)
		job->state = job->stop ? PREFETCH_CANCELLED : PREFETCH_DONE;
	(void)pthread_mutex_unlock(&p->lock);
	order_release(&order);
	filled_close(&job->filled);
	if (job->take)
		image_close(img);
	(void)pthread_mutex_lock(&p->lock);
	job->img = NULL;
	job->number = ++p->n_ended;
	job->ordering = false;
	forget_ended(p);
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	p->config.ended(p->config.arg);
	(void)pthread_mutex_lock(&p->lock);
}

/* The oldest job that has work, or has to be ended. With lock held. */
static struct job *pick(const struct prefetch *p)
{
	struct job *job = p->jobs;

	while (job && !(job->img && (has_work(job) || has_ended(job))))
		job = job->next;
	return job;
}

static void *worker(void *arg)
{
	struct prefetch *p = arg;

	/* Linux gives each thread its own nice value. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), PREFETCH_NICE);
	(void)pthread_mutex_lock(&p->lock);
	for (;;) {
		struct job *job = pick(p);

		if (!job && p->stop)
			break;
		if (!job)
			(void)pthread_cond_wait(&p->changed, &p->lock);
		else if (has_ended(job))
			end_job(p, job);
		else if (!job->ordered)
			set_order(p, job);
		else
			do_piece(p, job);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

int prefetch_new(const struct prefetch_config *config, struct prefetch **ret, struct err *err)
{
	CLEANUP(prefetch_free) struct prefetch *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	p->config = *config;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	p->thread = calloc(config->n_threads, sizeof(*p->thread));
	while (p->thread && p->n_threads < config->n_threads && r == 0) {
		r = pthread_create(&p->thread[p->n_threads], NULL, worker, p);
		p->n_threads += r == 0;
	}
	if (!p->thread || r > 0)
		return err_set(err, -ENOMEM, "threads for prefetch could not be started");
	*ret = TAKE_PTR(p);
	return 0;
}

void prefetch_free(struct prefetch *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->stop = true;
	for (struct job *job = p->jobs; job; job = job->next)
		job->stop = true;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		(void)pthread_join(p->thread[i], NULL);
	while (p->jobs) {
		struct job *job = p->jobs;

		p->jobs = job->next;
		job_free(job);
	}
	free(p->thread);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

/* Takes what is to be taken of @o on success. */
static struct job *job_new(const struct prefetch *p, const struct prefetch_order *o)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->name = strdup(o->name);
	if (!job->name) {
		free(job);
		return NULL;
	}
	job->digest = image_manifest(o->img)->self.digest;
	job->source = o->source;
	job->since = region_time(p->config.region);
	job->evictions = region_evictions(p->config.region);
	job->passed_on = o->passed_on;
	job->text = o->text;
	job->len = o->len;
	job->order = ORDER_INIT;
	job->img = o->img;
	job->take = o->take;
	return job;
}

/* Whether a job does already what @job is to do. With lock held. */
static bool is_under_way(const struct prefetch *p, const struct job *job)
{
	const struct job *other = p->jobs;

	while (other && !(other->img && !other->stop && other->source == job->source &&
	                  digest_equal(&other->digest, &job->digest)))
		other = other->next;
	return other && job->source != PREFETCH_TRACE;
}

/* Put @job at the end, and stop those of the same image. With lock held. */
static void add_job(struct prefetch *p, struct job *job)
{
	struct job **end = &p->jobs;

	for (; *end; end = &(*end)->next) {
		if (digest_equal(&(*end)->digest, &job->digest))
			(*end)->stop = true;
	}
	*end = job;
	(void)pthread_cond_broadcast(&p->changed);
}

int prefetch_start(struct prefetch *p, struct prefetch_order *order, struct err *err)
{
	struct job *job = job_new(p, order);
	int r = job ? 0 : err_set(err, -ENOMEM, "out of memory");
	bool added = false;

	if (job) {
		(void)pthread_mutex_lock(&p->lock);
		added = !is_under_way(p, job);
		if (added)
			add_job(p, job);
		(void)pthread_mutex_unlock(&p->lock);
	}
	if (added)
		return 0;
	if (order->take)
		image_close(order->img);
	if (job)
		job_free(job);
	else
		free(order->text);
	return r;
}

/* With lock held. */
static bool stop_jobs(struct prefetch *p, const struct image *img)
{
	bool any = false;

	for (struct job *job = p->jobs; job; job = job->next) {
		if (job->img && (!img || job->img == img)) {
			job->stop = true;
			any = true;
		}
	}
	return any;
}

void prefetch_cancel(struct prefetch *p, const struct image *img)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	while (stop_jobs(p, img)) {
		(void)pthread_cond_broadcast(&p->changed);
		(void)pthread_cond_wait(&p->changed, &p->lock);
	}
	(void)pthread_mutex_unlock(&p->lock);
}

bool prefetch_busy(struct prefetch *p)
{
	const struct job *job;

	if (!p)
		return false;
	(void)pthread_mutex_lock(&p->lock);
	for (job = p->jobs; job && !job->img; job = job->next)
		;
	(void)pthread_mutex_unlock(&p->lock);
	return job != NULL;
}

void prefetch_passed_on(struct prefetch *p, const struct digest *digest)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	for (struct job *job = p->jobs; job; job = job->next)
		job->passed_on |= digest_equal(&job->digest, digest);
	(void)pthread_mutex_unlock(&p->lock);
}

/* What the region had when @n_ended jobs had ended. */
struct look {
	struct resident_list list;
	uint64_t n_ended; /* 0: nobody has looked */
};

static void look_release_cleanup(struct look *look)
{
	resident_list_release(&look->list);
}

/* Whether bytes may have left the region of those that @job has filled. With lock held. */
static bool may_have_lost(const struct prefetch *p, const struct job *job)
{
	return !job->img && job->state == PREFETCH_DONE && !job->passed_on &&
	       job->evictions != region_evictions(p->config.region);
}

/* Look at the region if an answer depends on it. Without memory jobs are taken at their word. */
static struct look look_at_region(struct prefetch *p)
{
	struct look look = { .list = RESIDENT_LIST_INIT };
	bool needed = false;

	(void)pthread_mutex_lock(&p->lock);
	for (const struct job *job = p->jobs; job; job = job->next)
		needed |= may_have_lost(p, job);
	look.n_ended = p->n_ended;
	(void)pthread_mutex_unlock(&p->lock);
	if (!needed || resident_list_load(p->config.region, &look.list) < 0)
		look.n_ended = 0;
	return look;
}

/* With lock held. */
static void judge(const struct prefetch *p, const struct job *job, const struct look *look,
                  struct prefetch_report *report)
{
	if (job->number > look->n_ended || !may_have_lost(p, job))
		return;
	report->done = filled_resident(&job->filled, &look->list);
	if (report->done == job->done)
		return;
	report->state = PREFETCH_EVICTED;
	(void)snprintf(report->error, sizeof(report->error), "some of it has left the region");
}

/* With lock held. */
static struct prefetch_report report_of(const struct prefetch *p, const struct job *job,
                                        const struct look *look)
{
	struct prefetch_report report = {
		.digest = job->digest,
		.name = job->name,
		.source = job->source,
		.state = job->img ? PREFETCH_RUNNING : job->state,
		.done = job->done,
		.total = job->ordered ? job->order.bytes : 0,
	};

	if (job->error.code != 0)
		(void)snprintf(report.error, sizeof(report.error), "%.*s",
		               (int)sizeof(report.error) - 1, job->error.msg);
	judge(p, job, look, &report);
	return report;
}

bool prefetch_find(struct prefetch *p, const struct digest *digest, struct prefetch_report *ret)
{
	CLEANUP(look_release) struct look look = look_at_region(p);
	bool found = false;

	(void)pthread_mutex_lock(&p->lock);
	for (const struct job *job = p->jobs; job; job = job->next) {
		if (digest_equal(&job->digest, digest)) {
			*ret = report_of(p, job, &look);
			ret->name = NULL;
			found = true;
		}
	}
	(void)pthread_mutex_unlock(&p->lock);
	return found;
}

void prefetch_each(struct prefetch *p, prefetch_report_fn fn, void *arg)
{
	CLEANUP(look_release) struct look look = look_at_region(p);

	(void)pthread_mutex_lock(&p->lock);
	for (const struct job *job = p->jobs; job; job = job->next) {
		struct prefetch_report report = report_of(p, job, &look);

		fn(arg, &report);
	}
	(void)pthread_mutex_unlock(&p->lock);
}
