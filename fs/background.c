/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background fill. All threads work on the oldest task, each taking its next
 * part, so that one large file uses every core; the last one to leave a task
 * ends it. The threads run at the lowest priority that still makes progress:
 * a reader that waits for a chunk is served by its own thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fill_internal.h"

enum { BACKGROUND_NICE = 19 };

struct task {
	struct task *next;
	struct extent_map *map; /* owned reference */
	struct object *obj;     /* owned reference */
	fill_done_fn done;
	void *arg;
	uint32_t next_part; /* to be taken; map->n is the last */
	unsigned n_workers; /* threads at work on it */
};

struct background {
	/* constant after background_new() */
	struct fill *fill; /* borrowed */
	pthread_t *thread; /* owned */
	unsigned n_threads;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a task came, or one was left, or stop was set */
	/* under lock */
	struct task *head, *tail;
	bool stop;
};

/* Unlink @task; with bg->lock held. */
static void unlink_task(struct background *bg, struct task *task)
{
	struct task **link = &bg->head;
	struct task *before = NULL;

	for (; *link != task; link = &(*link)->next)
		before = *link;
	*link = task->next;
	if (bg->tail == task)
		bg->tail = before;
}

/* What remains when nobody works on @task any more. With bg->lock held, which is given up meanwhile. */
static void end_task(struct background *bg, struct task *task)
{
	(void)pthread_mutex_unlock(&bg->lock);
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
	return task->next_part <= task->map->n;
}

/* The oldest task that has something left to do. */
static struct task *pick(const struct background *bg)
{
	struct task *task = bg->head;

	while (task && !has_work(task))
		task = task->next;
	return task;
}

/*
 * Take the next part of @task and fill it. An error shows again when somebody
 * reads there. With bg->lock held, which is given up meanwhile.
 */
static void work(struct background *bg, struct task *task)
{
	uint32_t i = task->next_part++;
	int r;

	task->n_workers++;
	(void)pthread_mutex_unlock(&bg->lock);
	r = fill_part(bg->fill, task->map, task->obj, i, NULL);
	(void)pthread_mutex_lock(&bg->lock);
	/* No room: what follows would find none either. */
	if (r == -ENOSPC)
		task->next_part = task->map->n + 1;
	if (--task->n_workers == 0 && !has_work(task))
		end_task(bg, task);
}

static void *worker(void *arg)
{
	struct background *bg = arg;

	/* Linux gives each thread its own nice value. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
	(void)pthread_mutex_lock(&bg->lock);
	while (!bg->stop) {
		struct task *task = pick(bg);

		if (task)
			work(bg, task);
		else
			(void)pthread_cond_wait(&bg->changed, &bg->lock);
	}
	(void)pthread_mutex_unlock(&bg->lock);
	return NULL;
}

int background_new(struct fill *fill, unsigned n_threads, struct background **ret, struct err *err)
{
	struct background *bg = calloc(1, sizeof(*bg));
	int r = 0;

	if (!bg)
		return err_set(err, -ENOMEM, "out of memory");
	bg->fill = fill;
	(void)pthread_mutex_init(&bg->lock, NULL);
	(void)pthread_cond_init(&bg->changed, NULL);
	bg->thread = calloc(n_threads, sizeof(*bg->thread));
	while (bg->thread && bg->n_threads < n_threads && r == 0) {
		r = pthread_create(&bg->thread[bg->n_threads], NULL, worker, bg);
		bg->n_threads += r == 0;
	}
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

	task->next_part = task->map->n + 1;
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

int background_add(struct background *bg, struct extent_map *map, struct object *obj,
                   fill_done_fn done, void *arg)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return -ENOMEM;
	task->map = extent_map_ref(map);
	task->obj = object_ref(obj);
	task->done = done;
	task->arg = arg;
	(void)pthread_mutex_lock(&bg->lock);
	if (bg->tail)
		bg->tail->next = task;
	else
		bg->head = task;
	bg->tail = task;
	(void)pthread_cond_broadcast(&bg->changed);
	(void)pthread_mutex_unlock(&bg->lock);
	return 0;
}

/* With bg->lock held. */
static struct task *find_task(const struct background *bg, const struct image *img)
{
	struct task *task = bg->head;

	while (task && task->map->img != img)
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
