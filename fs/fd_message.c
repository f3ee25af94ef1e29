/* SPDX-License-Identifier: Apache-2.0 */
#include "fd_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

socklen_t fd_message_address(const char *name, struct sockaddr_un *ret)
{
	size_t len = strlen(name);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len >= sizeof(ret->sun_path))
		return 0;
	memcpy(ret->sun_path, name, len);
	if (name[0] == '@')
		ret->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

int fd_message_send(int socket, const struct sockaddr_un *to, socklen_t to_len, const char *text,
                    int with)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char copy[4096 + 64];
	struct iovec iov = { .iov_base = copy, .iov_len = strnlen(text, sizeof(copy)) };
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(copy, text, iov.iov_len);
	if (to) {
		address = *to;
		msg.msg_name = &address;
		msg.msg_namelen = to_len;
	}
	if (with >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
			                         .cmsg_type = SCM_RIGHTS,
			                         .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(&control.head), &with, sizeof(int));
	}
	return sendmsg(socket, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t fd_message_receive(int socket, int flags, struct fd_message *ret)
{
	struct iovec iov = { .iov_base = ret->text, .iov_len = ret->size - 1 };
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = control.bytes,
		              .msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(socket, &msg, flags | MSG_CMSG_CLOEXEC);

	ret->fd = -1;
	ret->from = -1;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && ret->fd < 0) {
			memcpy(&ret->fd, CMSG_DATA(c), sizeof(ret->fd));
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			ret->from = cred.pid;
		}
	}
	ret->text[n] = '\0';
	return n;
}
