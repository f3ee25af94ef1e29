/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/json_text.h"
#include "oci/plain_text.h"
#include "oci/registry_internal.h"
#include "oci/url.h"

enum {
	ATTEMPTS = 6,
	REDIRECTS_MAX = 5,
	RENEWALS_MAX = 2, /* a token may expire between being made and being shown */
	PROBE_MAX = 64 << 10,
};

/* Whether the registry on this machine speaks http: one with TLS answers 400, or hangs up. */
static bool speaks_plain(struct http *http, const char *host)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *url = NULL;
	struct http_request rq = { .method = "GET", .max = PROBE_MAX };
	int r;

	if (asprintf(&url, "http://%s/v2/", host) < 0) {
		url = NULL;
		return true;
	}
	rq.url = url;
	r = http_exchange(http, &rq, &res, NULL);
	return r == 0 ? res.status != 400 : r != -ECONNRESET && r != -EPROTO;
}

/* "http" or "https". */
static const char *scheme_of(struct http *http, const char *host, const struct registry_options *o)
{
	if (o->plain_http)
		return "http";
	if (o->ca_file || !url_host_is_loopback(host))
		return "https";
	return speaks_plain(http, host) ? "http" : "https";
}

/* All but the connections, which are common. */
static void free_names(struct registry *reg)
{
	auth_free(reg->auth);
	free(reg->name);
	free(reg->base);
	free(reg->query);
	free(reg->mount_from);
	free(reg);
}

