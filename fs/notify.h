/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of sd_notify(3) and sd_listen_fds(3) that the daemon speaks.
 *
 * Whoever listens on $NOTIFY_SOCKET is told when the daemon is ready. If it sets $FDSTORE, too,
 * as systemd 254 and `assetfs keeper` do, it is a keeper: it holds descriptors by name, and gives
 * them to the next daemon when this one has died. Names have no ':'.
 *
 * A keeper that no daemon is a child of listens at a socket of its own (keeper_socket.h), and is connected to: the
 * same messages then go that way. It says STOPPING=1 itself before it ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

enum { KEPT_NAME_MAX = 64 };

/* A descriptor that the keeper had. */
struct kept {
	char name[KEPT_NAME_MAX];
	int fd; /* owned; -1 once it was taken */
};

struct kept_list {
	struct kept *kept; /* owned */
	size_t n;
};

/*
 * Take what the keeper gave to this process, and forget it in the environment. Call once, before
 * any thread starts. Returns 0 or -ENOMEM.
 */
MUST_CHECK int notify_inherit(struct kept_list *ret);

/* The descriptor @name of @list, now the caller's; -1 when there is none. */
int kept_take(struct kept_list *list, const char *name);

/*
 * Connect to the keeper at the socket @path, instead of what the environment says, and add what it holds to @list.
 * Again when that keeper has ended: notify_connection() stays what it was. Main thread only. Returns 0; -ENOTCONN
 * when no keeper listens there; -EEXIST when the environment has one; -errno when it does not answer as it should.
 */
MUST_CHECK int notify_connect(const char *path, struct kept_list *list, struct err *err);

/* What notify_connect() has made, borrowed: readable once that keeper is about to end or has ended. -1 without one. */
int notify_connection(void);

/* Whether notify_connect() was called, so that a keeper is to come even if there is none now. */
bool notify_wants_connection(void);

/* The keeper that was connected to ends: let it, and do without until the next one. Main thread only. */
void notify_disconnect(void);

/* Send @message to the keeper that was connected to, with @with unless that is -1. For notify.c. Returns 0 or -errno. */
MUST_CHECK int notify_send(const char *message, int with);

/* Close what nobody took. */
void kept_list_release(struct kept_list *list);

/* Whether there is a keeper, or is to be one. */
bool notify_has_keeper(void);

/* Let the keeper have a copy of @fd as @name, and drop those of that name. Without a keeper: nothing. Any thread. */
void notify_keep(const char *name, int fd);
void notify_drop(const char *name);

/* Tell the process that listens on $NOTIFY_SOCKET, if there is one, that the daemon is ready. */
void notify_ready(void);

/* Tell it that the daemon ends because it was asked to, or has nothing to do: none is to follow. */
void notify_stopping(void);

/* Let the next daemon be the program @path. For `assetfs keeper` only. Returns 0 or -errno. */
MUST_CHECK int notify_program(const char *path, struct err *err);

/*
 * A datagram socket under a name that the kernel chooses, which goes to @ret as $NOTIFY_SOCKET has it.
 * Returns it, to be closed by the caller, or -errno.
 */
MUST_CHECK int notify_listen(char *ret, size_t size, struct err *err);

/* A socket at $NOTIFY_SOCKET, an abstract name that nobody has any more. Returns it or -errno. */
MUST_CHECK int notify_listen_again(struct err *err);

/* Tell it that the daemon is about to end, because of @code, a -errno. */
void notify_failed(int code);

/*
 * Start @argv as a daemon: a session of its own, standard input from
 * /dev/null, output to @log_fd; and wait until it says that it is ready.
 * Returns 0; what it gave notify_failed(); -ECHILD when it ended without a word; -errno.
 */
MUST_CHECK int notify_spawn(char *const argv[], int log_fd, struct err *err);
