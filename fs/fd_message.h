/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of text on Unix sockets that keep their borders, with at most one descriptor each: what daemon
 * and keeper say to each other. Any thread.
 */
#pragma once

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"

/*
 * Send @text, and with it a copy of @with unless that is -1, to @to of @to_len bytes; NULL and 0 on a socket that
 * is connected. Returns 0 or -errno.
 */
MUST_CHECK int fd_message_send(int socket, const struct sockaddr_un *to, socklen_t to_len,
                               const char *text, int with);

struct fd_message {
	char *text; /* borrowed buffer of @size bytes; ends in a zero */
	size_t size;
	int fd;     /* owned by the caller; -1: none came */
	pid_t from; /* of a socket with SO_PASSCRED; else -1 */
};

/*
 * Receive the next message into @ret->text, by @flags of recvmsg(2). Returns its length, 0 at the end of a
 * connection, or -errno. A message that is longer is cut off.
 */
MUST_CHECK ssize_t fd_message_receive(int socket, int flags, struct fd_message *ret);

/* The address of @name, a path or, after '@', an abstract name. Returns its length; 0: it is too long. */
socklen_t fd_message_address(const char *name, struct sockaddr_un *ret);
