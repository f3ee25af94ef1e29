/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which container a user (fs/users.h) is, as far as its cgroup tells; and what who mounts for a pod has
 * said of its name.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "users.h"

/* A cgroup, as /proc/PID/cgroup names it. Text that is borrowed from there. */
struct pod_group {
	const char *path; /* "" when there is none */
	bool v1;          /* of the memory controller of version 1 */
};

#define POD_UID_MAX 40u
#define POD_ID_MAX  65u

/* Find the group that memory is charged to in @text, which is cut into pieces. Performs no I/O. */
struct pod_group pod_group_parse(char *text);

/* The container's id in a cgroup's path: its last 64 hexadecimal digits in a row; else "". */
const char *pod_container(const char *path, char ret[static POD_ID_MAX]);

/* The uid of a Kubernetes pod in a cgroup's path, with dashes; else "". */
const char *pod_uid(const char *path, char ret[static POD_UID_MAX]);

/*
 * Remember what @pod, the {"uid":…,"name":…,"namespace":…} of a mount request, says, in
 * the object *@names, which the caller gives back: of the last 1024 pods. What is no such
 * object is passed over, as is what there is no memory for. The caller serialises it.
 */
void pod_names_add(json_t **names, const json_t *pod);

/*
 * List the users that were counted in @live: namespace, a process, its command,
 * cgroup, container, pod, its name from @names, which may be NULL, bytes that it would hold
 * privately, memory charged to its group.
 */
json_t *pods_json(const struct live_users *live, const json_t *names);
