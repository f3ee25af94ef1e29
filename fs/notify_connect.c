/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon's connection to a keeper that listens at a socket. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fd_message.h"
#include "notify.h"

enum { ANSWER_SECONDS = 30 }; /* far more than a keeper needs that runs */

/*
 * The socket, for all threads: once there is one it keeps its number, so that who sends at the wrong moment reaches
 * a keeper that has ended, and never another file.
 */
static int connection = -1;
static bool connected; /* atomic */
static bool wanted;    /* atomic; there is to be one */

bool notify_wants_connection(void)
{
	return __atomic_load_n(&wanted, __ATOMIC_ACQUIRE);
}

int notify_connection(void)
{
	return __atomic_load_n(&connected, __ATOMIC_ACQUIRE) ? connection : -1;
}

int notify_send(const char *message, int with)
{
	return fd_message_send(connection, NULL, 0, message, with);
}

void notify_disconnect(void)
{
	if (notify_connection() < 0)
		return;
	(void)!notify_send("STOPPING=1", -1);
	__atomic_store_n(&connected, false, __ATOMIC_RELEASE);
}

static int add(struct kept_list *list, const char *name, int fd)
{
	struct kept *kept = realloc(list->kept, (list->n + 1) * sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	list->kept = kept;
	kept[list->n].fd = fd;
	(void)snprintf(kept[list->n].name, KEPT_NAME_MAX, "%.*s", KEPT_NAME_MAX - 1, name);
	list->n++;
	return 0;
}

/* What the keeper at @path holds: a message for each, in the words that it was given in, and READY=1. */
static int receive_kept(int fd, const char *path, struct kept_list *list, struct err *err)
{
	static const char word[] = "FDSTORE=1\nFDNAME=";
	char text[KEPT_NAME_MAX + sizeof(word)];
	struct fd_message message = { .text = text, .size = sizeof(text) };

	for (;;) {
		ssize_t n = fd_message_receive(fd, 0, &message);
		CLEANUP(close) int with = message.fd;

		if (n == 0 || n == -ECONNRESET)
			return err_set(err, -ENOTCONN, "the keeper at '%s' has ended", path);
		if (n < 0)
			return err_set(err, (int)n, "the keeper at '%s' does not answer", path);
		if (strcmp(text, "READY=1") == 0)
			return 0;
		if (with < 0 || strncmp(text, word, sizeof(word) - 1) != 0)
			return err_set(err, -EPROTO, "at '%s' is no keeper", path);
		if (add(list, text + sizeof(word) - 1, with) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		(void)TAKE_FD(with);
	}
}

int notify_connect(const char *path, struct kept_list *list, struct err *err)
{
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	const struct timeval timeout = { .tv_sec = ANSWER_SECONDS };
	struct sockaddr_un addr;
	socklen_t len = fd_message_address(path, &addr);
	int r;

	if (!notify_wants_connection() && notify_has_keeper())
		return err_set(err, -EEXIST, "--keeper: there is a keeper already");
	__atomic_store_n(&wanted, true, __ATOMIC_RELEASE);
	if (len == 0)
		return err_set(err, -ENAMETOOLONG, "keeper '%s': the path is too long", path);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return err_set_errno(err, "socket");
	if (connect(fd, (const struct sockaddr *)&addr, len) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return err_set(err, -ENOTCONN, "no keeper listens at '%s'", path);
		return err_set_errno(err, "keeper '%s'", path);
	}
	r = receive_kept(fd, path, list, err);
	if (r < 0)
		return r;
	if (connection < 0)
		connection = TAKE_FD(fd);
	else if (dup3(fd, connection, O_CLOEXEC) < 0)
		return err_set_errno(err, "keeper '%s'", path);
	__atomic_store_n(&connected, true, __ATOMIC_RELEASE);
	return 0;
}
