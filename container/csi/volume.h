/* SPDX-License-Identifier: Apache-2.0 */
/* What NodePublishVolume asks for, checked. Pure; any thread. */
#pragma once

#include <csi.pb-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Text is borrowed from the request. */
struct volume {
	const char *target;  /* absolute path of the mount point */
	const char *image;   /* as the daemon is asked for it */
	const char *channel; /* the same, when any image that had that tag lately will do; or NULL */
	const char *platform; /* OS/ARCH[/VARIANT]; NULL: of this machine */
	const char *path;     /* directory of the image that is shown; "": all */
	const char *prefetch; /* source of a prefetch (control.h), or NULL */
	const char *auth;     /* secret: credentials as docker's config.json has them, or NULL */
	bool verify;          /* fill and check all of it before the volume appears */
	bool pin;
	uint64_t pin_floor; /* bytes that stay; 0: all */
	const char *pod_uid, *pod_name,
		*pod_namespace; /* of who it is for, as kubelet tells; or NULL */
};

/*
 * Check @request. Returns 0 and sets *@ret, or -EINVAL with what is wrong: a field that is missing,
 * a capability that a read-only directory cannot have, an attribute that is unknown or whose value is
 * none, a secret of another kind. What is wrong never quotes a secret.
 */
MUST_CHECK int volume_parse(const Csi__V1__NodePublishVolumeRequest *request, struct volume *ret,
                            struct err *err);

/* Whether @path may be mounted at: absolute, without "." and ".." in it. */
bool volume_path_ok(const char *path);
