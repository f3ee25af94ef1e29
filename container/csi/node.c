/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of locks: target, order, image; none is taken while a later one is held.
 *
 * An image's mount without volumes is swept away. Between its being attached
 * and the volume's, the image's lock is held, so that a sweep waits.
 */
#include "csi/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control.h"

/*
 * @target as mountinfo has it: without symbolic links above its last part, which is not looked at, for a mount may
 * hang. The caller frees *@ret. Returns 0; -ENOENT when the directory that it is in is not there; -errno.
 */
static int resolve(const char *target, char **ret, struct err *err)
{
	CLEANUP(free) char *copy = strdup(target);
	CLEANUP(free) char *parent = NULL;
	size_t len = copy ? strlen(copy) : 0;
	char *name;

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	name = strrchr(copy, '/');
	*name++ = '\0';
	parent = realpath(copy[0] != '\0' ? copy : "/", NULL);
	if (!parent)
		return err_set_errno(err, "'%s' is in no directory", target);
	if (asprintf(ret, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* A volume on its way to its target. */
struct publication {
	const struct volume *v;
	int mount;           /* owned; the daemon's answer, detached */
	dev_t device;        /* of it */
	struct served image; /* that it shows */
};

static struct mount_order order_of(const struct volume *v)
{
	return (struct mount_order){ .image = v->image,
		                     .platform = v->platform,
		                     .prefetch = v->prefetch,
		                     .auth = v->auth,
		                     .target = v->target,
		                     .pod_uid = v->pod_uid,
		                     .pod_name = v->pod_name,
		                     .pod_namespace = v->pod_namespace };
}

/* Whether @point is a mount of the image of this @name and platform that @v wants, and of its path. */
static bool shows(const struct mount_points *points, const char *dir,
                  const struct mount_point *point, const struct volume *v)
{
	struct node_mount mount;
	const char *root = point->root + (point->root[0] == '/');
	size_t len = strlen(v->path);

	while (len > 0 && v->path[len - 1] == '/')
		len--;
	return strcmp(point->source, v->image) == 0 && strlen(root) == len &&
	       strncmp(root, v->path, len) == 0 &&
	       (!v->platform || (node_mount_of(points, dir, point->device, &mount) &&
	                         strcmp(mount.image.platform, v->platform) == 0));
}

/*
 * Whether the volume is there already, as far as its name tells: a tag that names another image by now does
 * not change it. Returns 1, 0 or -errno.
 */
static int is_published(const struct node *node, const struct volume *v, struct err *err)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(json_decref) json_t *status = NULL;
	const struct mount_point *point;
	int r = mount_points_load(&points, err);

	if (r < 0)
		return r;
	point = mount_points_at(&points, v->target);
	if (!point || !shows(&points, node->dir, point, v))
		return 0;
	r = daemon_status(node->store, &status, err);
	return r < 0 ? r : status_serves(status, point->device, NULL);
}

/* Take the image that was the last one to be mounted by the name of a channel, whose mount the node has. */
static int choose_last(const struct node *node, struct publication *p, struct err *err)
{
	CLEANUP(json_decref) json_t *status = NULL;

	if (daemon_status(node->store, &status, NULL) < 0 ||
	    !status_last(status, p->v->channel, p->v->platform, &p->image))
		return err->code;
	log_warn("%s: its last image on this node is taken: %s", p->v->channel, err->msg);
	return 0;
}

/* Get a mount of the image from the daemon, unless the node has to have it, and what it is. */
static int order_mount(struct node *node, struct publication *p, struct err *err)
{
	CLEANUP(name_lock_release) struct name_lock lock = NAME_LOCK_INIT;
	CLEANUP(json_decref) json_t *status = NULL;
	const struct mount_order order = order_of(p->v);
	int r;

	name_lock_wait(&node->orders, p->v->image, &lock);
	r = daemon_mount(node->store, &order, &p->mount, &p->device, err);
	if (p->v->channel && err_is_out_of_reach(r))
		return choose_last(node, p, err);
	if (r == 0)
		r = daemon_status(node->store, &status, err);
	if (r == 0 && !status_serves(status, p->device, &p->image))
		r = err_set(err, -ECONNABORTED, "the mount of '%s' has ended", order.image);
	return r;
}

static int verify(const struct node *node, const struct volume *v, struct err *err)
{
	const struct mount_order order = order_of(v);

	return v->verify ? daemon_verify(node->store, &order, err) : 0;
}

/* What there is on the node, and the image's mount in it. */
struct scene {
	struct mount_points points; /* owned */
	json_t *status;             /* owned; of the daemon */
	struct node_mount mount;    /* borrowed from the points */
};

static void scene_release_cleanup(struct scene *scene)
{
	mount_points_release(&scene->points);
	json_decref(scene->status);
}

/* Find the image's mount on the node, or make it. Fills @scene. */
static int place_image(const struct node *node, const struct publication *p, struct scene *scene,
                       struct err *err)
{
	int r = daemon_status(node->store, &scene->status, err);

	if (r == 0)
		r = mount_points_load(&scene->points, err);
	if (r < 0 ||
	    node_mount_served(&scene->points, node->dir, &p->image, scene->status, &scene->mount))
		return r;
	if (p->mount < 0)
		return err_set(err, -ECONNREFUSED,
		               "the registry of '%s' cannot be reached, and no volume of this node "
		               "has an image of that name",
		               p->v->image);
	r = node_mount_attach(node->dir, &p->image, p->device, p->mount, err);
	mount_points_release(&scene->points);
	if (r == 0)
		r = mount_points_load(&scene->points, err);
	if (r == 0 && !node_mount_of(&scene->points, node->dir, p->device, &scene->mount))
		r = err_set(err, -EIO, "the mount of '%s' does not appear below '%s'", p->v->image,
		            node->dir);
	return r;
}

static int pin(const struct node *node, const struct publication *p, const struct node_mount *mount,
               struct err *err)
{
	struct mount_order order = order_of(p->v);
	int r;

	if (!p->v->pin)
		return 0;
	order.image = mount->point->source;
	r = daemon_pin(node->store, &order, p->v->pin_floor, err);
	return r < 0 ? r : node_pin_set(node->dir, &p->image, p->v->pin_floor, err);
}

/* Mount the directory @fd, @root of the image, at the target, unless it is there. */
static int bind_target(const struct scene *scene, const struct volume *v, const char *root, int fd,
                       struct err *err)
{
	const struct mount_point *there = mount_points_at(&scene->points, v->target);
	bool made;
	int r;

	if (there && status_serves(scene->status, there->device, NULL)) {
		if (there->device == scene->mount.point->device && strcmp(there->root, root) == 0)
			return 0;
		return err_set(err, -EEXIST, "another volume is at '%s': '%s' of image '%s'",
		               v->target, there->root, there->source);
	}
	made = mkdir(v->target, 0750) == 0;
	if (!made && errno != EEXIST)
		return err_set_errno(err, "target path '%s'", v->target);
	r = node_bind(fd, v->target, err);
	if (r < 0 && made)
		(void)rmdir(v->target);
	return r;
}

/* With the image's lock held. */
static int place_volume(const struct node *node, const struct publication *p, struct err *err)
{
	CLEANUP(scene_release) struct scene scene = { .points = MOUNT_POINTS_INIT };
	CLEANUP(free) char *root = NULL;
	CLEANUP(close) int fd = -1;
	int r = place_image(node, p, &scene, err);

	if (r == 0)
		r = pin(node, p, &scene.mount, err);
	if (r < 0)
		return r;
	fd = node_mount_open(&scene.mount, p->v->path, &root, err);
	if (fd < 0)
		return fd;
	return bind_target(&scene, p->v, root, fd, err);
}

/* With the target's lock held. */
static int publish(struct node *node, const struct volume *v, struct err *err)
{
	struct publication p = { .v = v, .mount = -1 };
	int r = is_published(node, v, err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = order_mount(node, &p, err);
	if (r == 0)
		r = verify(node, v, err);
	if (r == 0) {
		CLEANUP(name_lock_release) struct name_lock image = NAME_LOCK_INIT;

		name_lock_wait(&node->images, p.image.digest, &image);
		r = place_volume(node, &p, err);
	}
	if (p.mount >= 0)
		(void)close(p.mount);
	if (r < 0)
		node_sweep(node);
	else
		log_info("'%s' of %s at '%s'", v->path, v->image, v->target);
	return r;
}

int node_publish(struct node *node, const struct volume *v, struct err *err)
{
	/* Outlives the lock, which has its name. */
	CLEANUP(free) char *target = NULL;
	CLEANUP(name_lock_release) struct name_lock lock = NAME_LOCK_INIT;
	struct volume resolved = *v;
	int r = resolve(v->target, &target, err);

	if (r < 0)
		return r == -ENOENT ? err_set(err, -EINVAL, "target path '%s' is in no directory",
		                              v->target)
		                    : r;
	if (!name_lock_try(&node->targets, target, &lock))
		return err_set(err, -EBUSY, "another call is at work at '%s'", target);
	resolved.target = target;
	return publish(node, &resolved, err);
}

/* Detach all mounts of ours at @target. Returns how many, or -errno. */
static int detach_all(const char *target, struct err *err)
{
	int n = 0;

	for (;; n++) {
		CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
		int r = mount_points_load(&points, err);

		if (r < 0)
			return r;
		if (!mount_points_at(&points, target))
			return n;
		if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return err_set(err, -EIO, "'%s' could not be detached: %s", target,
			               strerrordesc_np(errno));
	}
}

/* With the target's lock held. */
static int unpublish(struct node *node, const char *target, struct err *err)
{
	int n = detach_all(target, err);

	if (n < 0)
		return n;
	if (rmdir(target) < 0 && errno != ENOENT)
		return err_set(err, -EIO, "target path '%s' could not be removed: %s", target,
		               strerrordesc_np(errno));
	if (n > 0)
		log_info("'%s' is gone", target);
	node_sweep(node);
	return 0;
}

int node_unpublish(struct node *node, const char *target, struct err *err)
{
	/* Outlives the lock, which has its name. */
	CLEANUP(free) char *resolved = NULL;
	CLEANUP(name_lock_release) struct name_lock lock = NAME_LOCK_INIT;
	int r = resolve(target, &resolved, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!name_lock_try(&node->targets, resolved, &lock))
		return err_set(err, -EBUSY, "another call is at work at '%s'", target);
	return unpublish(node, resolved, err);
}

/* Add what statvfs(3) says of a volume that is served. */
static int measure(const char *path, struct volume_stats *ret, struct err *err)
{
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return err_set_errno(err, "volume '%s'", path);
	ret->bytes = (int64_t)(fs.f_blocks * fs.f_frsize);
	ret->bytes_available = (int64_t)(fs.f_bavail * fs.f_frsize);
	ret->inodes = (int64_t)fs.f_files;
	ret->inodes_available = (int64_t)fs.f_favail;
	return 0;
}

int node_stats(const struct node *node, const char *path, struct volume_stats *ret, struct err *err)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(json_decref) json_t *status = NULL;
	CLEANUP(free) char *resolved = NULL;
	const struct mount_point *point;
	struct volume_stats stats = { .lost = true };
	int r = resolve(path, &resolved, err);

	if (r == 0)
		r = mount_points_load(&points, err);
	if (r < 0)
		return r;
	point = mount_points_at(&points, resolved);
	if (!point)
		return err_set(err, -ENOENT, "no volume is at '%s'", path);
	if (daemon_status(node->store, &status, NULL) < 0)
		stats.message = "the node's daemon does not answer";
	else if (!status_serves(status, point->device, NULL))
		stats.message = "its session was lost; it is mounted again as soon as can be";
	else
		stats.lost = false;
	if (!stats.lost) {
		stats.message = "served";
		r = measure(path, &stats, err);
	}
	if (r == 0)
		*ret = stats;
	return r;
}

/* Whether @points has another mount of this image on the node. */
static bool has_twin(const struct node *node, const struct mount_points *points,
                     const struct node_mount *mount)
{
	for (size_t i = 0; i < points->n; i++) {
		struct node_mount other;

		if (&points->point[i] != mount->point &&
		    node_mount_parse(node->dir, &points->point[i], &other) &&
		    strcmp(other.point->source, mount->point->source) == 0)
			return true;
	}
	return false;
}

/* Detach the mount of the file system @device, unless a volume has come meanwhile. */
static void sweep_one(struct node *node, const struct served *image, dev_t device)
{
	CLEANUP(name_lock_release) struct name_lock lock = NAME_LOCK_INIT;
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	struct node_mount mount;
	uint64_t floor;

	name_lock_wait(&node->images, image->digest, &lock);
	if (mount_points_load(&points, NULL) < 0 ||
	    !node_mount_of(&points, node->dir, device, &mount) ||
	    mount_has_volumes(&points, node->dir, device))
		return;
	if (!has_twin(node, &points, &mount) && node_pin_get(node->dir, image, &floor)) {
		node_pin_clear(node->dir, image);
		if (daemon_unpin(node->store, mount.point->source, NULL) < 0)
			log_warn("the pin of %s could not be ended", mount.point->source);
	}
	node_mount_detach(node->dir, &mount);
}

void node_sweep(struct node *node)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	if (mount_points_load(&points, NULL) < 0)
		return;
	for (size_t i = 0; i < points.n; i++) {
		struct node_mount mount;

		if (node_mount_parse(node->dir, &points.point[i], &mount) &&
		    !mount_has_volumes(&points, node->dir, points.point[i].device))
			sweep_one(node, &mount.image, points.point[i].device);
	}
}
