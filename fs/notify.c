/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include "base/log.h"
#include "fd_message.h"

/* A variable of the environment, which changes only before there are threads. */
static const char *environment(const char *name)
{
	return getenv(name); /* NOLINT(concurrency-mt-unsafe) */
}

/* Send @message to $NOTIFY_SOCKET, and with it @with, unless that is -1. */
static int notify_with(const char *message, int with)
{
	const char *name = environment("NOTIFY_SOCKET");
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	socklen_t len = name ? fd_message_address(name, &addr) : 0;

	if (fd < 0 || len == 0)
		return -ENOTCONN;
	return fd_message_send(fd, &addr, len, message, with);
}

/* Send it to the keeper. The next one is given everything. */
static int notify_keeper(const char *message, int with)
{
	if (!notify_wants_connection())
		return notify_with(message, with);
	return notify_connection() >= 0 ? notify_send(message, with) : 0;
}

static void notify(const char *message)
{
	(void)notify_with(message, -1);
	if (notify_connection() >= 0)
		(void)!notify_send(message, -1);
}

static bool environment_has_keeper(void)
{
	const char *store = environment("FDSTORE");

	return store && store[0] != '\0' && strcmp(store, "0") != 0 &&
	       environment("NOTIFY_SOCKET") != NULL;
}

bool notify_has_keeper(void)
{
	return notify_wants_connection() || environment_has_keeper();
}

void notify_keep(const char *name, int fd)
{
	char message[KEPT_NAME_MAX + 32];
	int r;

	if (!notify_has_keeper())
		return;
	/* Not to be polled: epoll refuses the region, and systemd drops what it refuses. */
	(void)snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	r = notify_keeper(message, fd);
	if (r < 0)
		log_warn("the keeper could not be given '%s': %s", name, strerrordesc_np(-r));
}

void notify_drop(const char *name)
{
	char message[KEPT_NAME_MAX + 32];

	if (!notify_has_keeper())
		return;
	(void)snprintf(message, sizeof(message), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	(void)notify_keeper(message, -1);
}

static long number_in_environment(const char *name)
{
	const char *text = environment(name);

	return text ? strtol(text, NULL, 10) : 0;
}

int notify_inherit(struct kept_list *ret)
{
	enum { FIRST = 3 }; /* as sd_listen_fds(3) says */
	const char *names = environment("LISTEN_FDNAMES");
	long n = number_in_environment("LISTEN_PID") == (long)getpid()
	                 ? number_in_environment("LISTEN_FDS")
	                 : 0;

	*ret = (struct kept_list){ .n = n > 0 ? (size_t)n : 0 };
	if (ret->n == 0)
		return 0;
	ret->kept = calloc(ret->n, sizeof(*ret->kept));
	if (!ret->kept)
		return -ENOMEM;
	for (size_t i = 0; i < ret->n; i++) {
		size_t len = names ? strcspn(names, ":") : 0;

		ret->kept[i].fd = FIRST + (int)i;
		(void)fcntl(ret->kept[i].fd, F_SETFD, FD_CLOEXEC);
		(void)snprintf(ret->kept[i].name, KEPT_NAME_MAX, "%.*s", (int)len,
		               names ? names : "");
		if (names)
			names += names[len] == ':' ? len + 1 : len;
	}
	/* For programs that this one starts. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)unsetenv("LISTEN_PID");
	return 0;
}

int kept_take(struct kept_list *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->kept[i].fd >= 0 && strcmp(list->kept[i].name, name) == 0)
			return TAKE_FD(list->kept[i].fd);
	}
	return -1;
}

void kept_list_release(struct kept_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->kept[i].fd >= 0)
			(void)close(list->kept[i].fd);
	}
	free(list->kept);
	*list = (struct kept_list){ .n = 0 };
}

void notify_ready(void)
{
	notify("READY=1");
}

void notify_stopping(void)
{
	notify("STOPPING=1");
}

int notify_program(const char *path, struct err *err)
{
	char message[PATH_MAX + 32];
	int r;

	(void)snprintf(message, sizeof(message), "X_ASSETFS_PROGRAM=%s", path);
	r = notify_with(message, -1);
	return r < 0 ? err_set(err, r, "the keeper: %s", strerrordesc_np(-r)) : 0;
}

int notify_listen_again(struct err *err)
{
	const char *name = environment("NOTIFY_SOCKET");
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;
	socklen_t len = name ? fd_message_address(name, &addr) : 0;
	const int on = 1;

	if (len == 0 || name[0] != '@')
		return err_set(err, -EINVAL, "NOTIFY_SOCKET is no abstract name");
	/* What comes before the keeper listens must say from whom it is, too. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&addr, len) < 0)
		return err_set_errno(err, "socket '%s'", name);
	return TAKE_FD(fd);
}

void notify_failed(int code)
{
	char message[32];

	(void)snprintf(message, sizeof(message), "ERRNO=%d", -code);
	notify(message);
}

int notify_listen(char *ret, size_t size, struct err *err)
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
	CLEANUP(close) int ready = notify_listen(name, sizeof(name), err);
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
