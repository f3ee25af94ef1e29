/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"

static void make_pair(int fd[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

Test(control, message_arrives_as_it_was_sent)
{
	CLEANUP(json_decref) json_t *sent = json_pack("{si ss}", "version", 1, "command", "x");
	CLEANUP(json_decref) json_t *got = NULL;
	int passed = -1;
	int fd[2];

	make_pair(fd);
	cr_assert_eq(control_send(fd[0], sent, -1), 0);
	cr_assert_eq(control_receive(fd[1], 4096, &got, &passed, NULL), 0);
	cr_assert(json_equal(sent, got));
	cr_assert_eq(passed, -1);
}

Test(control, descriptor_travels_with_the_message)
{
	CLEANUP(json_decref) json_t *sent = json_pack("{si}", "version", 1);
	CLEANUP(json_decref) json_t *got = NULL;
	CLEANUP(close) int passed = -1;
	int pipe_fd[2];
	int fd[2];
	char byte;

	make_pair(fd);
	cr_assert_eq(pipe(pipe_fd), 0);
	cr_assert_eq(control_send(fd[0], sent, pipe_fd[1]), 0);
	cr_assert_eq(control_receive(fd[1], 4096, &got, &passed, NULL), 0);
	cr_assert_eq(write(passed, "z", 1), 1);
	cr_assert_eq(read(pipe_fd[0], &byte, 1), 1);
	cr_assert_eq(byte, 'z');
}

/* Send the bytes @text and close; returns what receiving says. */
static int receive_text(const char *text, size_t max, struct err *err)
{
	CLEANUP(json_decref) json_t *got = NULL;
	int fd[2];
	int r;

	make_pair(fd);
	cr_assert_eq(send(fd[0], text, strlen(text), 0), (ssize_t)strlen(text));
	(void)close(fd[0]);
	r = control_receive(fd[1], max, &got, NULL, err);
	(void)close(fd[1]);
	return r;
}

Test(control, what_is_no_message_is_refused)
{
	struct err err = ERR_INIT;

	cr_assert_eq(receive_text("[1]\n", 4096, &err), -EPROTO);
	cr_assert_eq(receive_text("nonsense\n", 4096, &err), -EPROTO);
	cr_assert_eq(receive_text("{}\n", 4096, &err), -EPROTO);
}

Test(control, another_version_is_refused_by_name)
{
	struct err err = ERR_INIT;

	cr_assert_eq(receive_text("{\"version\":2}\n", 4096, &err), -EPROTO);
	cr_assert_not_null(strstr(err.msg, "version"));
}

Test(control, message_that_breaks_off_is_an_error)
{
	struct err err = ERR_INIT;

	cr_assert_eq(receive_text("{\"version\":1", 4096, &err), -ECONNRESET);
}

Test(control, message_longer_than_allowed_is_refused)
{
	char text[10000];
	struct err err = ERR_INIT;

	memset(text, ' ', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	cr_assert_eq(receive_text(text, 4096, &err), -EMSGSIZE);
}

Test(control, no_daemon_is_told_apart_from_its_errors)
{
	char dir[] = "/tmp/control-XXXXXX";
	struct err err = ERR_INIT;

	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(control_connect(dir, &err), -ENOTCONN);
	cr_assert_eq(control_connect("/nonexistent/store", &err), -ENOTCONN);
	cr_assert_not_null(strstr(err.msg, "/nonexistent/store"));
	(void)rmdir(dir);
}
