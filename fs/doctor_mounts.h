/* SPDX-License-Identifier: Apache-2.0 */
/* On which mount a path lies, by the text of mountinfo alone: nothing is looked up that could hang. */
#pragma once

#include <stdbool.h>

struct mount_place {
	char type[32]; /* of the file system */
	bool shared;   /* mounts made on it show in other mount namespaces */
};

/* Find the mount of the absolute @path in @mountinfo, text as in proc(5). False when none has it. */
bool mount_place_find(const char *mountinfo, const char *path, struct mount_place *ret);
