/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"

enum {
	BACKLOG = 64,
	ANSWER_MAX = 64 << 20, /* statistics of 100,000 mounts */
};

json_t *control_text(const char *text)
{
	json_t *json = json_string(text);
	char copy[4096];
	size_t n = 0;

	if (json)
		return json;
	for (; text[n] != '\0' && n < sizeof(copy) - 1; n++) {
		copy[n] = text[n];
		if ((unsigned char)text[n] >= 0x80)
			copy[n] = '?';
	}
	copy[n] = '\0';
	return json_string(copy);
}

/* Address of the socket in @dir, by a path that is short whatever the store's is. */
static struct sockaddr_un address(int dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" CONTROL_SOCKET,
	               dir);
	return addr;
}

int control_listen(int store_dir, struct err *err)
{
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = address(store_dir);

	if (unlinkat(store_dir, CONTROL_SOCKET, 0) < 0 && errno != ENOENT)
		return err_set_errno(err, "'" CONTROL_SOCKET "' could not be replaced");
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    fchmodat(store_dir, CONTROL_SOCKET, 0660, 0) < 0 || listen(fd, BACKLOG) < 0)
		return err_set_errno(err, "'" CONTROL_SOCKET "' could not be made");
	return TAKE_FD(fd);
}

static int silent(const char *path, struct err *err)
{
	return err_set(err, -ETIMEDOUT, "the daemon of the store '%s' does not answer", path);
}

/* As control_connect(); calls on the descriptor wait for @seconds, 0 for ever. */
static int connect_within(const char *path, unsigned seconds, struct err *err)
{
	CLEANUP(close) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval timeout = { .tv_sec = seconds };
	struct sockaddr_un addr = address(dir);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return err_set_errno(err, "socket");
	if (dir >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return TAKE_FD(fd);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return err_set(err, -ENOTCONN, "no daemon serves the store '%s'", path);
	if (errno == EAGAIN)
		return silent(path, err);
	if (errno == EACCES || errno == EPERM)
		return err_set(err, -errno, "the daemon of the store '%s' answers root only", path);
	return err_set_errno(err, "the daemon of the store '%s'", path);
}

int control_connect(const char *path, struct err *err)
{
	return connect_within(path, 0, err);
}

bool control_peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid() || peer.gid == getegid();
}

/* Send the first byte, and the descriptor with it. */
static int send_fd(int fd, char byte, int pass_fd)
{
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &pass_fd, sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int control_send(int fd, const json_t *message, int pass_fd)
{
	CLEANUP(free) char *text = json_dumps(message, JSON_COMPACT);
	const char *rest = text;
	int r = 0;

	if (!text)
		return -ENOMEM;
	if (pass_fd >= 0) {
		r = send_fd(fd, text[0], pass_fd);
		rest = text + 1;
	}
	if (r == 0)
		r = send_all(fd, rest, strlen(rest));
	return r < 0 ? r : send_all(fd, "\n", 1);
}

/* recvmsg(2) that keeps a descriptor which comes along in *@ret_fd, closing any further one. */
static ssize_t receive_some(int fd, void *buf, size_t len, int *ret_fd)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg;
	int got;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int))) {
		memcpy(&got, CMSG_DATA(cmsg), sizeof(int));
		if (*ret_fd >= 0)
			(void)close(got);
		else
			*ret_fd = got;
	}
	return n;
}

int control_parse(const char *text, size_t len, json_t **ret, struct err *err)
{
	CLEANUP(json_decref) json_t *message = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(message))
		return err_set(err, -EPROTO, "not a message of the control protocol");
	if (json_integer_value(json_object_get(message, "version")) != CONTROL_VERSION)
		return err_set(err, -EPROTO,
		               "another version of the control protocol; this is version %d",
		               CONTROL_VERSION);
	*ret = TAKE_PTR(message);
	return 0;
}

int control_receive(int fd, size_t max, json_t **ret, int *ret_fd, struct err *err)
{
	CLEANUP(free) char *buf = NULL;
	CLEANUP(close) int got = -1;
	size_t cap = 0;
	size_t used = 0;
	int r;

	while (used == 0 || buf[used - 1] != '\n') {
		ssize_t n;

		if (used == cap) {
			char *grown = cap < max ? realloc(buf, cap + 4096) : NULL;

			if (!grown)
				return err_set(err, -EMSGSIZE, "message too long");
			buf = grown;
			cap += 4096;
		}
		n = receive_some(fd, buf + used, cap - used, &got);
		if (n < 0)
			return err_set(err, (int)n, "the other side of the control socket is gone");
		used += (size_t)n;
	}
	r = control_parse(buf, used, ret, err);
	if (r == 0 && ret_fd)
		*ret_fd = TAKE_FD(got);
	return r;
}

/* A request, and how it is made. */
struct call {
	const char *path; /* of the store */
	const json_t *request;
	int pass_fd;      /* goes with it; -1: none */
	unsigned seconds; /* to wait for a sign of the daemon; 0: for ever */
};

static int make_call(const struct call *call, json_t **ret, int *ret_fd, struct err *err)
{
	CLEANUP(close) int fd = connect_within(call->path, call->seconds, err);
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(close) int got = -1;
	int r;

	if (fd < 0)
		return fd;
	r = control_send(fd, call->request, call->pass_fd);
	if (r < 0)
		return err_set(err, r, "the daemon of the store '%s' does not listen", call->path);
	r = control_receive(fd, ANSWER_MAX, &answer, &got, err);
	if (r == -EAGAIN)
		return silent(call->path, err);
	if (r < 0)
		return r;
	if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *text = json_string_value(json_object_get(answer, "error"));
		json_int_t code = json_integer_value(json_object_get(answer, "code"));

		return err_set(err, code > 0 && code < 4096 ? -(int)code : -EPROTO, "%s",
		               text ? text : "the daemon gave no reason");
	}
	*ret = TAKE_PTR(answer);
	if (ret_fd)
		*ret_fd = TAKE_FD(got);
	return 0;
}

int control_call(const char *path, const json_t *request, json_t **ret, int *ret_fd,
                 struct err *err)
{
	return control_call_with(path, request, -1, ret, ret_fd, err);
}

int control_call_with(const char *path, const json_t *request, int pass_fd, json_t **ret,
                      int *ret_fd, struct err *err)
{
	const struct call call = { .path = path, .request = request, .pass_fd = pass_fd };

	return make_call(&call, ret, ret_fd, err);
}

int control_call_within(const char *path, const json_t *request, unsigned seconds, json_t **ret,
                        int *ret_fd, struct err *err)
{
	const struct call call = { .path = path,
		                   .request = request,
		                   .pass_fd = -1,
		                   .seconds = seconds };

	return make_call(&call, ret, ret_fd, err);
}
