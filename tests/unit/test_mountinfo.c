/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "mountinfo.h"

static const char text[] =
	"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	"43 27 0:40 / /game\\040assets ro,nosuid - fuse.assetfs stk:v1 ro,user_id=0\n"
	"44 27 0:41 / /b ro shared:7 master:3 - fuse.assetfs other ro\n"
	"45 27 0:42 / /c ro - fuse.sshfs x ro\n"
	"46 27 0:43 / /b ro - fuse.assetfs above ro\n"
	"47 27 0:40 /sub /bind ro - fuse.assetfs stk:v1 ro\n"
	"48 27 0:44 / /in-a-pod ro,nosuid master:3 - fuse.assetfs stk:v2 ro\n";

Test(mountinfo, finds_assetfs_mounts_only)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *copy = strdup(text);

	cr_assert_eq(mount_points_parse(copy, &points), 0);
	cr_assert_eq(points.n, 5);
	cr_assert_null(mount_points_at(&points, "/c"));
	cr_assert_null(mount_points_at(&points, "/proc"));
}

Test(mountinfo, undoes_escapes)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *copy = strdup(text);

	cr_assert_eq(mount_points_parse(copy, &points), 0);
	cr_assert_not_null(mount_points_at(&points, "/game assets"));
}

Test(mountinfo, topmost_mount_wins)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *copy = strdup(text);

	cr_assert_eq(mount_points_parse(copy, &points), 0);
	cr_assert_eq(mount_points_at(&points, "/b")->device, makedev(0, 43));
}

Test(mountinfo, finds_a_mount_of_a_device)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *copy = strdup(text);

	cr_assert_eq(mount_points_parse(copy, &points), 0);
	cr_assert_str_eq(mount_points_of(&points, makedev(0, 40))->path, "/game assets");
	cr_assert_null(mount_points_of(&points, makedev(1, 40)));
}

Test(mountinfo, says_what_of_which_image_is_seen)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *copy = strdup(text);

	cr_assert_eq(mount_points_parse(copy, &points), 0);
	cr_assert_str_eq(mount_points_at(&points, "/game assets")->root, "/");
	cr_assert_str_eq(mount_points_at(&points, "/bind")->root, "/sub");
	cr_assert_str_eq(mount_points_at(&points, "/bind")->source, "stk:v1");
	cr_assert_str_eq(mount_points_at(&points, "/b")->source, "above");
}

Test(mountinfo, finds_a_mount_of_all_of_a_device)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	char sub_first[] = "47 27 0:40 /sub /bind ro - fuse.assetfs stk:v1 ro\n"
			   "48 27 0:41 /sub /other ro - fuse.assetfs stk:v1 ro\n"
			   "49 27 0:40 / /all ro - fuse.assetfs stk:v1 ro\n";

	cr_assert_eq(mount_points_parse(sub_first, &points), 0);
	cr_assert_str_eq(mount_points_whole(&points, makedev(0, 40))->path, "/all");
	cr_assert_null(mount_points_whole(&points, makedev(0, 41)));
}

Test(mountinfo, survives_lines_cut_anywhere)
{
	for (size_t len = 0; len <= strlen(text); len++) {
		CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
		CLEANUP(free) char *copy = strndup(text, len);

		cr_assert_eq(mount_points_parse(copy, &points), 0);
		cr_assert_leq(points.n, 5);
	}
}

Test(mountinfo, knows_mounts_that_others_made)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *copy = strdup(text);

	cr_assert_eq(mount_points_parse(copy, &points), 0);
	cr_assert(mount_points_at(&points, "/in-a-pod")->is_slave);
	cr_assert_not(mount_points_of(&points, makedev(0, 41))->is_slave, "it is shared as well");
	cr_assert_not(mount_points_at(&points, "/bind")->is_slave);
}
