/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: a small process that outlives the daemon.
 *
 * It starts the daemon, holds the descriptors that the daemon gives it (notify.h), and when the
 * daemon dies starts another one, which gets them and goes on. A daemon that ends by itself ends
 * the keeper. It speaks the daemon's side of systemd's protocol from the other end: under systemd,
 * with FileDescriptorStoreMax=, there is no need for it.
 *
 * It allocates nothing once the daemon runs: no shortage of memory ends it.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Exit status of a daemon that leaves its mounts to the next one. */
enum { KEEPER_NEXT = 75 };

/* Tells a daemon the pid of its keeper, unless that is a service manager. */
#define KEEPER_PID_VARIABLE "ASSETFS_KEEPER"

/* Where a keeper that a daemon has started finds the socket that the daemon notifies. */
enum { KEEPER_SOCKET_FD = 3 };

/*
 * Run the daemon by @argv until it ends by itself, or as SIGTERM and SIGINT ask for. Tells
 * $NOTIFY_SOCKET of the keeper itself when the first daemon is ready, or why it is not. Call before
 * any thread starts. With @apart it holds nothing: the daemons have another keeper (keeper_socket.h). Returns the
 * exit status of the daemon, 0 when it left its mounts to the next one and none is wanted, or -errno.
 */
MUST_CHECK int keeper_run(char *const argv[], bool apart, struct err *err);

/*
 * Be the keeper of the daemon @pid, which runs already and has started this process with
 * KEEPER_SOCKET_FD; @argv are for the next one. Returns as keeper_run().
 */
MUST_CHECK int keeper_adopt(pid_t pid, char *const argv[], struct err *err);
