/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts that the driver has, as mountinfo shows them; nothing else is
 * remembered.
 *
 * An image that volumes show is mounted once for the node, at
 *
 *	DIR/DIGEST/PLATFORM/MAJOR:MINOR
 *
 * where DIR is the driver's own, DIGEST and PLATFORM are those of the image's
 * manifest, and the last part is the mount's file system. Volumes are bind
 * mounts of it, anywhere else. There are two of an image while volumes move from
 * a session that was lost to a new one. Any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "csi/daemon.h"
#include "mountinfo.h"

/* An image's mount. Borrowed from the mount_points that it was found in. */
struct node_mount {
	const struct mount_point *point;
	struct served image;
};

/* Whether @point is one of the images' mounts below @dir; sets *@ret then. */
bool node_mount_parse(const char *dir, const struct mount_point *point, struct node_mount *ret);

/* The image's mount that has the file system @device. Returns whether there is one. */
bool node_mount_of(const struct mount_points *points, const char *dir, dev_t device,
                   struct node_mount *ret);

/* A mount of @image that the daemon serves by its @status. Returns whether there is one. */
bool node_mount_served(const struct mount_points *points, const char *dir,
                       const struct served *image, const json_t *status, struct node_mount *ret);

/* Whether @point is seen at its path, and not below another mount of ours. */
bool mount_is_topmost(const struct mount_points *points, const struct mount_point *point);

/* Whether a volume shows the file system @device: is its mount, topmost, outside of @dir. */
bool mount_has_volumes(const struct mount_points *points, const char *dir, dev_t device);

/* Attach the detached @mount of @image at its place below @dir. Returns 0 or -errno. */
MUST_CHECK int node_mount_attach(const char *dir, const struct served *image, dev_t device,
                                 int mount, struct err *err);

/* Detach it, and remove directories that are empty then. */
void node_mount_detach(const char *dir, const struct node_mount *mount);

/*
 * Open the directory @path of the image at @mount, all of it when @path is "". Symbolic links in
 * the image stay in the image. Sets *@ret_root to what mountinfo is going to say (the caller's).
 * Returns a descriptor; -ENOENT, -ENOTDIR; -errno.
 */
MUST_CHECK int node_mount_open(const struct node_mount *mount, const char *path, char **ret_root,
                               struct err *err);

/* Mount the directory @fd at @target, over what is there. Returns 0 or -errno. */
MUST_CHECK int node_bind(int fd, const char *target, struct err *err);

/* The floor of the pin that volumes want for @image. Returns whether they want one. */
bool node_pin_get(const char *dir, const struct served *image, uint64_t *ret_floor);

/* Note that they do. Returns 0 or -errno. */
MUST_CHECK int node_pin_set(const char *dir, const struct served *image, uint64_t floor,
                            struct err *err);

/* Forget it. */
void node_pin_clear(const char *dir, const struct served *image);

/*
 * Remove directories and notes that were left below @dir, such as by a restart of the machine. Does
 * nothing while anything is mounted there. Call before other threads start.
 */
void node_mounts_tidy(const char *dir);
