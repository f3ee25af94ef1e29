/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream is a call. Its body is collected until the client ends it, so that
 * what is handed on is whole; its reply is headers, one framed message and
 * trailers, or in case of an error trailers alone.
 */
#include "csi/grpc_conn.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csi/grpc_frame.h"

enum {
	STREAMS_MAX = 64, /* calls at once on a connection */
	PATH_SIZE = 128,  /* longer ones are no method of ours */
	TEXT_SIZE = 768,  /* struct err's, encoded */
};

struct stream {
	struct stream *next, *prev; /* of the connection */
	char path[PATH_SIZE];
	bool posted;   /* :method POST */
	bool is_grpc;  /* by its content-type */
	bool answered; /* grpc_conn_reply() was there */
	bool too_long; /* the body was let go */
	uint8_t *body; /* owned */
	size_t len, cap;
	uint8_t head[GRPC_HEAD_SIZE];
	uint8_t *reply; /* owned */
	size_t reply_len;
	size_t sent; /* of head and reply */
};

struct grpc_conn {
	nghttp2_session *session;
	grpc_request_fn fn;
	void *arg;
	struct stream *streams; /* owned */
	const uint8_t *out;     /* borrowed from the session: not sent yet */
	size_t out_len;
};

/* A header for libnghttp2, which copies what it is given but asks for pointers to what is no constant. */
static nghttp2_nv header_of(const char *name, const char *value)
{
	nghttp2_nv nv = { .namelen = strlen(name), .valuelen = strlen(value) };

	memcpy(&nv.name, &name, sizeof(name));
	memcpy(&nv.value, &value, sizeof(value));
	return nv;
}

static struct stream *find(const struct grpc_conn *conn, int32_t id)
{
	return nghttp2_session_get_stream_user_data(conn->session, id);
}

static int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_conn *conn = arg;
	struct stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	s->next = conn->streams;
	if (s->next)
		s->next->prev = s;
	conn->streams = s;
	return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s) == 0
	               ? 0
	               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool equals(const uint8_t *text, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(text, word, len) == 0;
}

static bool begins(const uint8_t *text, size_t len, const char *word)
{
	return len >= strlen(word) && memcmp(text, word, strlen(word)) == 0;
}

/* As libnghttp2 calls it. NOLINTNEXTLINE(readability-function-size) */
static int header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                  size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct stream *s = find(arg, frame->hd.stream_id);

	(void)session;
	(void)flags;
	if (!s)
		return 0;
	if (equals(name, name_len, ":path") && value_len < PATH_SIZE) {
		memcpy(s->path, value, value_len);
		s->path[value_len] = '\0';
	} else if (equals(name, name_len, ":method")) {
		s->posted = equals(value, value_len, "POST");
	} else if (equals(name, name_len, "content-type")) {
		s->is_grpc = begins(value, value_len, "application/grpc");
	}
	return 0;
}

static int data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                      size_t len, void *arg)
{
	struct stream *s = find(arg, id);

	(void)session;
	(void)flags;
	if (!s || s->answered || s->too_long)
		return 0;
	if (len > GRPC_MESSAGE_MAX + GRPC_HEAD_SIZE - s->len) {
		s->too_long = true;
		return 0;
	}
	if (len > s->cap - s->len) {
		size_t cap = s->len + len > s->cap * 2 ? s->len + len : s->cap * 2;
		uint8_t *grown = realloc(s->body, cap);

		if (!grown)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		s->body = grown;
		s->cap = cap;
	}
	memcpy(s->body + s->len, data, len);
	s->len += len;
	return 0;
}

/* The client has said all: hand the call on, or answer what is none. */
static void call(struct grpc_conn *conn, struct stream *s, int32_t id)
{
	struct grpc_request request = { .stream = id, .path = s->path };
	nghttp2_nv refusal = header_of(":status", "415");
	struct err err = ERR_INIT;
	int r;

	if (!s->posted || !s->is_grpc) {
		s->answered = true;
		(void)nghttp2_submit_response(conn->session, id, &refusal, 1, NULL);
		return;
	}
	r = s->too_long ? err_set(&err, -EMSGSIZE, "the request has more than %zu bytes",
	                          GRPC_MESSAGE_MAX)
	                : grpc_frame_parse(s->body, s->len, &request.message, &request.len, &err);
	if (r < 0)
		grpc_conn_reply(conn, id, NULL, 0, &err);
	else
		conn->fn(conn->arg, conn, &request);
}

static int frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct stream *s;

	(void)session;
	if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	s = find(arg, frame->hd.stream_id);
	if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && !s->answered)
		call(arg, s, frame->hd.stream_id);
	return 0;
}

static void stream_free(struct stream *s)
{
	free(s->body);
	free(s->reply);
	free(s);
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct grpc_conn *conn = arg;
	struct stream *s = find(conn, id);

	(void)error;
	if (!s)
		return 0;
	(void)nghttp2_session_set_stream_user_data(session, id, NULL);
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		conn->streams = s->next;
	stream_free(s);
	return 0;
}

