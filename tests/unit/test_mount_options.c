/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "mount_helper.h"

/* Parse a copy of @text, which is not freed: options point into it. */
static int parse(const char *text, bool sloppy, struct mount_options *ret, struct err *err)
{
	static char copy[512];

	cr_assert_lt(strlen(text), sizeof(copy));
	(void)snprintf(copy, sizeof(copy), "%s", text);
	*ret = MOUNT_OPTIONS_INIT;
	return mount_options_parse(copy, sloppy, ret, err);
}

Test(mount_options, are_those_of_assetfs_mount)
{
	struct mount_options o;

	cr_assert_eq(parse("ro,platform=linux/arm64,prefetch,store=/s", false, &o, NULL), 0);
	cr_expect_str_eq(o.platform, "linux/arm64");
	cr_expect_str_eq(o.store, "/s");
	cr_expect_str_eq(o.prefetch, "");
	cr_assert_eq(parse("prefetch=/a=b", false, &o, NULL), 0);
	cr_expect_str_eq(o.prefetch, "/a=b");
	cr_expect_null(o.auth_file);
	cr_expect_null(o.verify_key);
	cr_expect_null(o.platform);
	cr_expect_null(o.store);
	cr_assert_eq(parse("auth-file=/c,verify-key=/k", false, &o, NULL), 0);
	cr_expect_str_eq(o.auth_file, "/c");
	cr_expect_str_eq(o.verify_key, "/k");
}

Test(mount_options, what_is_for_others_is_passed_over)
{
	struct mount_options o;

	cr_assert_eq(parse("rw,defaults,nofail,_netdev,noauto,nosuid,x-systemd.automount,"
	                   "X-mount.mkdir=0755,comment=it,,",
	                   false, &o, NULL),
	             0);
	cr_expect_null(o.platform);
	cr_assert_eq(parse("", false, &o, NULL), 0);
}

Test(mount_options, unknown_ones_are_refused_by_name)
{
	static const char *const bad[] = { "remount", "noexec", "platforms=x", "ro,uid=1",
		                           "prefetchx" };
	struct mount_options o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *comma = strrchr(bad[i], ',');
		struct err err = ERR_INIT;

		cr_expect_eq(parse(bad[i], false, &o, &err), -EINVAL, "%s", bad[i]);
		cr_expect_not_null(strstr(err.msg, comma ? comma + 1 : bad[i]), "%s", err.msg);
		cr_expect_eq(parse(bad[i], true, &o, NULL), 0, "%s", bad[i]);
	}
}

Test(mount_options, values_are_needed)
{
	static const char *const bad[] = { "platform=", "store=", "prefetch=" };
	struct mount_options o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(parse(bad[i], false, &o, NULL), -EINVAL, "%s", bad[i]);
	cr_expect_eq(parse("platform", false, &o, NULL), -EINVAL);
}
