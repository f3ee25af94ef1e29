/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upload begins with a POST, which gives the URL to send to. Every answer may give another
 * one. When a request of several breaks, the server is asked how far it has come; an upload in one request
 * begins anew.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "oci/registry_internal.h"
#include "oci/url.h"

enum {
	ANSWER_MAX = 1 << 20,
	RESTARTS_MAX = 3, /* uploads that the server forgot */
};

static const char octets[] = "application/octet-stream";

struct upload {
	struct registry *reg;
	const struct registry_blob *blob;
	char digest[sizeof(DIGEST_PREFIX) + DIGEST_HEX_SIZE];
	char *url;     /* owned; where the upload goes on */
	uint64_t off;  /* bytes that the server has */
	uint64_t told; /* bytes that blob->sent() was told of */
};

static void upload_release_cleanup(struct upload *up)
{
	free(up->url);
}

static void on_sent(void *arg, uint64_t len)
{
	struct upload *up = arg;

	up->told += len;
	if (up->blob->sent)
		up->blob->sent(up->blob->arg, (int64_t)len);
}

/* The server has @off bytes, of whatever was sent. */
static void set_offset(struct upload *up, uint64_t off)
{
	int64_t change = (int64_t)off - (int64_t)up->told;

	if (change != 0 && up->blob->sent)
		up->blob->sent(up->blob->arg, change);
	up->off = up->told = off;
}

/* Go on at the Location of @res, which came from @from. */
static int set_url(struct upload *up, const char *from, const struct http_response *res,
                   struct err *err)
{
	char *url = res->location ? url_join(from, res->location) : NULL;

	if (!url)
		return err_set(err, -EPROTO, "'%s': the registry does not say where to upload to",
		               up->reg->name);
	if (!url_is_plain(up->reg->base) && url_is_plain(url)) {
		free(url);
		return err_set(err, -EPROTO, "'%s': the registry wants an upload without https",
		               up->reg->name);
	}
	free(up->url);
	up->url = url;
	return 0;
}

/* The URL to begin at: asks for a mount when there may be one. A new string, or NULL. */
static char *start_url(const struct upload *up)
{
	CLEANUP(free) char *plain = registry_url(up->reg, "blobs/uploads/", "");
	CLEANUP(free) char *mount = NULL;

	if (!plain || !up->reg->mount_from)
		return TAKE_PTR(plain);
	mount = url_with_query(plain, "mount", up->digest);
	return mount ? url_with_query(mount, "from", up->reg->mount_from) : NULL;
}

/* Begin an upload. Returns 1 when there is nothing left to do, 0, or an error. */
static int start(struct upload *up, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *url = start_url(up);
	const struct http_request rq = {
		.method = "POST",
		.url = url,
		.has_body = true,
		.body = "",
		.max = ANSWER_MAX,
	};
	int r = url ? registry_request(up->reg, &rq, &res, err)
	            : err_set(err, -ENOMEM, "out of memory");

	set_offset(up, 0);
	if (r < 0)
		return r;
	if (res.status == 201)
		return 1;
	if (res.status != 202)
		return registry_refused(up->reg, "writing", &res, err);
	return set_url(up, url, &res, err);
}

/* Bytes "0-LAST" that the server has; 0 when it does not say. */
static uint64_t parse_range(const char *range)
{
	const char *dash = range ? strchr(range, '-') : NULL;
	uint64_t last;

	if (!dash || text_parse_uint(dash + 1, INT64_MAX, &last) < 0)
		return 0;
	return last > 0 ? last + 1 : 0; /* "0-0" also stands for nothing */
}

