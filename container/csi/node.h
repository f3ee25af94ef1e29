/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a node: bind mounts of images that the node's daemon serves.
 *
 * Nothing is kept but who is at work: what there is, mountinfo tells, so that a
 * driver that is killed at any moment goes on from there. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "csi/name_lock.h"
#include "csi/node_mounts.h"
#include "csi/volume.h"

struct node {
	const char *store; /* the daemon's; constant, borrowed */
	const char *dir;   /* of the images' mounts; constant, borrowed, no symbolic links in it */
	struct name_locks targets; /* one call at a time for a target path */
	struct name_locks images;  /* by digest: its mount on the node comes and goes under it */
	struct name_locks orders;  /* by name: the daemon is asked for an image once at a time */
};

/*
 * Have @v appear at its target path. One that is there already is fine. Returns 0; -EEXIST when
 * another volume of ours is there; -EBUSY when another call is at work there; -ENOTCONN and the
 * like when no daemon answers; the daemon's error; -errno.
 */
MUST_CHECK int node_publish(struct node *node, const struct volume *v, struct err *err);

/* Take what is at @target away, and the directory. Nothing there is fine. Returns 0, -EBUSY; -errno. */
MUST_CHECK int node_unpublish(struct node *node, const char *target, struct err *err);

struct volume_stats {
	bool lost;           /* its session has ended, or the daemon does not answer */
	const char *message; /* a sentence for people; static */
	int64_t bytes, bytes_available, inodes, inodes_available; /* 0 when it is lost */
};

/* Look at the volume at @path. Never waits for a mount that nobody serves. Returns 0, -ENOENT; -errno. */
MUST_CHECK int node_stats(const struct node *node, const char *path, struct volume_stats *ret,
                          struct err *err);

/* Detach mounts of images that no volume shows. */
void node_sweep(struct node *node);
