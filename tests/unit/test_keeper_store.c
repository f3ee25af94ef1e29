/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fd_message.h"
#include "keeper_store.h"

static struct keeper_store store;

static int null_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(keeper_store, holds_a_descriptor_by_its_name)
{
	int fd = null_fd();

	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=fuse-1", fd);
	cr_assert_eq(store.n, 1);
	cr_assert_str_eq(store.kept[0].name, "fuse-1");
	cr_assert_eq(store.kept[0].fd, fd);
	cr_assert(is_open(fd));
}

Test(keeper_store, another_descriptor_of_the_name_takes_its_place)
{
	int first = null_fd();
	int second = null_fd();

	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=region", first);
	keeper_store_hear(&store, "FDNAME=region\nFDSTORE=1\n", second);
	cr_assert_eq(store.n, 1);
	cr_assert_eq(store.kept[0].fd, second);
	cr_assert_not(is_open(first));
}

Test(keeper_store, drops_by_name_and_closes)
{
	int a = null_fd();
	int b = null_fd();

	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=a", a);
	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=b", b);
	keeper_store_hear(&store, "FDSTOREREMOVE=1\nFDNAME=a", -1);
	cr_assert_eq(store.n, 1);
	cr_assert_str_eq(store.kept[0].name, "b");
	cr_assert_not(is_open(a));
	keeper_store_clear(&store);
	cr_assert_eq(store.n, 0);
	cr_assert_not(is_open(b));
}

Test(keeper_store, a_descriptor_without_a_proper_name_is_closed)
{
	char longest[KEPT_NAME_MAX + 32] = "FDSTORE=1\nFDNAME=";
	const char *const messages[] = {
		"FDSTORE=1", "FDSTORE=1\nFDNAME=", "FDSTORE=1\nFDNAME=a:b", "READY=1\nFDNAME=a", "",
		longest
	};

	log_set_level(LOG_LEVEL_ERR);
	memset(longest + strlen(longest), 'n', KEPT_NAME_MAX);
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		int fd = null_fd();

		keeper_store_hear(&store, messages[i], fd);
		cr_assert_eq(store.n, 0, "'%s'", messages[i]);
		cr_assert_not(is_open(fd), "'%s'", messages[i]);
	}
}

Test(keeper_store, is_full_at_some_time)
{
	log_set_level(LOG_LEVEL_ERR);
	store.n = KEEPER_FDS_MAX;
	for (size_t i = 0; i < KEEPER_FDS_MAX; i++)
		store.kept[i].fd = -1;
	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=more", null_fd());
	cr_assert_eq(store.n, KEEPER_FDS_MAX);
}

Test(keeper_store, finds_values_at_the_beginning_of_lines)
{
	cr_assert_str_eq(keeper_value("A=1\nB=two\nC=", "B"), "two\nC=");
	cr_assert_str_eq(keeper_value("A=1\nB=two\nC=", "C"), "");
	cr_assert_null(keeper_value("A=B=1", "B"));
	cr_assert_null(keeper_value("AB=1", "B"));
	cr_assert_null(keeper_value("", "B"));
	cr_assert_null(keeper_value("\n\n", "B"));
}

Test(keeper_store, counts_connections_and_nothing_else)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=fuse-1", ends[1]);
	keeper_store_hear(&store, "FDSTORE=1\nFDNAME=region", null_fd());
	cr_assert_eq(keeper_store_mounts(&store), 1);
	/* The writing end of a pipe that nobody reads is in error, as a connection is that has ended. */
	(void)close(ends[0]);
	cr_assert_eq(keeper_store_mounts(&store), 0);
}

Test(fd_message, comes_whole_with_its_descriptor)
{
	char text[16];
	struct fd_message message = { .text = text, .size = sizeof(text) };
	int pair[2];
	int null = null_fd();

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(fd_message_send(pair[0], NULL, 0, "one", null), 0);
	cr_assert_eq(fd_message_send(pair[0], NULL, 0, "two", -1), 0);
	cr_assert_eq(fd_message_send(pair[0], NULL, 0, "more than there is room for", -1), 0);
	cr_assert_eq(fd_message_receive(pair[1], 0, &message), 3);
	cr_assert_str_eq(text, "one");
	cr_assert(message.fd >= 0 && message.fd != null && is_open(message.fd));
	cr_assert_eq(fd_message_receive(pair[1], 0, &message), 3);
	cr_assert_str_eq(text, "two");
	cr_assert_eq(message.fd, -1);
	cr_assert_eq(fd_message_receive(pair[1], 0, &message), sizeof(text) - 1);
	cr_assert_str_eq(text, "more than there");
	cr_assert_eq(fd_message_receive(pair[1], MSG_DONTWAIT, &message), -EAGAIN);
	(void)close(pair[0]);
	cr_assert_eq(fd_message_receive(pair[1], 0, &message), 0);
}

Test(fd_message, says_that_a_path_is_too_long)
{
	struct sockaddr_un addr;
	char path[sizeof(addr.sun_path) + 1];

	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(fd_message_address(path, &addr), 0);
	path[sizeof(path) - 2] = '\0';
	cr_assert_gt(fd_message_address(path, &addr), sizeof(addr.sun_path) - 1);
	cr_assert_eq(fd_message_address("@name", &addr),
	             offsetof(struct sockaddr_un, sun_path) + 5);
	cr_assert_eq(addr.sun_path[0], '\0');
}
