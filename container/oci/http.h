/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single exchanges over HTTP: no redirects, no second tries. A struct http keeps connections
 * between exchanges; any thread may use it, and as many at once as there are connections to be had.
 * Proxies are libcurl's, from the environment, but none leads to this machine itself. The process
 * should ignore SIGPIPE.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

struct http;

struct http_options {
	const char *ca_file; /* certificates to trust instead of the system's; or NULL */
	unsigned connect_s;  /* seconds until a connection stands; 0: 15 */
	unsigned stall_s;    /* seconds that an exchange may go on without a byte; 0: 60 */
};

/* Returns 0 or -ENOMEM. */
MUST_CHECK int http_new(const struct http_options *options, struct http **ret, struct err *err);

/* Nobody is using it any more. Accepts NULL. */
void http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_free)

/* What came back. */
struct http_response {
	long status;
	char *location;       /* owned; headers are NULL when they are missing */
	char *challenge;      /* owned; WWW-Authenticate, several joined by ", " */
	char *digest;         /* owned; Docker-Content-Digest */
	char *type;           /* owned; Content-Type without parameters */
	char *range;          /* owned; Range */
	bool has_length;      /* there is a Content-Length */
	uint64_t length;      /* that length */
	bool has_first;       /* there is a Content-Range */
	uint64_t first;       /* its first byte */
	uint64_t retry_after; /* seconds; 0 when there is none */
	int64_t date;         /* Date, by the server's clock; 0 when there is none */
	int64_t retry_date;   /* likewise, of Retry-After where that is a date */
	char *body;           /* owned; NUL-terminated, of what take() was not given; or NULL */
	size_t body_len;
};

#define HTTP_RESPONSE_INIT ((struct http_response){ .status = 0, .body = NULL })

void http_response_release(struct http_response *res);

static inline void http_response_release_cleanup(struct http_response *res)
{
	http_response_release(res);
}

struct http_request {
	const char *method;
	const char *url;
	const char *authorization; /* value of the header, or NULL */
	const char *accept;        /* likewise */
	const char *type;          /* likewise, Content-Type */
	const char *range;         /* "FIRST-LAST", or NULL */
	const char *content_range; /* likewise */

	/* What is sent: @body_len bytes at @body, or of @body_fd from @body_off when @body is NULL. */
	bool has_body;
	const void *body;
	int body_fd;
	uint64_t body_off;
	uint64_t body_len;

	/* Called when more bytes of the body have been sent; NULL: nobody wants to know. */
	void (*sent)(void *arg, uint64_t len);
	void *sent_arg;

	size_t max; /* bytes of a body that are kept; more of a status 2xx is -EMSGSIZE */

	/*
	 * Take the next @len bytes of an answer of status 200 or 206; NULL: it goes to body.
	 * Returns 0, or -errno with a message to end the exchange.
	 */
	int (*take)(void *arg, const struct http_response *res, const void *data, size_t len,
	            struct err *err);
	void *take_arg;
};

/*
 * Perform @rq. Returns 0 when an answer has come, whatever its status; else what take() returned;
 * -ECONNRESET when the connection broke; -ETIMEDOUT; -ECONNREFUSED; -EHOSTUNREACH when the host
 * is not known; -EPROTO when it is not trusted, or speaks something else; -EMSGSIZE; -ENOMEM; -EIO.
 * @ret is released first, and is the caller's to release also after an error.
 */
MUST_CHECK int http_exchange(struct http *http, const struct http_request *rq,
                             struct http_response *ret, struct err *err);

/* Whether another try after error @r, or with an answer of @status, may go better. */
bool http_is_transient(int r, long status);
