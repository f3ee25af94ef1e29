/* SPDX-License-Identifier: Apache-2.0 */
#include "pods.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "control.h"

enum {
	FILE_MAX_BYTES = 1 << 16,
	ID_DIGITS = POD_ID_MAX - 1,
	UID_CHARACTERS = 36,
	/* Kubernetes' limits */
	NAME_MAX_BYTES = 253,
	NAMESPACE_MAX_BYTES = 63,
	NAMES_MAX = 1024, /* pods whose names are remembered: several times what a node runs */
};

struct pod_group pod_group_parse(char *text)
{
	struct pod_group group = { .path = "" };
	char *save = NULL;

	/* Lines are "0::/path" (version 2) and "4:memory:/path" (version 1). */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		if (strcmp(controllers + 1, "memory") == 0)
			return (struct pod_group){ .path = path, .v1 = true };
		if (controllers[1] == '\0')
			group.path = path;
	}
	return group;
}

const char *pod_container(const char *path, char ret[static POD_ID_MAX])
{
	size_t run = 0;

	ret[0] = '\0';
	for (const char *p = path; *p != '\0'; p++) {
		run = isxdigit((unsigned char)*p) ? run + 1 : 0;
		if (run == ID_DIGITS && !isxdigit((unsigned char)p[1]))
			(void)snprintf(ret, POD_ID_MAX, "%.*s", ID_DIGITS, p + 1 - ID_DIGITS);
	}
	return ret;
}

/* Copy the uid at @text; systemd's unit names have underscores for dashes. */
static bool copy_uid(const char *text, char ret[static POD_UID_MAX])
{
	for (int i = 0; i < UID_CHARACTERS; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' && text[i] != '_' : !isxdigit((unsigned char)text[i]))
			return false;
		ret[i] = '-';
		if (!dash)
			ret[i] = text[i];
	}
	ret[UID_CHARACTERS] = '\0';
	return true;
}

const char *pod_uid(const char *path, char ret[static POD_UID_MAX])
{
	for (const char *p = strstr(path, "pod"); p; p = strstr(p + 1, "pod")) {
		if (copy_uid(p + 3, ret))
			return ret;
	}
	ret[0] = '\0';
	return ret;
}

/* Whether @value is text of 1 to @max bytes. */
static bool is_text(const json_t *value, size_t max)
{
	return json_is_string(value) && json_string_length(value) > 0 &&
	       json_string_length(value) <= max;
}

void pod_names_add(json_t **names, const json_t *pod)
{
	const char *uid = json_string_value(json_object_get(pod, "uid"));
	json_t *name = json_object_get(pod, "name");
	json_t *namespace = json_object_get(pod, "namespace");
	char copy[POD_UID_MAX];

	if (!uid || !copy_uid(uid, copy) || !is_text(name, NAME_MAX_BYTES) ||
	    !is_text(namespace, NAMESPACE_MAX_BYTES))
		return;
	if (!*names)
		*names = json_object();
	/* Its place is at the end again. Copies, for what is shared would need atomic counts. */
	(void)json_object_del(*names, copy);
	(void)json_object_set_new(*names, copy,
	                          json_pack("{so so}", "name", json_copy(name), "namespace",
	                                    json_copy(namespace)));
	while (json_object_size(*names) > NAMES_MAX)
		(void)json_object_del(*names, json_object_iter_key(json_object_iter(*names)));
}

/* What is charged to a group, or null. */
static json_t *memory_json(const struct pod_group *group)
{
	CLEANUP(free) char *file = NULL;
	CLEANUP(free) char *text = NULL;
	uint64_t bytes;
	size_t len;

	if (asprintf(&file, "/sys/fs/cgroup%s%s/%s", group->v1 ? "/memory" : "", group->path,
	             group->v1 ? "memory.usage_in_bytes" : "memory.current") < 0) {
		file = NULL;
		return json_null();
	}
	if (io_read_file(-1, file, FILE_MAX_BYTES, &text, &len, NULL) < 0)
		return json_null();
	text[strcspn(text, "\n")] = '\0';
	return text_parse_uint(text, INT64_MAX, &bytes) == 0 ? json_integer((json_int_t)bytes)
	                                                     : json_null();
}

/* File @name of process @pid in /proc, without line ends; "" when it cannot be read. */
static char *read_proc(int pid, const char *name)
{
	char path[64];
	char *text = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return io_read_file(-1, path, FILE_MAX_BYTES, &text, &len, NULL) < 0 ? strdup("") : text;
}

/* "" says nothing: null. */
static json_t *text_json(const char *text)
{
	return text[0] != '\0' ? control_text(text) : json_null();
}

/* Say what @names has of the pod @uid, if anything. */
static void add_names(json_t *user, const json_t *names, const char *uid)
{
	static const char *const keys[][2] = { { "name", "pod_name" },
		                               { "namespace", "pod_namespace" } };
	const json_t *pod = json_object_get(names, uid);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *value = json_object_get(pod, keys[i][0]);

		(void)json_object_set_new(user, keys[i][1], value ? json_copy(value) : json_null());
	}
}

static json_t *pod_json(const struct live_user *user, const json_t *names)
{
	CLEANUP(free) char *groups = read_proc(user->pid, "cgroup");
	CLEANUP(free) char *command = read_proc(user->pid, "comm");
	char container[POD_ID_MAX];
	char uid[POD_UID_MAX];
	struct pod_group group;
	json_t *json;

	if (!groups || !command)
		return NULL;
	command[strcspn(command, "\n")] = '\0';
	group = pod_group_parse(groups);
	json = json_pack("{sI si so so so so sI so}", "namespace", (json_int_t)user->ns, "pid",
	                 user->pid, "command", text_json(command), "cgroup", text_json(group.path),
	                 "container", text_json(pod_container(group.path, container)), "pod_uid",
	                 text_json(pod_uid(group.path, uid)), "bytes_if_private",
	                 (json_int_t)user->bytes, "memory_bytes", memory_json(&group));
	add_names(json, names, uid);
	return json;
}

json_t *pods_json(const struct live_users *live, const json_t *names)
{
	json_t *list = json_array();

	for (size_t i = 0; i < live->n; i++) {
		if (live->user[i].counted)
			(void)json_array_append_new(list, pod_json(&live->user[i], names));
	}
	return list;
}
