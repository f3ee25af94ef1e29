/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fd_message.h"
#include "keeper_store.h"
#include "notify.h"

enum {
	MESSAGE_MAX = PATH_MAX + 64,
	DELAY_FIRST_MS = 50, /* after a daemon that did not get ready; doubled each time */
	DELAY_MAX_MS = 10000,
	NAMES_MAX = KEEPER_FDS_MAX * KEPT_NAME_MAX,
};

struct keeper {
	char *const *argv; /* borrowed; the daemon's */
	int socket;        /* owned; what the daemon notifies */
	int signal_fd;     /* owned */
	char name[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1]; /* of the socket */
	char oom_score[16]; /* that the keeper was started with, and its daemons are */

	char program[PATH_MAX]; /* of the next daemon; empty: this one */
	char program_before[PATH_MAX];

	pid_t pid;     /* of the daemon */
	int pidfd;     /* owned */
	bool adopted;  /* the daemon is no child */
	bool apart;    /* another keeper holds what is to be held */
	bool ready;    /* this daemon was */
	bool served;   /* one daemon was */
	bool stopping; /* the daemon says that it ends, and none is to follow */
	bool ending;   /* the daemon was asked to end */
	int delay_ms;

	struct keeper_store store;
	char names[NAMES_MAX]; /* of what is in there, for the next daemon */
};

/* For all its life: nothing is allocated later. */
static struct keeper the_keeper;

static int open_socket(struct keeper *k, struct err *err)
{
	const int on = 1;

	k->socket = notify_listen(k->name, sizeof(k->name), err);
	if (k->socket < 0)
		return k->socket;
	return setsockopt(k->socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0
	               ? err_set_errno(err, "socket for the daemon")
	               : 0;
}

static int open_signals(struct keeper *k, struct err *err)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signal_fd < 0 ? err_set_errno(err, "signals") : 0;
}

/* What the kernel kills last, and has room for what it holds. */
static void protect(struct keeper *k)
{
	CLEANUP(close) int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, k->oom_score, sizeof(k->oom_score) - 1);

	k->oom_score[n > 0 ? n : 0] = '\0';
	if (n > 0)
		(void)!io_write(fd, "-1000", 5);
	keeper_raise_limit();
}

/* Join the names, as $LISTEN_FDNAMES has them. */
static void join_names(struct keeper *k)
{
	size_t at = 0;

	k->names[0] = '\0';
	for (size_t i = 0; i < k->store.n; i++) {
		size_t len = strlen(k->store.kept[i].name);

		if (i > 0)
			k->names[at++] = ':';
		memcpy(k->names + at, k->store.kept[i].name, len + 1);
		at += len;
	}
}

/* In the child: put the descriptors where sd_listen_fds(3) has them. */
static int place_fds(struct keeper *k)
{
	enum { FIRST = 3 };
	int above = FIRST + (int)k->store.n;

	for (size_t i = 0; i < k->store.n; i++) {
		int fd = fcntl(k->store.kept[i].fd, F_DUPFD_CLOEXEC, above);

		if (fd < 0)
			return -errno;
		k->store.kept[i].fd = fd;
	}
	for (size_t i = 0; i < k->store.n; i++) {
		if (dup2(k->store.kept[i].fd, FIRST + (int)i) < 0)
			return -errno;
	}
	return 0;
}

static void set_number(const char *name, long value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%ld", value);
	/* The child of a single-threaded program. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)setenv(name, text, 1);
}

/* In the child: never returns. */
static void become_daemon(struct keeper *k)
{
	sigset_t none;
	CLEANUP(close) int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (oom >= 0)
		(void)!io_write(oom, k->oom_score, strlen(k->oom_score));
	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	set_number("FDSTORE", k->apart ? 0 : KEEPER_FDS_MAX);
	set_number(KEEPER_PID_VARIABLE, (long)getppid());
	set_number("LISTEN_PID", (long)getpid());
	set_number("LISTEN_FDS", (long)k->store.n);
	/* NOLINTNEXTLINE(concurrency-mt-unsafe) */
	if (setenv("NOTIFY_SOCKET", k->name, 1) == 0 &&
	    setenv("LISTEN_FDNAMES", k->names, 1) == 0 && place_fds(k) == 0) /* NOLINT */
		(void)execv(k->program[0] != '\0' ? k->program : "/proc/self/exe", k->argv);
	_exit(127);
}

static int start_daemon(struct keeper *k, struct err *err)
{
	k->ready = k->stopping = k->adopted = false;
	join_names(k);
	k->pid = fork();
	if (k->pid == 0)
		become_daemon(k);
	if (k->pid < 0)
		return err_set_errno(err, "fork");
	k->pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0);
	return k->pidfd < 0 ? err_set_errno(err, "pidfd_open") : 0;
}

/* What the daemon says, with the descriptor @fd or -1, which is taken. */
static void hear(struct keeper *k, const char *message, int fd)
{
	const char *code = keeper_value(message, "ERRNO");
	const char *program = keeper_value(message, "X_ASSETFS_PROGRAM");

	keeper_store_hear(&k->store, message, fd);
	if (keeper_value(message, "STOPPING"))
		k->stopping = true;
	if (program) {
		(void)snprintf(k->program_before, sizeof(k->program_before), "%s", k->program);
		(void)snprintf(k->program, sizeof(k->program), "%s", program);
	}
	/* Who waits for the keeper hears of the first daemon. */
	if (keeper_value(message, "READY")) {
		if (!k->served)
			notify_ready();
		k->ready = k->served = true;
		k->delay_ms = 0;
	}
	if (code && !k->served)
		notify_failed(-(int)strtol(code, NULL, 10));
}

