/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

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
