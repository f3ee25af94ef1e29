/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that fill whole objects. All work on the most urgent task, each
 * taking its next part, so that one large file uses every core; the last one to
 * leave a task ends it.
 *
 * Who waits for a fill_object() works on it, too, and has its task first in the
 * queue. For everything else the threads yield: none takes a part while callers
 * and threads at work are more than cores, one of which may wait for a disk, and for background
 * work they run at the lowest priority that still makes progress. A caller that
 * waits for a chunk that such a thread is at work on raises it (background_raise()).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fill_internal.h"

enum {
	BACKGROUND_NICE = 19,
	JOINED =
		-1, /* the priority of a task that its caller works on, before every enum fill_priority */
	JOIN_MIN = 4, /* parts that are worth waking others for */
};

struct task {
	struct task *next;
	struct extent_map *map; /* owned reference; borrowed when joined */
	struct object *obj;     /* owned reference; borrowed when joined */
	int priority;
	fill_done_fn done; /* may be NULL */
	void *arg;
	bool is_over;       /* nothing more is begun */
	uint32_t next_part; /* to be taken; map->n is the last */
	unsigned n_workers; /* threads at work on it */

	struct target target; /* of the first to work on it; the others' once it is open */
	bool target_taken, target_open;

	struct err err;    /* of the first part that failed, */
	uint32_t err_part; /* which is this */
};

struct background {
	/* constant after background_new() */
	struct fill *fill; /* borrowed */
	pthread_t *thread; /* owned */
	unsigned n_threads;
	unsigned n_max; /* that do background work at once */
	int nice;       /* of the process */

	pthread_mutex_t lock;
	pthread_cond_t
		changed; /* a task came, or one was left, or somebody resumed, or stop was set */
	/* under lock */
	struct task *head;     /* by priority, then age */
	unsigned n_callers;    /* between background_yield() and background_resume() */
	unsigned n_helping;    /* threads at work on joined tasks, */
	unsigned n_background; /* and on others */
	bool stop;
};

/* Unlink @task; with bg->lock held. */
static void unlink_task(struct background *bg, const struct task *task)
{
	struct task **link = &bg->head;

	while (*link != task)
		link = &(*link)->next;
	*link = task->next;
}

/* Put @task behind those that are as urgent; with bg->lock held. */
static void link_task(struct background *bg, struct task *task)
{
	struct task **link = &bg->head;

	while (*link && (*link)->priority <= task->priority)
		link = &(*link)->next;
	task->next = *link;
	*link = task;
	(void)pthread_cond_broadcast(&bg->changed);
}

/*
 * What remains when nobody works on @task any more, which is not joined. With bg->lock held,
 * which is given up meanwhile.
 */
static void end_task(struct background *bg, struct task *task)
{
	(void)pthread_mutex_unlock(&bg->lock);
	target_close(&task->target);
	if (task->done)
		task->done(task->arg, task->obj);
	object_unref(task->obj);
	(void)pthread_mutex_lock(&bg->lock);
	unlink_task(bg, task);
	extent_map_unref(task->map);
	free(task);
	(void)pthread_cond_broadcast(&bg->changed);
}

static bool has_work(const struct task *task)
{
	return !task->is_over && (!task->map->is_loaded || task->next_part <= task->map->n);
}

/* Whether another thread can take a part: not while the first one loads the map. */
static bool has_parts(const struct task *task)
{
	return has_work(task) && (task->map->is_loaded || task->n_workers == 0);
}

/* The most urgent task that a thread may work on now. */
static struct task *pick(const struct background *bg)
{
	struct task *task = bg->head;

	if (bg->n_callers + bg->n_helping + bg->n_background > bg->n_threads)
		return NULL;
	while (task && !has_parts(task))
		task = task->next;
	if (task && task->priority != JOINED && bg->n_background >= bg->n_max)
		return NULL;
	return task;
}

/*
 * The target to fill @task through, for one part. With bg->lock held, which is given up while
 * the first thread opens it; others do without until then.
 */
static struct target target_of(struct background *bg, struct task *task)
{
	const struct target none = { .obj = task->obj, .fd = -1 };

