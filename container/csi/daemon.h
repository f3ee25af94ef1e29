/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver asks the node's daemon for, by the control socket (control.h).
 * Any thread. Unless said otherwise a function returns 0; the daemon's error;
 * -ENOTCONN when none runs; -ETIMEDOUT when it does not answer.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/hash.h"
#include "csi/volume.h"

#define PLATFORM_SIZE 64u

/* An image as the daemon serves it. */
struct served {
	char digest[DIGEST_HEX_SIZE]; /* of its manifest, in hexadecimal digits */
	char platform[PLATFORM_SIZE]; /* OS/ARCH[/VARIANT], or "any" */
};

/*
 * A mount of @image, of @platform unless that is NULL, for @target; and a @prefetch unless that is NULL.
 * Sets *@ret_mount to a detached mount, the caller's, and *@ret_device to its file system.
 */
struct mount_order {
	const char *image;
	const char *platform;
	const char *prefetch;
	const char *auth;                               /* secret: as in struct volume */
	const char *target;                             /* for the daemon's log */
	const char *pod_uid, *pod_name, *pod_namespace; /* for its reports; NULL: not told */
};
MUST_CHECK int daemon_mount(const char *store, const struct mount_order *order, int *ret_mount,
                            dev_t *ret_device, struct err *err);

/* What the daemon serves: its answer to "status", which the caller gives back. */
MUST_CHECK int daemon_status(const char *store, json_t **ret, struct err *err);

/* Whether @status has the file system @device; sets *@ret, unless it is NULL, to what it shows. */
bool status_serves(const json_t *status, dev_t device, struct served *ret);

/* What was mounted last by the name @image, and for @platform unless NULL, of what is mounted still. */
bool status_last(const json_t *status, const char *image, const char *platform, struct served *ret);

/* Keep what the region has of @image, or @floor bytes of it, when that is not 0. */
MUST_CHECK int daemon_pin(const char *store, const struct mount_order *order, uint64_t floor,
                          struct err *err);

/* End that. */
MUST_CHECK int daemon_unpin(const char *store, const char *image, struct err *err);

/*
 * Fill all of @image, which checks every byte of it, and wait until that is done. Returns also
 * -EBADMSG for damage, -ENOSPC when the region has no room for all, -ECONNABORTED when it was cancelled.
 */
MUST_CHECK int daemon_verify(const char *store, const struct mount_order *order, struct err *err);
