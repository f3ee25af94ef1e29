/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Address of @name, a path or, after '@', a name in the abstract space. Returns its length. */
static socklen_t notify_address(const char *name, struct sockaddr_un *ret)
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

static void notify(const char *message)
{
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *name = getenv("NOTIFY_SOCKET");
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	socklen_t len = name ? notify_address(name, &addr) : 0;

	if (fd >= 0 && len > 0)
		(void)sendto(fd, message, strlen(message), MSG_NOSIGNAL,
		             (const struct sockaddr *)&addr, len);
}

void notify_ready(void)
{
	notify("READY=1");
}

void notify_failed(int code)
{
	char message[32];

	(void)snprintf(message, sizeof(message), "ERRNO=%d", -code);
	notify(message);
}

/* A datagram socket under a name that the kernel chooses; the name goes to @ret. */
static int listen_for_ready(char *ret, size_t size, struct err *err)
{
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);

	/* With no name at all, Linux binds to an unused abstract one: see unix(7), autobind. */
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return err_set_errno(err, "socket for the daemon's readiness");
	(void)snprintf(ret, size, "@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1),
	               addr.sun_path + 1);
	return TAKE_FD(fd);
}

/* In the child: never returns. */
static void become_daemon(char *const argv[], int log_fd, const char *socket_name)
{
	int null = open("/dev/null", O_RDONLY);

	(void)setsid();
	/* The child of a single-threaded program. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	if (setenv("NOTIFY_SOCKET", socket_name, /* overwrite= */ 1) == 0 && null >= 0 &&
	    dup2(null, STDIN_FILENO) >= 0 && dup2(log_fd, STDOUT_FILENO) >= 0 &&
	    dup2(log_fd, STDERR_FILENO) >= 0 && chdir("/") == 0)
		(void)execv("/proc/self/exe", argv);
	_exit(127);
}

/* What the daemon has said: 0 when it is ready, or why it is not, as -errno. */
static int receive(int fd)
{
	char message[64];
	ssize_t n = recv(fd, message, sizeof(message) - 1, MSG_DONTWAIT);
	long code;

	if (n <= 0)
		return -ECHILD;
	message[n] = '\0';
	if (strncmp(message, "ERRNO=", 6) != 0)
		return 0;
	code = strtol(message + 6, NULL, 10);
	return code > 0 && code < 4096 ? -(int)code : -ECHILD;
}

int notify_spawn(char *const argv[], int log_fd, struct err *err)
{
	char name[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	CLEANUP(close) int ready = listen_for_ready(name, sizeof(name), err);
	CLEANUP(close) int pidfd = -1;
	pid_t pid;

	if (ready < 0)
		return ready;
	pid = fork();
	if (pid == 0)
		become_daemon(argv, log_fd, name);
	if (pid < 0)
		return err_set_errno(err, "fork");
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return err_set_errno(err, "pidfd_open");
	for (;;) {
		struct pollfd fds[] = { { .fd = ready, .events = POLLIN },
			                { .fd = pidfd, .events = POLLIN } };
		int r = -ECHILD;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return err_set_errno(err, "poll");
		if (fds[0].revents)
			r = receive(ready);
		if (r == 0)
			return 0;
		if (fds[0].revents || fds[1].revents) {
			(void)waitpid(pid, NULL, 0);
			return err_set(err, r, "the daemon ended before it was ready");
		}
	}
}