	if (!task->target_taken) {
		struct target fresh;

		task->target_taken = true;
		(void)pthread_mutex_unlock(&bg->lock);
		target_open(&fresh, task->obj);
		(void)pthread_mutex_lock(&bg->lock);
		task->target = fresh;
		task->target_open = true;
	}
	return task->target_open ? task->target : none;
}

/* With bg->lock held. */
static void note_failure(struct task *task, uint32_t i, const struct err *err)
{
	if (task->err.code == 0 || i < task->err_part) {
		task->err = *err;
		task->err_part = i;
	}
	/* No room, or packs that cannot be fetched: what follows would fare no better. */
	if (err->code == -ENOSPC || (err->code != -EBADMSG && image_is_remote(task->map->img)))
		task->is_over = true;
}

/* Find out what there is to do. With bg->lock held, which is given up meanwhile. */
static void load(struct background *bg, struct task *task)
{
	int r;

	task->n_workers++;
	(void)pthread_mutex_unlock(&bg->lock);
	/* An error shows again when somebody reads. */
	r = extent_map_fetch(task->map, NULL);
	(void)pthread_mutex_lock(&bg->lock);
	task->map->is_loaded = true;
	task->is_over |= r < 0;
	task->n_workers--;
	(void)pthread_cond_broadcast(&bg->changed);
}

/* Take the next part of @task and fill it. With bg->lock held, which is given up meanwhile. */
static void work(struct background *bg, struct task *task)
{
	uint32_t i = task->next_part++;
	struct err err = ERR_INIT;
	struct target target;
	int r;

	task->n_workers++;
	target = target_of(bg, task);
	(void)pthread_mutex_unlock(&bg->lock);
	r = fill_part(bg->fill, task->map, &target, i, &err);
	(void)pthread_mutex_lock(&bg->lock);
	if (r < 0)
		note_failure(task, i, &err);
	task->n_workers--;
}

/* Work on @task as a thread of ours; with bg->lock held, which is given up meanwhile. */
static void serve(struct background *bg, struct task *task)
{
	unsigned *count = task->priority == JOINED ? &bg->n_helping : &bg->n_background;
	int nice = task->priority == JOINED ? bg->nice : BACKGROUND_NICE;

	/* Linux gives each thread its own nice value. Somebody may have raised this one. */
	(void)setpriority(PRIO_PROCESS, 0, nice > bg->nice ? nice : bg->nice);
	(*count)++;
	if (task->map->is_loaded)
		work(bg, task);
	else
		load(bg, task);
	(*count)--;
	if (task->n_workers > 0 || has_work(task))
		return;
	if (task->priority == JOINED)
		(void)pthread_cond_broadcast(&bg->changed);
	else
		end_task(bg, task);
}

static void *worker(void *arg)
{
	struct background *bg = arg;

	(void)pthread_mutex_lock(&bg->lock);
	while (!bg->stop) {
		struct task *task = pick(bg);

		if (task)
			serve(bg, task);
		else
			(void)pthread_cond_wait(&bg->changed, &bg->lock);
	}
	(void)pthread_mutex_unlock(&bg->lock);
	return NULL;
}

int background_new(struct fill *fill, unsigned n_threads, unsigned n_background,
                   struct background **ret, struct err *err)
{
	struct background *bg = calloc(1, sizeof(*bg));
	int r = 0;

	if (!bg)
		return err_set(err, -ENOMEM, "out of memory");
	bg->fill = fill;
	bg->n_max = n_background;
	bg->nice = getpriority(PRIO_PROCESS, 0);
	(void)pthread_mutex_init(&bg->lock, NULL);
	(void)pthread_cond_init(&bg->changed, NULL);
	bg->thread = calloc(n_threads, sizeof(*bg->thread));
	(void)pthread_mutex_lock(&bg->lock);
	while (bg->thread && bg->n_threads < n_threads && r == 0) {
		r = pthread_create(&bg->thread[bg->n_threads], NULL, worker, bg);
		bg->n_threads += r == 0;
	}
	(void)pthread_mutex_unlock(&bg->lock);
	if (!bg->thread || r > 0) {
		background_free(bg);
		return err_set(err, -ENOMEM, "threads for background fill could not be started");
	}
	*ret = bg;
	return 0;
}

