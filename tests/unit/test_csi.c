/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "csi/grpc_conn.h"
#include "csi/grpc_frame.h"
#include "csi/name_lock.h"
#include "csi/node_mounts.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

Test(grpc_frame, holds_one_message)
{
	const uint8_t body[] = { 0, 0, 0, 0, 2, 'h', 'i' };
	const uint8_t *message = NULL;
	size_t len = 9;

	cr_assert_eq(grpc_frame_parse(body, sizeof(body), &message, &len, NULL), 0);
	cr_assert_eq(len, 2);
	cr_assert_eq(message, body + 5);
	for (size_t n = 0; n < sizeof(body); n++)
		cr_assert_eq(grpc_frame_parse(body, n, &message, &len, NULL), -EPROTO);
}

Test(grpc_frame, refuses_compression_and_other_flags)
{
	const uint8_t compressed[] = { 1, 0, 0, 0, 0 };
	const uint8_t other[] = { 2, 0, 0, 0, 0 };
	const uint8_t *message;
	size_t len;

	cr_assert_eq(grpc_frame_parse(compressed, 5, &message, &len, NULL), -ENOSYS);
	cr_assert_eq(grpc_frame_parse(other, 5, &message, &len, NULL), -EPROTO);
}

Test(grpc_frame, head_is_what_parse_expects)
{
	uint8_t body[GRPC_HEAD_SIZE + 300] = { 0 };
	const uint8_t *message;
	size_t len;

	grpc_frame_head(300, body);
	cr_assert_eq(grpc_frame_parse(body, sizeof(body), &message, &len, NULL), 0);
	cr_assert_eq(len, 300);
}

Test(grpc_frame, text_is_encoded_and_cut)
{
	char small[8];
	char buf[64];

	cr_assert_eq(grpc_text_encode("50% of\n\xc3\xa9", buf, sizeof(buf)), 17);
	cr_assert_str_eq(buf, "50%25 of%0A%C3%A9");
	cr_assert_eq(grpc_text_encode("abcdefgh", small, sizeof(small)), 5);
	cr_assert_eq(grpc_text_encode("abc\nde", small, sizeof(small)), 6);
	cr_assert_str_eq(small, "abc%0A");
}

Test(grpc_frame, every_error_has_a_status)
{
	cr_assert_eq(grpc_status_of(0), GRPC_OK);
	cr_assert_eq(grpc_status_of(-EINVAL), GRPC_INVALID_ARGUMENT);
	cr_assert_eq(grpc_status_of(-EBADMSG), GRPC_DATA_LOSS);
	cr_assert_eq(grpc_status_of(-EBUSY), GRPC_ABORTED);
	cr_assert_eq(grpc_status_of(-EIO), GRPC_INTERNAL);
	cr_assert_eq(grpc_status_of(-4095), GRPC_INTERNAL);
}

static void never(void *arg, struct grpc_conn *conn, const struct grpc_request *request)
{
	(void)arg;
	(void)conn;
	(void)request;
	cr_assert(false, "a call came of what is none");
}

Test(grpc_conn, another_protocol_is_refused)
{
	static const uint8_t http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	CLEANUP(grpc_conn_free) struct grpc_conn *conn = grpc_conn_new(never, NULL);

	cr_assert_eq(grpc_conn_feed(conn, http, sizeof(http) - 1), -EPROTO);
}

Test(grpc_conn, a_reply_to_nobody_is_forgotten)
{
	CLEANUP(grpc_conn_free) struct grpc_conn *conn = grpc_conn_new(never, NULL);
	const struct err none = ERR_INIT;

	grpc_conn_reply(conn, 1, malloc(10), 10, &none);
}

Test(volume_path, is_absolute_and_plain)
{
	cr_assert(volume_path_ok("/a/b..c/.d"));
	cr_assert_not(volume_path_ok("/"));
	cr_assert_not(volume_path_ok("a/b"));
	cr_assert_not(volume_path_ok("/a/../b"));
	cr_assert_not(volume_path_ok("/a/."));
}

Test(node_mounts, an_image_is_told_by_its_path)
{
	char path[] = "/k/images/" HEX "/linux/arm64/v8/0:57";
	const struct mount_point point = { .path = path, .device = makedev(0, 57) };
	struct node_mount mount;

	cr_assert(node_mount_parse("/k/images", &point, &mount));
	cr_assert_str_eq(mount.image.digest, HEX);
	cr_assert_str_eq(mount.image.platform, "linux/arm64/v8");
}

Test(node_mounts, other_paths_are_volumes)
{
	static const char *const paths[] = {
		"/k/images",
		"/k/images2/" HEX "/any/0:57",
		"/k/images/" HEX,
		"/k/images/" HEX "/0:57",
		"/k/images/" HEX "//0:57",
		"/k/images/" HEX "00/any/0:57",
		"/k/images/abc/any/0:57",
		"/k/images/" HEX
		"/0123456789012345678901234567890123456789012345678901234567890123/0:57",
		"/pods/x/mount",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		CLEANUP(free) char *path = strdup(paths[i]);
		const struct mount_point point = { .path = path };
		struct node_mount mount;

		cr_assert_not(node_mount_parse("/k/images", &point, &mount), "%s", paths[i]);
	}
}

Test(node_mounts, volumes_below_others_do_not_count)
{
	char text[] = "1 0 0:40 / /k/images/" HEX "/any/0:40 ro - fuse.assetfs i ro\n"
		      "2 0 0:40 / /pods/a ro - fuse.assetfs i ro\n"
		      "3 0 0:41 / /pods/a ro - fuse.assetfs i ro\n";
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	cr_assert_eq(mount_points_parse(text, &points), 0);
	cr_assert_not(mount_has_volumes(&points, "/k/images", makedev(0, 40)));
	cr_assert(mount_has_volumes(&points, "/k/images", makedev(0, 41)));
}

Test(name_lock, has_one_holder_a_name)
{
	struct name_locks set = NAME_LOCKS_INIT;
	struct name_lock a = NAME_LOCK_INIT;
	struct name_lock b = NAME_LOCK_INIT;
	struct name_lock again = NAME_LOCK_INIT;

	cr_assert(name_lock_try(&set, "a", &a));
	cr_assert(name_lock_try(&set, "b", &b));
	cr_assert_not(name_lock_try(&set, "a", &again));
	name_lock_release(&again);
	name_lock_release(&a);
	cr_assert(name_lock_try(&set, "a", &again));
	name_lock_release(&b);
	name_lock_release(&again);
	cr_assert_null(set.held);
}

static void *wait_for_a(void *arg)
{
	struct name_lock lock = NAME_LOCK_INIT;

	name_lock_wait(arg, "a", &lock);
	name_lock_release(&lock);
	return NULL;
}

Test(name_lock, who_waits_gets_it)
{
	struct name_locks set = NAME_LOCKS_INIT;
	struct name_lock lock = NAME_LOCK_INIT;
	pthread_t thread[4];

	cr_assert(name_lock_try(&set, "a", &lock));
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, wait_for_a, &set), 0);
	name_lock_release(&lock);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_join(thread[i], NULL), 0);
	cr_assert_null(set.held);
}