/* Receive one message. Returns whether there was one. */
static bool receive(struct keeper *k)
{
	char text[MESSAGE_MAX];
	struct fd_message message = { .text = text, .size = sizeof(text) };

	if (fd_message_receive(k->socket, MSG_DONTWAIT, &message) < 0)
		return false;
	/* A message of one that is dead by now may come late, and counts. */
	if (message.from == k->pid)
		hear(k, text, message.fd);
	else if (message.fd >= 0)
		(void)close(message.fd);
	return true;
}

static void hear_all(struct keeper *k)
{
	while (receive(k))
		;
}

static void hear_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			continue; /* a terminal that closes is no reason to end */
		k->ending = true;
		(void)kill(k->pid, SIGTERM);
	}
}

/* Wait until the daemon has ended. Returns its wait status. */
static int serve(struct keeper *k)
{
	struct pollfd fds[] = { { .fd = k->socket, .events = POLLIN },
		                { .fd = k->signal_fd, .events = POLLIN },
		                { .fd = k->pidfd, .events = POLLIN } };
	int status = 0;

	do {
		if (poll(fds, 3, -1) < 0)
			continue;
		hear_all(k);
		hear_signals(k);
	} while (!(fds[2].revents & POLLIN));
	hear_all(k);
	/* Of one that is no child nothing more is to be learnt. */
	if (waitpid(k->pid, &status, 0) < 0)
		status = k->stopping ? 0 : SIGKILL;
	(void)close(TAKE_FD(k->pidfd));
	return status;
}

static void pause_before_next(struct keeper *k)
{
	struct pollfd signals = { .fd = k->signal_fd, .events = POLLIN };

	if (k->delay_ms > 0)
		(void)poll(&signals, 1, k->delay_ms);
	k->delay_ms = k->delay_ms == 0                 ? DELAY_FIRST_MS
	              : k->delay_ms * 2 < DELAY_MAX_MS ? k->delay_ms * 2
	                                               : DELAY_MAX_MS;
}

/* Say why another daemon is started, unless the last one has asked for that. */
static void explain(struct keeper *k, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_NEXT)
		k->delay_ms = 0;
	else if (WIFSIGNALED(status) && !k->adopted)
		log_warn("keeper: the daemon was ended by signal %d: starting another one",
		         WTERMSIG(status));
	else if (WIFEXITED(status))
		log_warn("keeper: the daemon ended with status %d: starting another one",
		         WEXITSTATUS(status));
	else
		log_warn("keeper: the daemon has died: starting another one");
}

/* Serve one daemon after the other. @r: whether there is one. Returns as keeper_run(). */
static int serve_all(struct keeper *k, int r, struct err *err)
{
	while (r == 0) {
		int status = serve(k);

		if (WIFEXITED(status) && k->ending && WEXITSTATUS(status) == KEEPER_NEXT)
			return EXIT_SUCCESS;
		/* What ends by itself has ended its mounts, or was never able to serve. */
		if (WIFEXITED(status) && (k->ending || WEXITSTATUS(status) == 0 || !k->served))
			return WEXITSTATUS(status);
		if (k->ending)
			return EXIT_FAILURE;
		explain(k, status);
		if (!k->ready && k->program[0] != '\0') {
			log_err("keeper: '%s' did not get ready: back to the program before",
			        k->program);
			(void)snprintf(k->program, sizeof(k->program), "%s", k->program_before);
			k->program_before[0] = '\0';
		}
		pause_before_next(k);
		hear_signals(k);
		if (k->ending)
			return EXIT_SUCCESS;
		r = start_daemon(k, err);
	}
	return r;
}

static void begin(struct keeper *k, char *const argv[])
{
	k->argv = argv;
	k->socket = k->signal_fd = k->pidfd = -1;
	(void)prctl(PR_SET_NAME, "assetfs-keeper");
	protect(k);
}

int keeper_run(char *const argv[], bool apart, struct err *err)
{
	struct keeper *k = &the_keeper;
	int r;

	begin(k, argv);
	k->apart = apart;
	r = open_socket(k, err);
	if (r == 0)
		r = open_signals(k, err);
	if (r == 0)
		r = start_daemon(k, err);
	return serve_all(k, r, err);
}

int keeper_adopt(pid_t pid, char *const argv[], struct err *err)
{
	struct keeper *k = &the_keeper;
	/* Before any thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *name = getenv("NOTIFY_SOCKET");
	int r;

	begin(k, argv);
	(void)setsid();
	(void)snprintf(k->name, sizeof(k->name), "%s", name ? name : "");
	k->socket = KEEPER_SOCKET_FD;
	(void)fcntl(k->socket, F_SETFD, FD_CLOEXEC);
	k->pid = pid;
	k->ready = k->served = k->adopted = true;
	k->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = k->pidfd < 0 ? err_set_errno(err, "the daemon, process %d", (int)pid)
	                 : open_signals(k, err);
	return serve_all(k, r, err);
}