/*
 * Let @task end early. Returns true when nobody worked on it, so that it has
 * ended; else its last worker will end it. With bg->lock held.
 */
static bool drop(struct background *bg, struct task *task)
{
	bool idle = task->n_workers == 0 && has_work(task);

	task->is_over = true;
	if (idle)
		end_task(bg, task);
	return idle;
}

void background_free(struct background *bg)
{
	if (!bg)
		return;
	(void)pthread_mutex_lock(&bg->lock);
	bg->stop = true;
	(void)pthread_cond_broadcast(&bg->changed);
	(void)pthread_mutex_unlock(&bg->lock);
	for (unsigned i = 0; i < bg->n_threads; i++)
		(void)pthread_join(bg->thread[i], NULL);
	(void)pthread_mutex_lock(&bg->lock);
	while (bg->head)
		(void)drop(bg, bg->head);
	(void)pthread_mutex_unlock(&bg->lock);
	free(bg->thread);
	(void)pthread_cond_destroy(&bg->changed);
	(void)pthread_mutex_destroy(&bg->lock);
	free(bg);
}

void background_yield(struct background *bg)
{
	(void)pthread_mutex_lock(&bg->lock);
	bg->n_callers++;
	(void)pthread_mutex_unlock(&bg->lock);
}

/* With bg->lock held. */
static void resume(struct background *bg)
{
	bg->n_callers--;
	if (bg->head)
		(void)pthread_cond_broadcast(&bg->changed);
}

void background_resume(struct background *bg)
{
	(void)pthread_mutex_lock(&bg->lock);
	resume(bg);
	(void)pthread_mutex_unlock(&bg->lock);
}

int background_join(struct background *bg, struct extent_map *map, struct object *obj,
                    struct err *err)
{
	struct task task = { .map = map, .obj = obj, .priority = JOINED, .target = { .fd = -1 } };
	bool share = map->n >= JOIN_MIN;

	(void)pthread_mutex_lock(&bg->lock);
	bg->n_callers++;
	if (share)
		link_task(bg, &task);
	while (has_work(&task))
		work(bg, &task);
	while (task.n_workers > 0)
		(void)pthread_cond_wait(&bg->changed, &bg->lock);
	if (share)
		unlink_task(bg, &task);
	resume(bg);
	(void)pthread_mutex_unlock(&bg->lock);
	target_close(&task.target);
	return task.err.code < 0 ? err_set(err, task.err.code, "%s", task.err.msg) : 0;
}

/* Seven parameters are those of fill_later(). NOLINTNEXTLINE(readability-function-size) */
int background_add(struct background *bg, struct extent_map *map, struct object *obj,
                   enum fill_priority priority, fill_done_fn done, void *arg)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return -ENOMEM;
	task->map = extent_map_ref(map);
	task->obj = object_ref(obj);
	task->priority = (int)priority;
	task->done = done;
	task->arg = arg;
	task->target.fd = -1;
	(void)pthread_mutex_lock(&bg->lock);
	link_task(bg, task);
	(void)pthread_mutex_unlock(&bg->lock);
	return 0;
}

/* With bg->lock held. Joined tasks are their callers'. */
static struct task *find_task(const struct background *bg, const struct image *img)
{
	struct task *task = bg->head;

	while (task && (task->priority == JOINED || task->map->img != img))
		task = task->next;
	return task;
}

void background_cancel(struct background *bg, const struct image *img)
{
	struct task *task;

	(void)pthread_mutex_lock(&bg->lock);
	while ((task = find_task(bg, img)) != NULL) {
		if (!drop(bg, task))
			(void)pthread_cond_wait(&bg->changed, &bg->lock);
	}
	(void)pthread_mutex_unlock(&bg->lock);
}

void background_raise(const struct background *bg, int tid)
{
	if (getpriority(PRIO_PROCESS, (id_t)tid) > bg->nice)
		(void)setpriority(PRIO_PROCESS, (id_t)tid, bg->nice);
}
