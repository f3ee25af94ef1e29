/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "control.h"
#include "pods.h"

#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UID "8f3c1d2e-0a1b-4c5d-9e8f-001122334455"

static void check_group(const char *text, const char *path, bool v1)
{
	char copy[256];
	struct pod_group group;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	group = pod_group_parse(copy);
	cr_assert_str_eq(group.path, path);
	cr_assert_eq(group.v1, v1);
}

Test(pods, memory_is_charged_to_the_group_of_its_controller_else_to_the_only_one)
{
	check_group("0::/a/b\n", "/a/b", false);
	check_group("5:cpu,cpuacct:/x\n4:memory:/m:n\n0::/\n", "/m:n", true);
	check_group("0::/u\n5:cpu:/x\n", "/u", false);
	check_group("", "", false);
	check_group("rubbish\n:\n7:\n", "", false);
}

static void check_names(const char *path, const char *container, const char *uid)
{
	char id_buf[POD_ID_MAX];
	char uid_buf[POD_UID_MAX];

	cr_assert_str_eq(pod_container(path, id_buf), container, "%s", path);
	cr_assert_str_eq(pod_uid(path, uid_buf), uid, "%s", path);
}

Test(pods, containers_and_pods_are_found_in_the_paths_of_runtimes)
{
	check_names("/docker/" ID, ID, "");
	check_names("/system.slice/docker-" ID ".scope", ID, "");
	check_names("/machine.slice/libpod-" ID ".scope/container", ID, "");
	check_names("/kubepods/burstable/pod" UID "/" ID, ID, UID);
	check_names("/kubepods.slice/kubepods-besteffort.slice/"
	            "kubepods-besteffort-pod8f3c1d2e_0a1b_4c5d_9e8f_001122334455.slice/"
	            "cri-containerd-" ID ".scope",
	            ID, UID);
	/* A container in a container: the inner one. */
	check_names("/docker/" ID "/docker/f" ID, ID, "");
	check_names("/docker/f" ID "/docker/" ID, ID, "");
}

Test(pods, other_paths_name_none)
{
	check_names("", "", "");
	check_names("/", "", "");
	check_names("/user.slice/user-0.slice/session-3.scope", "", "");
	check_names("/podman/pod/pod8f3c1d2e-0a1b-4c5d-9e8f", "", "");
	check_names("/0123456789abcdef", "", "");
}

static void add(json_t **names, const char *uid, const char *name, const char *namespace)
{
	CLEANUP(json_decref)
	json_t *pod = json_pack("{ss* ss* ss*}", "uid", uid, "name", name, "namespace", namespace);

	cr_assert_not_null(pod);
	pod_names_add(names, pod);
}

static const char *name_of(const json_t *names, const char *uid)
{
	return json_string_value(json_object_get(json_object_get(names, uid), "name"));
}

Test(pods, names_of_pods_are_remembered_by_uid)
{
	CLEANUP(json_decref) json_t *names = NULL;
	char long_name[300];

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	pod_names_add(&names, NULL);
	add(&names, UID, NULL, "games");
	add(&names, UID, "server-1", NULL);
	add(&names, UID, "", "games");
	add(&names, UID, long_name, "games");
	add(&names, "no uid", "server-1", "games");
	cr_assert_eq(json_object_size(names), 0);
	add(&names, UID, "server-1", "games");
	cr_assert_str_eq(name_of(names, UID), "server-1");
	add(&names, UID, "server-2", "games");
	cr_assert_str_eq(name_of(names, UID), "server-2");
	cr_assert_eq(json_object_size(names), 1);
}

Test(pods, names_of_the_oldest_pods_are_forgotten)
{
	CLEANUP(json_decref) json_t *names = NULL;
	char uid[POD_UID_MAX];

	for (unsigned i = 0; i < 1030; i++) {
		(void)snprintf(uid, sizeof(uid), "00000000-0000-0000-0000-%012x", i);
		add(&names, uid, "server", "games");
		/* One is named again and again. */
		add(&names, UID, "server", "games");
	}
	cr_assert_eq(json_object_size(names), 1024);
	cr_assert_not_null(name_of(names, uid));
	cr_assert_not_null(name_of(names, UID));
	cr_assert_null(name_of(names, "00000000-0000-0000-0000-000000000000"));
	cr_assert_not_null(name_of(names, "00000000-0000-0000-0000-000000000010"));
}