static nghttp2_session *session_new(struct grpc_conn *conn)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_session *session = NULL;
	nghttp2_option *option = NULL;

	if (nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0) {
		nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_chunk);
		nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
		nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
		nghttp2_option_set_no_http_messaging(option, 1);
		if (nghttp2_session_server_new2(&session, callbacks, conn, option) != 0)
			session = NULL;
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return session;
}

struct grpc_conn *grpc_conn_new(grpc_request_fn fn, void *arg)
{
	const nghttp2_settings_entry setting = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		                                 STREAMS_MAX };
	CLEANUP(grpc_conn_free) struct grpc_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->fn = fn;
	conn->arg = arg;
	conn->session = session_new(conn);
	if (!conn->session ||
	    nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, &setting, 1) != 0)
		return NULL;
	return TAKE_PTR(conn);
}

void grpc_conn_free(struct grpc_conn *conn)
{
	if (!conn)
		return;
	nghttp2_session_del(conn->session);
	while (conn->streams) {
		struct stream *next = conn->streams->next;

		stream_free(conn->streams);
		conn->streams = next;
	}
	free(conn);
}

static int error_of(ssize_t r)
{
	return r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
}

int grpc_conn_feed(struct grpc_conn *conn, const uint8_t *data, size_t len)
{
	ssize_t n = nghttp2_session_mem_recv(conn->session, data, len);

	return n < 0 ? error_of(n) : 0;
}

int grpc_conn_output(struct grpc_conn *conn, const uint8_t **ret, size_t *ret_len)
{
	if (conn->out_len == 0) {
		ssize_t n = nghttp2_session_mem_send(conn->session, &conn->out);

		if (n < 0)
			return error_of(n);
		conn->out_len = (size_t)n;
	}
	*ret = conn->out;
	*ret_len = conn->out_len;
	return 0;
}

void grpc_conn_sent(struct grpc_conn *conn, size_t len)
{
	conn->out += len;
	conn->out_len -= len;
}

bool grpc_conn_ended(const struct grpc_conn *conn)
{
	return conn->out_len == 0 && nghttp2_session_want_read(conn->session) == 0 &&
	       nghttp2_session_want_write(conn->session) == 0;
}

/* Copy what of the @len bytes @from is wanted at @off; returns how many. */
static size_t copy_part(uint8_t *to, size_t room, const uint8_t *from, size_t len, size_t off)
{
	size_t n;

	if (off >= len)
		return 0;
	n = len - off < room ? len - off : room;
	memcpy(to, from + off, n);
	return n;
}

/* As libnghttp2 calls it. NOLINTNEXTLINE(readability-function-size) */
static ssize_t read_reply(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                          uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;
	const nghttp2_nv trailer = header_of("grpc-status", "0");
	size_t n = copy_part(buf, len, s->head, GRPC_HEAD_SIZE, s->sent);

	(void)arg;
	s->sent += n;
	if (s->sent >= GRPC_HEAD_SIZE) {
		size_t m = copy_part(buf + n, len - n, s->reply, s->reply_len,
		                     s->sent - GRPC_HEAD_SIZE);

		s->sent += m;
		n += m;
	}
	if (s->sent == GRPC_HEAD_SIZE + s->reply_len) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(session, id, &trailer, 1) != 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

static void reply_error(struct grpc_conn *conn, int32_t id, const struct err *err)
{
	char text[TEXT_SIZE];
	char status[16];

	(void)snprintf(status, sizeof(status), "%d", (int)grpc_status_of(err->code));
	(void)grpc_text_encode(err->msg, text, sizeof(text));
	const nghttp2_nv headers[] = {
		header_of(":status", "200"),
		header_of("content-type", "application/grpc"),
		header_of("grpc-status", status),
		header_of("grpc-message", text),
	};
	(void)nghttp2_submit_response(conn->session, id, headers,
	                              sizeof(headers) / sizeof(headers[0]), NULL);
}

void grpc_conn_reply(struct grpc_conn *conn, int32_t stream, uint8_t *message, size_t len,
                     const struct err *err)
{
	const nghttp2_nv headers[] = {
		header_of(":status", "200"),
		header_of("content-type", "application/grpc"),
	};
	struct stream *s = find(conn, stream);
	nghttp2_data_provider provider = { .source.ptr = s, .read_callback = read_reply };

	if (!s || s->answered) {
		free(message);
		return;
	}
	s->answered = true;
	free(TAKE_PTR(s->body));
	if (err->code != 0) {
		free(message);
		reply_error(conn, stream, err);
		return;
	}
	grpc_frame_head((uint32_t)len, s->head);
	s->reply = message;
	s->reply_len = len;
	(void)nghttp2_submit_response(conn->session, stream, headers,
	                              sizeof(headers) / sizeof(headers[0]), &provider);
}
