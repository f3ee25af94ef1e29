/* SPDX-License-Identifier: Apache-2.0 */
/* The assetfs mounts of this process's mount namespace, read from /proc/self/mountinfo. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct mount_point {
	char *path;   /* owned */
	char *root;   /* owned; what of the image is seen at the path: "/" or a directory in it */
	char *source; /* owned; the image, as it was called when its session began */
	dev_t device;
	bool is_slave; /* of a mount elsewhere, to which what is mounted here does not get */
};

struct mount_points {
	struct mount_point *point; /* owned; in order of mounting */
	size_t n, cap;
};

#define MOUNT_POINTS_INIT ((struct mount_points){ .point = NULL, .n = 0, .cap = 0 })

/* Parse text in the format of proc(5). Lines that are no assetfs mount are passed over. 0 or -ENOMEM. */
MUST_CHECK int mount_points_parse(char *text, struct mount_points *ret);

/* Read and parse. Returns 0 or -errno. */
MUST_CHECK int mount_points_load(struct mount_points *ret, struct err *err);
void mount_points_release(struct mount_points *points);

static inline void mount_points_release_cleanup(struct mount_points *points)
{
	mount_points_release(points);
}

/* The topmost mount at @path, or NULL. */
const struct mount_point *mount_points_at(const struct mount_points *points, const char *path);

/* Some mount of @device, or NULL. */
const struct mount_point *mount_points_of(const struct mount_points *points, dev_t device);

/* Some mount of @device that shows all of it, or NULL. */
const struct mount_point *mount_points_whole(const struct mount_points *points, dev_t device);

/* Whether the mount at @path asks for a daemon that is no more. Asks the daemon, if there is one. */
bool mount_is_dead(const char *path);

/* "major:minor", as mountinfo shows it. Returns @buf. */
const char *device_text(dev_t device, char buf[static 32]);

/* Undo mountinfo's escapes of blanks and backslashes, \ooo, in place. */
void mount_text_unescape(char *text);