static int set_names(struct registry *reg, const struct reference *ref, const char *scheme,
                     const struct registry_options *o, struct err *err)
{
	if (asprintf(&reg->name, "%s/%s", ref->host, ref->repository) < 0) {
		reg->name = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (asprintf(&reg->base, "%s://%s/v2/%s/", scheme, ref->host, ref->repository) < 0) {
		reg->base = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (!o->mount_from)
		return 0;
	reg->mount_from = strdup(o->mount_from);
	return reg->mount_from ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int registry_open_at(struct http *http, const struct reference *ref, const char *scheme,
                     const struct registry_options *options, struct registry **ret, struct err *err)
{
	struct registry *reg = calloc(1, sizeof(*reg));
	const struct auth_options auth = {
		.host = ref->host,
		.repository = ref->repository,
		.also = options->mount_from,
		.credentials = options->credentials,
		.push = options->push,
		.plain = options->plain_http,
	};
	int r;

	if (!reg)
		return err_set(err, -ENOMEM, "out of memory");
	reg->http = http;
	reg->plain_http = options->plain_http;
	reg->attempts = options->attempts > 0 ? options->attempts : ATTEMPTS;
	reg->upload_chunk = options->upload_chunk;
	reg->note = options->note;
	reg->note_arg = options->note_arg;
	r = auth_new(http, &auth, &reg->auth, err);
	if (r == 0)
		r = set_names(reg, ref, scheme, options, err);
	if (r < 0) {
		free_names(reg);
		return r;
	}
	*ret = reg;
	return 0;
}

int registry_open(const struct reference *ref, const struct registry_options *options,
                  struct registry **ret, struct err *err)
{
	CLEANUP(registry_close) struct registry *reg = NULL;
	CLEANUP(http_free) struct http *http = NULL;
	/* Nothing changes the environment while threads run. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *system_ca = getenv("SSL_CERT_FILE");
	const struct http_options http_options = {
		.ca_file = options->ca_file ? options->ca_file : system_ca,
		.stall_s = options->stall_s,
	};
	int r = http_new(&http_options, &http, err);

	if (r == 0)
		r = registry_open_at(http, ref, scheme_of(http, ref->host, options), options, &reg,
		                     err);
	if (r < 0)
		return r;
	(void)TAKE_PTR(http);
	if (!options->push)
		r = registry_open_mirrors(reg, ref, options, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(reg);
	return 0;
}

void registry_close(struct registry *reg)
{
	struct http *http;

	if (!reg)
		return;
	for (unsigned i = 0; i < reg->n_mirrors; i++)
		free_names(reg->mirrors[i]);
	http = reg->http;
	free_names(reg);
	http_free(http);
}

const char *registry_name(const struct registry *reg)
{
	return reg->name;
}

const char *registry_source(const struct registry *reg, unsigned i)
{
	if (i < reg->n_mirrors)
		return reg->mirrors[i]->name;
	return i == reg->n_mirrors ? reg->name : NULL;
}

uint64_t registry_ignored_ranges(const struct registry *reg)
{
	uint64_t sum = __atomic_load_n(&reg->ignored_ranges, __ATOMIC_RELAXED);

	for (unsigned i = 0; i < reg->n_mirrors; i++)
		sum += __atomic_load_n(&reg->mirrors[i]->ignored_ranges, __ATOMIC_RELAXED);
	return sum;
}

char *registry_url(const struct registry *reg, const char *what, const char *target)
{
	char *text;

	return asprintf(&text, "%s%s%s%s", reg->base, what, target, reg->query ? reg->query : "") <
	                       0
	               ? NULL
	               : text;
}

char *registry_digest_url(const struct registry *reg, const char *what, const struct digest *digest)
{
	char text[sizeof(DIGEST_PREFIX) + DIGEST_HEX_SIZE] = DIGEST_PREFIX;

	(void)digest_hex(digest, text + strlen(DIGEST_PREFIX));
	return registry_url(reg, what, text);
}

/* Whether an answer to @method says to go elsewhere. */
static bool is_redirect(const char *method, const struct http_response *res)
{
	bool reads = strcmp(method, "GET") == 0;

	if (!res->location)
		return false;
	switch (res->status) {
	case 301:
	case 308:
		return true;
	case 307:
		/* Where blobs lie, HEAD is often forbidden; that they are somewhere is enough to know. */
		return strcmp(method, "HEAD") != 0;
	case 302:
	case 303:
		return reads;
	default:
		return false;
	}
}

/* Where @res leads to from @url. */
static int redirect(const struct registry *reg, const char *url, const struct http_response *res,
                    char **ret, struct err *err)
{
	CLEANUP(free) char *next = url_join(url, res->location);

	if (!next)
		return err_set(err, -EPROTO, "it redirects to no URL of http or https");
	if (!url_is_plain(url) && url_is_plain(next) && !url_is_loopback(next) && !reg->plain_http)
		return err_set(err, -EPROTO,
		               "it redirects from https to http; --plain-http allows it");
	*ret = TAKE_PTR(next);
	return 0;
}

/* An answer of somebody else, to whom the registry led us. */
static int judge_elsewhere(const char *url, const struct http_response *res, struct err *err)
{
	CLEANUP(free) char *host = NULL;

	if (res->status < 400 || res->status > 410 || http_is_transient(0, res->status))
		return 0;
	host = url_host(url);
	return err_set(err, -EAGAIN, "'%.80s', where it redirects to, answers with status %ld",
	               host ? host : "a host", res->status);
}

/* Perform @rq as @authorization, which nobody but the registry gets to see. Follows redirects. */
static int follow(struct registry *reg, const struct http_request *rq, const char *authorization,
                  struct http_response *ret, struct err *err)
{
	CLEANUP(free) char *url = strdup(rq->url);
	struct http_request now = *rq;

	now.authorization = authorization;
	for (int i = 0; url && i <= REDIRECTS_MAX; i++) {
		char *next = NULL;
		int r;

		now.url = url;
		r = http_exchange(reg->http, &now, ret, err);
		if (r == 0 && !is_redirect(rq->method, ret))
			return url_same_origin(rq->url, url) ? 0 : judge_elsewhere(url, ret, err);
		if (r == 0)
			r = redirect(reg, url, ret, &next, err);
		if (r < 0)
			return r;
		free(url);
		url = next;
		if (!url_same_origin(rq->url, url))
			now.authorization = NULL;
	}
	return url ? err_set(err, -EPROTO, "it redirects more than %d times", REDIRECTS_MAX)
	           : err_set(err, -ENOMEM, "out of memory");
}

/* Whether to show something else after answer @res, the @i-th. Some say 403 of a token that has expired. */
static bool may_renew(const struct http_response *res, const char *authorization, int i)
{
	return (res->status == 401 && i < RENEWALS_MAX) ||
	       (res->status == 403 && authorization && i == 0);
}

int registry_exchange(struct registry *reg, const struct http_request *rq,
                      struct http_response *ret, struct err *err)
{
	for (int i = 0;; i++) {
		CLEANUP(free) char *authorization = NULL;
		unsigned version = 0;
		int r = auth_header(reg->auth, &authorization, &version, err);

		if (r == 0)
			r = follow(reg, rq, authorization, ret, err);
		if (r < 0 || !may_renew(ret, authorization, i))
			return r;
		r = auth_renew(reg->auth, ret->challenge, version, err);
		if (r < 0)
			return r;
	}
}

int registry_request(struct registry *reg, const struct http_request *rq, struct http_response *ret,
                     struct err *err)
{
	struct tries tries = { .reg = reg };

	for (;;) {
		int r = registry_exchange(reg, rq, ret, err);

		if (r == 0 && !http_is_transient(0, ret->status))
			return 0;
		r = tries_wait(&tries, r, ret, err);
		if (r < 0)
			return err_wrap(err, r, "'%s'", reg->name);
	}
}

/* What the body of @res says, as far as it fits, or its status. */
static void describe(const struct http_response *res, char *buf, size_t size)
{
	CLEANUP(json_unref)
	json_t *root = json_text_object(res->body ? res->body : "", res->body_len);
	const json_t *first = json_array_get(json_object_get(root, "errors"), 0);
	const char *text = json_text_member(first, "message");

	if (text[0] == '\0')
		text = json_text_member(first, "code");
	if (text[0] == '\0')
		(void)snprintf(buf, size, "status %ld", res->status);
	else
		(void)snprintf(buf, size, "%.*s (status %ld)", plain_text(text, 60), text,
		               res->status);
}

int registry_refused(const struct registry *reg, const char *what, const struct http_response *res,
                     struct err *err)
{
	char why[100];

	describe(res, why, sizeof(why));
	if (res->status == 401 || res->status == 403)
		return err_set(err, -EKEYREJECTED,
		               "'%s': %s is refused to these credentials, or to nobody: %s",
		               reg->name, what, why);
	if (res->status == 404)
		return err_set(err, -ENOMEDIUM, "'%s': no such %s: %s", reg->name, what, why);
	return err_set(err, -EPROTO, "'%s': %s: the registry answers with %s", reg->name, what,
	               why);
}
