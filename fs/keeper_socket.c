/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fd_message.h"
#include "keeper_store.h"
#include "notify.h"

enum {
	BACKLOG = 8,
	SEND_SECONDS = 10, /* for a daemon to take what it is given */
	END_INTERVAL_MS = 500,
	MESSAGE_MAX = 4096,
};

struct holder {
	const char *path; /* borrowed */
	int listener;     /* owned */
	int signal_fd;    /* owned */
	int daemon;       /* owned; the connection of the one that is heard, or -1 */
	bool ready;       /* it serves all that it was given */
	bool noted;       /* it knows that this keeper ends */
	bool ending;
	struct keeper_store store;
};

/* For all its life: nothing is allocated later. */
static struct holder the_holder;

/* Whether a keeper answers at @addr. */
static bool is_taken(const struct sockaddr_un *addr, socklen_t len)
{
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && (connect(fd, (const struct sockaddr *)addr, len) == 0 || errno == EAGAIN);
}

static int open_listener(struct holder *h, struct err *err)
{
	struct sockaddr_un addr;
	socklen_t len = fd_message_address(h->path, &addr);
	mode_t mask;
	int r;

	if (len == 0)
		return err_set(err, -ENAMETOOLONG, "socket '%s': the path is too long", h->path);
	if (is_taken(&addr, len))
		return err_set(err, -EBUSY, "another keeper listens at '%s'", h->path);
	if (unlink(h->path) < 0 && errno != ENOENT)
		return err_set_errno(err, "socket '%s'", h->path);
	h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0077);
	r = h->listener < 0 || bind(h->listener, (const struct sockaddr *)&addr, len) < 0 ||
	                    listen(h->listener, BACKLOG) < 0
	            ? err_set_errno(err, "socket '%s'", h->path)
	            : 0;
	(void)umask(mask);
	return r;
}

static int open_signals(struct holder *h, struct err *err)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return h->signal_fd < 0 ? err_set_errno(err, "signals") : 0;
}

static int send_kept(const struct holder *h, int daemon)
{
	for (size_t i = 0; i < h->store.n; i++) {
		char message[KEPT_NAME_MAX + 32];
		int r;

		(void)snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s",
		               h->store.kept[i].name);
		r = fd_message_send(daemon, NULL, 0, message, h->store.kept[i].fd);
		if (r < 0)
			return r;
	}
	return fd_message_send(daemon, NULL, 0, "READY=1", -1);
}

/* The next daemon. */
static void meet(struct holder *h)
{
	const struct timeval timeout = { .tv_sec = SEND_SECONDS };
	CLEANUP(close) int daemon = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	int r;

	if (daemon < 0)
		return;
	(void)setsockopt(daemon, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	r = send_kept(h, daemon);
	if (r < 0) {
		/* One that only looked whether there is a keeper, too. */
		log_debug("keeper: a daemon went away: %s", strerrordesc_np(-r));
		return;
	}
	h->daemon = TAKE_FD(daemon);
	h->ready = h->noted = false;
	log_info("keeper: a daemon has come, and was given %zu descriptors", h->store.n);
}

/* The daemon has gone. */
static void part(struct holder *h)
{
	(void)close(TAKE_FD(h->daemon));
	log_info("keeper: the daemon has gone: %zu mounts wait for the next one",
	         keeper_store_mounts(&h->store));
}

/* Let the daemon know, so that it gives everything to the next keeper. */
static void announce_end(const struct holder *h)
{
	if (h->ending && h->daemon >= 0 && h->ready)
		(void)!fd_message_send(h->daemon, NULL, 0, "STOPPING=1", -1);
}

/* Either the daemon knows now, or it ends itself, and none is to follow. */
static void hear_stopping(struct holder *h)
{
	h->noted = h->ending;
	if (!h->ending)
		keeper_store_clear(&h->store);
}

/* What the daemon has said, to the last message of one that is gone. */
static void hear(struct holder *h)
{
	char text[MESSAGE_MAX];
	struct fd_message message = { .text = text, .size = sizeof(text) };

	for (;;) {
		ssize_t n = fd_message_receive(h->daemon, MSG_DONTWAIT, &message);

		/* It has left what it was sent; what it has sent is still there. */
		if (n == -ECONNRESET || n == -EINTR)
			continue;
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			part(h);
			return;
		}
		keeper_store_hear(&h->store, text, message.fd);
		if (keeper_value(text, "READY")) {
			h->ready = true;
			announce_end(h);
		}
		if (keeper_value(text, "STOPPING"))
			hear_stopping(h);
	}
}

static void heed_signals(struct holder *h)
{
	struct signalfd_siginfo info;

	while (read(h->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (h->ending)
			continue;
		h->ending = true;
		announce_end(h);
		if (h->daemon < 0 && keeper_store_mounts(&h->store) > 0)
			log_info("keeper: ends when a daemon has taken what it holds");
	}
}

/* Whether nothing is lost by its end. */
static bool may_end(const struct holder *h)
{
	return h->ending && (h->noted || (h->daemon < 0 && keeper_store_mounts(&h->store) == 0));
}

static int serve(struct holder *h, struct err *err)
{
	while (!may_end(h)) {
		struct pollfd fds[] = {
			{ .fd = h->signal_fd, .events = POLLIN },
			{ .fd = h->daemon, .events = POLLIN },
			/* One at a time: the next one waits until all of this one's words are heard. */
			{ .fd = h->daemon < 0 ? h->listener : -1, .events = POLLIN },
		};

		/* What it waits for may also be unmounted. */
		if (poll(fds, 3, h->ending ? END_INTERVAL_MS : -1) < 0) {
			if (errno != EINTR)
				return err_set_errno(err, "poll");
			continue;
		}
		/* First what came before the signal, such as the end of the daemon. */
		if (fds[1].revents)
			hear(h);
		if (fds[0].revents)
			heed_signals(h);
		if (fds[2].revents)
			meet(h);
	}
	return 0;
}

int keeper_listen(const char *path, struct err *err)
{
	struct holder *h = &the_holder;
	int r;

	*h = (struct holder){ .path = path, .listener = -1, .signal_fd = -1, .daemon = -1 };
	(void)prctl(PR_SET_NAME, "assetfs-keeper");
	keeper_raise_limit();
	r = open_signals(h, err);
	if (r == 0)
		r = open_listener(h, err);
	if (r < 0)
		return r;
	log_info("keeper: listens at '%s'", path);
	notify_ready();
	return serve(h, err);
}
