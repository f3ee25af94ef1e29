/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "prometheus.h"

enum {
	THREADS = 2, /* a probe is answered while a report is made */
	CONNECTIONS = 16,
	TIMEOUT_SECONDS = 10,
	HOST_MAX = 64,
	REQUEST_BYTES = 8192, /* memory for the header of a request */
};

struct metrics {
	struct metrics_source source;
	struct MHD_Daemon *http; /* owned */
	unsigned port;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Copy the host of HOST:PORT, without brackets. Returns the text after the colon, or NULL. */
static const char *split(const char *text, char host[static HOST_MAX])
{
	const char *colon = strrchr(text, ':');
	const char *start = text;
	const char *end = colon;

	if (!colon || colon - text >= HOST_MAX)
		return NULL;
	if (*text == '[') {
		if (end == text || end[-1] != ']')
			return NULL;
		start++;
		end--;
	}
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	return colon + 1;
}

static int parse_port(const char *text, in_port_t *ret)
{
	unsigned long port;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	port = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || port > UINT16_MAX)
		return -EINVAL;
	*ret = htons((uint16_t)port);
	return 0;
}

static int parse_address(const char *text, union address *ret)
{
	char host[HOST_MAX];
	const char *port_text = split(text, host);
	in_port_t port;

	if (!port_text || parse_port(port_text, &port) < 0)
		return -EINVAL;
	*ret = (union address){ 0 };
	if (text[0] == '[' || host[0] == '\0') {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = port;
		return text[0] == '[' && inet_pton(AF_INET6, host, &ret->v6.sin6_addr) != 1
		               ? -EINVAL
		               : 0;
	}
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = port;
	return inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1 ? 0 : -EINVAL;
}

bool metrics_address_ok(const char *address)
{
	union address parsed;

	return parse_address(address, &parsed) == 0;
}

/* Answer with @len bytes at @text, which the library frees or copies as @memory says. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, char *text,
                             size_t len, enum MHD_ResponseMemoryMode memory, const char *type)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(len, text, memory);
	enum MHD_Result result;

	if (!response) {
		if (memory == MHD_RESPMEM_MUST_FREE)
			free(text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result reply_line(struct MHD_Connection *connection, unsigned status,
                                  const char *line)
{
	char copy[64];
	int n = snprintf(copy, sizeof(copy), "%s\n", line);

	return reply(connection, status, copy, (size_t)n, MHD_RESPMEM_MUST_COPY,
	             "text/plain; charset=utf-8");
}

static enum MHD_Result reply_metrics(const struct metrics *m, struct MHD_Connection *connection)
{
	enum exposition format = prometheus_accepted(
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));
	json_t *report = m->source.report(m->source.arg);
	char *text = NULL;
	size_t len = 0;
	int r = report ? prometheus_text(report, format, &text, &len) : -ENOMEM;

	json_decref(report);
	if (r < 0)
		return reply_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "no report");
	return reply(connection, MHD_HTTP_OK, text, len, MHD_RESPMEM_MUST_FREE,
	             prometheus_content_type(format));
}

static enum MHD_Result reply_state(struct MHD_Connection *connection, bool good)
{
	return good ? reply_line(connection, MHD_HTTP_OK, "ok")
	            : reply_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "not now");
}

/* The library's signature. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
	const struct metrics *m = arg;

	(void)version;
	(void)upload;
	(void)state;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		*upload_size = 0;
		return reply_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
	}
	if (strcmp(url, "/metrics") == 0)
		return reply_metrics(m, connection);
	if (strcmp(url, "/healthz") == 0)
		return reply_state(connection, m->source.healthy(m->source.arg));
	if (strcmp(url, "/readyz") == 0)
		return reply_state(connection, m->source.ready(m->source.arg));
	return reply_line(connection, MHD_HTTP_NOT_FOUND, "metrics are at /metrics");
}

/* What the library finds wrong with a client is that client's business. */
static void log_library(void *arg, const char *fmt, va_list ap) PRINTF_FMT(2, 0);

static void log_library(void *arg, const char *fmt, va_list ap)
{
	char line[256];

	(void)arg;
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("metrics: %s", line);
}

/*
 * A socket that listens at @addr. IPv6's any address takes IPv4, too, where @both. It is made here
 * because the library does not say why it could not make one. Returns it; -errno.
 */
static int listen_at(const union address *addr, bool both)
{
	const int on = 1;
	const int only_v6 = !both;
	const int family = addr->any.sa_family;
	CLEANUP(close) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)) < 0)
		return -errno;
	if (bind(fd, &addr->any, family == AF_INET6 ? sizeof(addr->v6) : sizeof(addr->v4)) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int metrics_start(const char *address, const struct metrics_source *source, struct metrics **ret,
                  struct err *err)
{
	CLEANUP(metrics_stop) struct metrics *m = calloc(1, sizeof(*m));
	const union MHD_DaemonInfo *info;
	union address addr;
	int fd;

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	if (parse_address(address, &addr) < 0)
		return err_set(err, -EINVAL, "'%s' is no address like 127.0.0.1:9809", address);
	m->source = *source;
	fd = listen_at(&addr, address[0] == ':');
	if (fd < 0)
		return err_set(err, fd, "metrics cannot be served at '%s': %s", address,
		               strerrordesc_np(-fd));
	/* The socket is the library's from here: some versions close it when they fail, too. */
	m->http = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0, NULL,
	                           NULL, handle, m, MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL,
	                           MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE,
	                           (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT,
	                           (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
	                           (unsigned)TIMEOUT_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                           (size_t)REQUEST_BYTES, MHD_OPTION_END);
	if (!m->http)
		return err_set(err, -EIO,
		               "metrics cannot be served at '%s': the library gives no reason",
		               address);
	info = MHD_get_daemon_info(m->http, MHD_DAEMON_INFO_BIND_PORT);
	m->port = info ? info->port : 0;
	*ret = TAKE_PTR(m);
	return 0;
}

unsigned metrics_port(const struct metrics *m)
{
	return m->port;
}

void metrics_stop(struct metrics *m)
{
	if (!m)
		return;
	if (m->http)
		MHD_stop_daemon(m->http);
	free(m);
}
