/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon is asked what it serves; no mount is touched to find out, for one
 * that hangs would take this thread along. What it does not serve twice in a row
 * is lost: between the two, a daemon that has just started may take over the
 * sessions of the one before.
 *
 * The image's new mount is beside the old one, which is the last to go: it tells
 * what the volumes show, also to the next driver, if this one is killed half way.
 */
#include "csi/heal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "control.h"

enum {
	PAUSE_SECONDS = 2,
	SUSPECTS_MAX = 1024, /* more wait until these are healed */
};

/* A file system that was not served when the daemon was last asked. */
struct suspect {
	dev_t device;
	bool reported; /* it cannot be healed, and that was said */
};

struct healer {
	struct node *node; /* constant; borrowed */
	pthread_t thread;  /* constant */
	/* the thread's */
	struct suspect suspect[SUSPECTS_MAX];
	size_t n_suspects;
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t stopping;
	bool stop;
};

static struct suspect *find_suspect(struct healer *h, dev_t device)
{
	for (size_t i = 0; i < h->n_suspects; i++) {
		if (h->suspect[i].device == device)
			return &h->suspect[i];
	}
	return NULL;
}

/* A mount of the image that @old showed; sets *@ret to its file system when it was attached. */
static int mount_again(const struct node *node, const struct node_mount *old, struct err *err)
{
	CLEANUP(json_decref) json_t *status = NULL;
	CLEANUP(close) int mount = -1;
	const struct mount_order order = {
		.image = old->point->source,
		.platform = strcmp(old->image.platform, "any") == 0 ? NULL : old->image.platform,
		.target = old->point->path,
	};
	struct served now = { .digest = "" };
	uint64_t floor;
	dev_t device;
	int r = daemon_mount(node->store, &order, &mount, &device, err);

	if (r == 0)
		r = daemon_status(node->store, &status, err);
	if (r < 0)
		return r;
	if (!status_serves(status, device, &now) || strcmp(now.digest, old->image.digest) != 0)
		return err_set(err, -ESTALE,
		               "'%s' names another image by now; volumes keep the one that they "
		               "began with",
		               order.image);
	if (node_pin_get(node->dir, &old->image, &floor) &&
	    daemon_pin(node->store, &order, floor, NULL) < 0)
		log_warn("%s is no longer pinned", order.image);
	return node_mount_attach(node->dir, &old->image, device, mount, err);
}

/* Mount what @point shows of the image again, from @live, over it. Returns 0 or -errno. */
static int heal_volume(struct node *node, const struct node_mount *live,
                       const struct mount_point *point, struct err *err)
{
	CLEANUP(name_lock_release) struct name_lock lock = NAME_LOCK_INIT;
	CLEANUP(mount_points_release) struct mount_points now = MOUNT_POINTS_INIT;
	CLEANUP(free) char *root = NULL;
	CLEANUP(close) int fd = -1;
	const struct mount_point *there;
	int r;

	if (!name_lock_try(&node->targets, point->path, &lock))
		return err_set(err, -EBUSY, "another call is at work at '%s'", point->path);
	r = mount_points_load(&now, err);
	if (r < 0)
		return r;
	there = mount_points_at(&now, point->path);
	if (!there || there->device != point->device)
		return 0;
	fd = node_mount_open(live, point->root + 1, &root, err);
	if (fd < 0)
		return fd;
	r = node_bind(fd, point->path, err);
	if (r == 0)
		log_info("'%s' is mounted again from %s", point->path, live->point->source);
	return r;
}

/* With the image's lock held. Heal all volumes of @old. */
static int heal_volumes(struct node *node, const struct mount_points *points,
                        const struct node_mount *old, const struct node_mount *live,
                        struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < points->n; i++) {
		const struct mount_point *point = &points->point[i];
		struct node_mount other;

		if (point->device == old->point->device && mount_is_topmost(points, point) &&
		    !node_mount_parse(node->dir, point, &other))
			r = heal_volume(node, live, point, err);
	}
	return r;
}

/* Find or make a mount of @image that is served. @points is loaded anew. */
static int find_live(const struct node *node, const struct node_mount *old, const json_t *status,
                     struct mount_points *points, struct node_mount *ret, struct err *err)
{
	CLEANUP(json_decref) json_t *now = NULL;
	int r;

	if (node_mount_served(points, node->dir, &old->image, status, ret))
		return 0;
	r = mount_again(node, old, err);
	mount_points_release(points);
	if (r == 0)
		r = mount_points_load(points, err);
	if (r == 0)
		r = daemon_status(node->store, &now, err);
	if (r == 0 && !node_mount_served(points, node->dir, &old->image, now, ret))
		r = err_set(err, -ECONNABORTED, "the mount has ended");
	return r;
}

