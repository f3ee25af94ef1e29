/* SPDX-License-Identifier: Apache-2.0 */
/* The part of sd_notify(3)'s protocol that the daemon speaks, both sides. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Tell the process that listens on $NOTIFY_SOCKET, if there is one, that the daemon is ready. */
void notify_ready(void);

/* Tell it that the daemon is about to end, because of @code, a -errno. */
void notify_failed(int code);

/*
 * Start @argv as a daemon: a session of its own, standard input from
 * /dev/null, output to @log_fd; and wait until it says that it is ready.
 * Returns 0; what it gave notify_failed(); -ECHILD when it ended without a word; -errno.
 */
MUST_CHECK int notify_spawn(char *const argv[], int log_fd, struct err *err);
