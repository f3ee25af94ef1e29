/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC server on Unix sockets. One thread runs all connections; each call
 * has a thread of its own, so that one that waits holds up no other.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A message. */
struct grpc_message {
	uint8_t *data; /* owned by who has the struct; NULL: empty */
	size_t len;
};

struct grpc_method {
	const char *path; /* "/PACKAGE.SERVICE/METHOD" */
	/*
	 * Answer @request (borrowed). Returns 0 with *@ret set, or -errno with @err
	 * filled, which grpc_status_of() makes a status of. Called by a thread of its own,
	 * at the same time as others.
	 */
	int (*call)(void *arg, const struct grpc_message *request, struct grpc_message *ret,
	            struct err *err);
};

struct grpc_server;

/*
 * @method, @n of them, and @arg for their calls, are borrowed. Returns 0 and sets *@ret, or
 * -errno.
 */
MUST_CHECK int grpc_server_new(const struct grpc_method *method, size_t n, void *arg,
                               struct grpc_server **ret, struct err *err);

#define GRPC_SOCKETS_MAX 2u

/*
 * Listen at @path, for root only, in the place of what is there; at most GRPC_SOCKETS_MAX times. The socket
 * is removed with the server. Before threads start. Returns 0 or -errno.
 */
MUST_CHECK int grpc_server_listen(struct grpc_server *server, const char *path, struct err *err);

/* Serve until grpc_server_stop(); waits for calls that are under way, some seconds. Returns 0 or -errno. */
MUST_CHECK int grpc_server_run(struct grpc_server *server, struct err *err);

/* Have grpc_server_run() return. Any thread, and signal handlers. */
void grpc_server_stop(struct grpc_server *server);

/*
 * Accepts NULL. Returns without freeing what calls still use that did not end; the caller's @arg must
 * then stay, too: the process is about to end.
 */
void grpc_server_free(struct grpc_server *server);
DEFINE_CLEANUP(struct grpc_server *, grpc_server_free)

/* Whether calls run that grpc_server_run() did not wait for any longer. */
bool grpc_server_busy(struct grpc_server *server);