/* Heal what shows the file system @device of @image. */
static int heal_image(struct node *node, const struct served *image, dev_t device, struct err *err)
{
	CLEANUP(name_lock_release) struct name_lock lock = NAME_LOCK_INIT;
	CLEANUP(mount_points_release) struct mount_points before = MOUNT_POINTS_INIT;
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(json_decref) json_t *status = NULL;
	struct node_mount old;
	struct node_mount live;
	int r;

	name_lock_wait(&node->images, image->digest, &lock);
	r = daemon_status(node->store, &status, err);
	if (r == 0)
		r = mount_points_load(&before, err);
	if (r == 0)
		r = mount_points_load(&points, err);
	if (r < 0 || status_serves(status, device, NULL) ||
	    !node_mount_of(&before, node->dir, device, &old) ||
	    !mount_has_volumes(&before, node->dir, device))
		return r;
	r = find_live(node, &old, status, &points, &live, err);
	if (r == 0)
		r = heal_volumes(node, &before, &old, &live, err);
	if (r == 0)
		node_mount_detach(node->dir, &old);
	return r;
}

/* Heal what @mount shows if it was a suspect before. Returns what is to be remembered of it. */
static struct suspect look_at(struct healer *h, const struct node_mount *mount)
{
	const struct suspect *before = find_suspect(h, mount->point->device);
	struct suspect now = { .device = mount->point->device };
	struct err err = ERR_INIT;
	int r = before ? heal_image(h->node, &mount->image, now.device, &err) : 0;

	/* A call that is at work at a volume is done by the next time. */
	if (r < 0 && r != -EBUSY && !before->reported)
		log_warn("volumes of %s cannot be mounted again: %s", mount->point->source,
		         err.msg);
	now.reported = before && (before->reported || (r < 0 && r != -EBUSY));
	return now;
}

/* Look at all images once. */
static void look(struct healer *h, const struct mount_points *points, const json_t *status)
{
	struct suspect lost[SUSPECTS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < points->n && n < SUSPECTS_MAX; i++) {
		struct node_mount mount;

		if (node_mount_parse(h->node->dir, &points->point[i], &mount) &&
		    !status_serves(status, mount.point->device, NULL))
			lost[n++] = look_at(h, &mount);
	}
	memcpy(h->suspect, lost, n * sizeof(lost[0]));
	h->n_suspects = n;
}

static void pass(struct healer *h)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(json_decref) json_t *status = NULL;
	struct node_mount mount;
	bool any = false;

	if (mount_points_load(&points, NULL) < 0)
		return;
	for (size_t i = 0; i < points.n && !any; i++)
		any = node_mount_parse(h->node->dir, &points.point[i], &mount);
	/* No daemon: nobody knows what is lost. */
	if (!any || daemon_status(h->node->store, &status, NULL) < 0)
		return;
	look(h, &points, status);
	node_sweep(h->node);
}

/* Sleep until the next pass. Returns whether there is to be one. */
static bool wait_for_turn(struct healer *h)
{
	struct timespec end;
	bool stop;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PAUSE_SECONDS;
	(void)pthread_mutex_lock(&h->lock);
	while (!h->stop && pthread_cond_timedwait(&h->stopping, &h->lock, &end) == 0) {
	}
	stop = h->stop;
	(void)pthread_mutex_unlock(&h->lock);
	return !stop;
}

static void *run(void *arg)
{
	struct healer *h = arg;

	do
		pass(h);
	while (wait_for_turn(h));
	return NULL;
}

int healer_start(struct node *node, struct healer **ret, struct err *err)
{
	struct healer *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(err, -ENOMEM, "out of memory");
	h->node = node;
	if (pthread_mutex_init(&h->lock, NULL) != 0 || pthread_cond_init(&h->stopping, NULL) != 0 ||
	    pthread_create(&h->thread, NULL, run, h) != 0) {
		free(h);
		return err_set(err, -EAGAIN, "no thread could be started");
	}
	*ret = h;
	return 0;
}

void healer_free(struct healer *h)
{
	if (!h)
		return;
	(void)pthread_mutex_lock(&h->lock);
	h->stop = true;
	(void)pthread_cond_signal(&h->stopping);
	(void)pthread_mutex_unlock(&h->lock);
	(void)pthread_join(h->thread, NULL);
	(void)pthread_cond_destroy(&h->stopping);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}
