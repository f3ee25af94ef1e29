/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /sbin/mount.assetfs, which mount(8) calls for `mount -t assetfs IMAGE DIR` and for fstab.
 * One thread.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* What to give to `assetfs mount`. Texts are parts of the options that were parsed. */
struct mount_options {
	const char *platform;   /* NULL: this machine's */
	const char *store;      /* NULL: the default */
	const char *prefetch;   /* NULL: none; "" or the trace */
	const char *auth_file;  /* or NULL */
	const char *verify_key; /* or NULL */
};

#define MOUNT_OPTIONS_INIT \
	((struct mount_options){ .platform = NULL, .store = NULL, .prefetch = NULL })

/*
 * Parse the comma-separated @text, which is cut up, and add it to @ret. Options that mean nothing
 * to a mount that is read-only anyway, and those that are for others, are passed over; unknown
 * ones, too, when @sloppy. Returns 0, or -EINVAL naming the option.
 */
MUST_CHECK int mount_options_parse(char *text, bool sloppy, struct mount_options *ret,
                                   struct err *err);

/* Be mount.assetfs. Returns an exit status of mount(8). */
int mount_helper(int argc, char *argv[]);
