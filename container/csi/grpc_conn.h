/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a gRPC server: HTTP/2 by libnghttp2, unary calls. Performs
 * no I/O, so that tests and the fuzzer feed it plain buffers. One thread at a
 * time.
 *
 * It looks at headers no more than it must: old kubelets send the path of the
 * socket as :authority, which is no valid one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

struct grpc_conn;

/* A call that has come in whole. Borrowed for the time of grpc_request_fn. */
struct grpc_request {
	int32_t stream;   /* what grpc_conn_reply() answers by */
	const char *path; /* "/PACKAGE.SERVICE/METHOD" */
	const uint8_t *message;
	size_t len; /* bytes of it */
};

/* Called from within grpc_conn_feed(); answers by grpc_conn_reply(), at once or later. */
typedef void (*grpc_request_fn)(void *arg, struct grpc_conn *conn,
                                const struct grpc_request *request);

/* Returns NULL without memory. @arg is borrowed. */
struct grpc_conn *grpc_conn_new(grpc_request_fn fn, void *arg);

/* Accepts NULL. */
void grpc_conn_free(struct grpc_conn *conn);
DEFINE_CLEANUP(struct grpc_conn *, grpc_conn_free)

/* What the client has sent. Returns 0, or -EPROTO or -ENOMEM: the connection is of no more use. */
MUST_CHECK int grpc_conn_feed(struct grpc_conn *conn, const uint8_t *data, size_t len);

/*
 * The bytes to send next: sets *@ret, borrowed until the next call, and *@ret_len, which is 0 when
 * there are none. Returns 0, or -EPROTO or -ENOMEM.
 */
MUST_CHECK int grpc_conn_output(struct grpc_conn *conn, const uint8_t **ret, size_t *ret_len);

/* @len of them have been sent. */
void grpc_conn_sent(struct grpc_conn *conn, size_t len);

/* Whether the protocol has come to its end. */
bool grpc_conn_ended(const struct grpc_conn *conn);

/*
 * Answer the call on @stream: with the @len bytes at @message (NULL when there are none; taken),
 * or, when @err has an error, with its status and text. A call whose client has given up is
 * forgotten.
 */
void grpc_conn_reply(struct grpc_conn *conn, int32_t stream, uint8_t *message, size_t len,
                     const struct err *err);
