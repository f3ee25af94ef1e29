/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gRPC puts into HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md of the gRPC project):
 * a message with its length before it, a status and a text at the end. Pure;
 * any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define GRPC_HEAD_SIZE 5u
#define GRPC_MESSAGE_MAX \
	((size_t)4 << 20) /* bytes of a request; what other servers take by default */

/* Statuses, as grpc/doc/statuscodes.md numbers them. */
enum grpc_status {
	GRPC_OK = 0,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

/* The status that tells a client of error @code, a -errno or 0. */
enum grpc_status grpc_status_of(int code);

/*
 * Find the message in a request's @body of @len bytes, which has exactly one.
 * Returns 0 and sets *@ret, borrowed from @body, and *@ret_len; -ENOSYS when it is
 * compressed; -EPROTO when it is not one message.
 */
MUST_CHECK int grpc_frame_parse(const uint8_t *body, size_t len, const uint8_t **ret,
                                size_t *ret_len, struct err *err);

/* Write what comes before a message of @len bytes. */
void grpc_frame_head(uint32_t len, uint8_t ret[static GRPC_HEAD_SIZE]);

/*
 * Write @text as grpc-message has it: bytes outside of printable ASCII and '%' as
 * %XX. Cut where @size bytes with the NUL, at least 4, do not hold it. Returns its length.
 */
size_t grpc_text_encode(const char *text, char *ret, size_t size);