/* Ask how much of the upload is there. Returns 0; 1 when the server has forgotten it; an error. */
static int ask(struct upload *up, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *url = strdup(up->url);
	const struct http_request rq = { .method = "GET", .url = url, .max = ANSWER_MAX };
	uint64_t off;
	int r = url ? registry_request(up->reg, &rq, &res, err)
	            : err_set(err, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	if (res.status / 100 != 2)
		return 1;
	off = parse_range(res.range);
	if (off > up->blob->size)
		return 1;
	set_offset(up, off);
	return res.location ? set_url(up, url, &res, err) : 0;
}

/* A request that sends the next @len bytes of the blob. */
static struct http_request send_next(struct upload *up, const char *method, const char *url,
                                     uint64_t len)
{
	return (struct http_request){
		.method = method,
		.url = url,
		.type = octets,
		.has_body = true,
		.body_fd = up->blob->fd,
		.body_off = up->off,
		.body_len = len,
		.sent = on_sent,
		.sent_arg = up,
		.max = ANSWER_MAX,
	};
}

/* Send @len bytes with PATCH; sets *@res. Returns as registry_exchange(). */
static int patch(struct upload *up, uint64_t len, struct http_response *res, struct err *err)
{
	CLEANUP(free) char *url = strdup(up->url);
	struct http_request rq = send_next(up, "PATCH", url, len);
	char range[64];
	int r;

	(void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)up->off,
	               (unsigned long long)(up->off + len - 1));
	if (!url)
		return err_set(err, -ENOMEM, "out of memory");
	rq.content_range = range;
	r = registry_exchange(up->reg, &rq, res, err);
	if (r < 0 || res->status != 202)
		return r;
	up->off += len;
	return set_url(up, url, res, err);
}

/* Finish with PUT, and with @len bytes that are still missing. Returns as registry_exchange(). */
static int finish(struct upload *up, uint64_t len, struct http_response *res, struct err *err)
{
	CLEANUP(free) char *url = url_with_query(up->url, "digest", up->digest);
	const struct http_request rq = send_next(up, "PUT", url, len);

	return url ? registry_exchange(up->reg, &rq, res, err)
	           : err_set(err, -ENOMEM, "out of memory");
}

/* The next request of the upload. *@done: it was the last. */
static int step(struct upload *up, struct http_response *res, bool *done, struct err *err)
{
	uint64_t left = up->blob->size - up->off;
	uint64_t chunk = up->reg->upload_chunk;
	int r;

	*done = false;
	if (chunk > 0 && left > chunk)
		return patch(up, chunk, res, err);
	if (chunk > 0 && left > 0 && up->off > 0)
		return patch(up, left, res, err);
	r = finish(up, left, res, err);
	*done = r == 0 && res->status / 100 == 2;
	return r;
}

static bool names_digest(const struct http_response *res)
{
	return res->body && strstr(res->body, "DIGEST_INVALID");
}

/* The server does not take what was sent. Returns 0 when the upload may be begun anew. */
static int judge(const struct upload *up, const struct http_response *res, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];

	if (res->status == 400 && names_digest(res))
		return err_set(err, -EBADMSG, "'%s': blob '%.12s' has another digest when it comes",
		               up->reg->name, digest_hex(&up->blob->digest, hex));
	/* 404: the upload is forgotten; 416: it has other bytes than we think. */
	if (res->status == 404 || res->status == 416)
		return 0;
	return registry_refused(up->reg, "writing", res, err);
}

/* Send what is missing. Returns 0; 1 when it has to be begun anew; an error. */
static int send_all(struct upload *up, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	struct tries tries = { .reg = up->reg };
	bool done = false;

	while (!done) {
		uint64_t before = up->off;
		int r = step(up, &res, &done, err);

		if (r == 0 && res.status / 100 != 2 && !http_is_transient(0, res.status)) {
			r = judge(up, &res, err);
			return r < 0 ? r : 1;
		}
		if (r == 0 && res.status / 100 == 2) {
			tries.n = 0;
			continue;
		}
		r = tries_wait(&tries, r, &res, err);
		if (r < 0)
			return err_wrap(err, r, "'%s'", up->reg->name);
		r = ask(up, err);
		if (r != 0)
			return r;
		if (up->off > before)
			tries.n = 0;
	}
	return 0;
}

int registry_upload(struct registry *reg, const struct registry_blob *blob, struct err *err)
{
	CLEANUP(upload_release)
	struct upload up = { .reg = reg, .blob = blob, .digest = DIGEST_PREFIX };
	int r = 1;

	(void)digest_hex(&blob->digest, up.digest + strlen(DIGEST_PREFIX));
	for (int i = 0; r == 1 && i < RESTARTS_MAX; i++) {
		r = start(&up, err);
		if (r != 0)
			return r;
		r = send_all(&up, err);
	}
	return r == 1 ? err_set(err, -EIO, "'%s': the registry forgets uploads", reg->name) : r;
}
