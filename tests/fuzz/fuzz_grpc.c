/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever a client sends, in whatever pieces, each call is handed on once and whole, and what is
 * answered comes to an end. The first byte says how long pieces are.
 */
#include <errno.h>
#include <string.h>

#include "csi/grpc_conn.h"
#include "csi/grpc_frame.h"
#include "fuzz.h"

enum { OUTPUT_MAX = 64 << 20 };

/* Echo one call at once and refuse the next; some are answered twice, or never. */
static void answer(void *arg, struct grpc_conn *conn, const struct grpc_request *request)
{
	unsigned *n = arg;
	struct err err = ERR_INIT;
	uint8_t *copy = malloc(request->len + 1);

	must(request->len <= GRPC_MESSAGE_MAX && strlen(request->path) < 128);
	if (request->len > 0)
		memcpy(copy, request->message, request->len);
	if (++*n % 3 == 0) {
		free(copy);
		return;
	}
	if (*n % 3 == 1)
		(void)err_set(&err, -ENOENT, "none at '%s' %%\n", request->path);
	grpc_conn_reply(conn, request->stream, copy, request->len, &err);
	grpc_conn_reply(conn, request->stream, NULL, 0, &err);
}

/* Take all that is to be sent. */
static int drain(struct grpc_conn *conn)
{
	size_t total = 0;

	for (;;) {
		const uint8_t *data;
		size_t len;

		if (grpc_conn_output(conn, &data, &len) < 0)
			return -1;
		if (len == 0)
			return 0;
		total += len;
		must(total < OUTPUT_MAX);
		/* In two parts, as a socket that is full would have it. */
		grpc_conn_sent(conn, len / 2);
		grpc_conn_sent(conn, len - len / 2);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned n = 0;
	CLEANUP(grpc_conn_free) struct grpc_conn *conn = grpc_conn_new(answer, &n);
	size_t step = size > 0 && data[0] > 0 ? data[0] : size;

	if (!conn || size == 0)
		return 0;
	for (size_t off = 1; off < size; off += step) {
		if (grpc_conn_feed(conn, data + off, size - off < step ? size - off : step) < 0)
			break;
		if (drain(conn) < 0 || grpc_conn_ended(conn))
			break;
	}
	return 0;
}
