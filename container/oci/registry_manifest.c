/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/registry_internal.h"

enum { MANIFEST_MAX = 16 << 20 };

/* All that a tag may name. */
static const char accepted[] = "application/vnd.oci.image.index.v1+json, "
			       "application/vnd.oci.image.manifest.v1+json, "
			       "application/vnd.docker.distribution.manifest.list.v2+json, "
			       "application/vnd.docker.distribution.manifest.v2+json";

void registry_manifest_release(struct registry_manifest *m)
{
	free(m->bytes);
	free(m->type);
	*m = REGISTRY_MANIFEST_INIT;
}

/* Whether the server says that what it sent has @digest; one that says nothing is believed. */
static bool header_agrees(const struct http_response *res, const struct digest *digest)
{
	struct digest said;

	if (!res->digest || strncmp(res->digest, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0)
		return true;
	if (digest_parse(res->digest + strlen(DIGEST_PREFIX),
	                 strlen(res->digest) - strlen(DIGEST_PREFIX), &said) < 0)
		return true;
	return digest_equal(&said, digest);
}

/* Make @ret of the body of @res. */
static int take_body(const struct registry *reg, struct http_response *res,
                     const struct digest *wanted, struct registry_manifest *ret, struct err *err)
{
	struct registry_manifest m = { .len = res->body_len };
	char hex[DIGEST_HEX_SIZE];

	if (!res->body)
		return err_set(err, -EPROTO, "'%s': the registry answers with nothing", reg->name);
	sha256(res->body, res->body_len, &m.digest);
	if (!header_agrees(res, &m.digest) || (wanted && !digest_equal(wanted, &m.digest)))
		return err_set(err, -EBADMSG,
		               "'%s': a manifest is damaged: its digest is sha256:%.12s… instead",
		               reg->name, digest_hex(&m.digest, hex));
	m.type = strdup(res->type ? res->type : "");
	if (!m.type)
		return err_set(err, -ENOMEM, "out of memory");
	m.bytes = TAKE_PTR(res->body);
	*ret = m;
	return 0;
}

/* A manifest that is wanted. */
struct wanted {
	const char *target;
	const struct digest *digest; /* or NULL */
	struct registry_manifest *ret;
};

/* For struct question. */
static int ask_get(struct registry *at, unsigned i, struct question *q, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	const struct wanted *w = q->arg;
	CLEANUP(free) char *url = registry_url(at, "manifests/", w->target);
	const struct http_request rq = {
		.method = "GET",
		.url = url,
		.accept = accepted,
		.max = MANIFEST_MAX,
	};
	char what[200];
	int r = url ? registry_request(at, &rq, &res, err) : err_set(err, -ENOMEM, "out of memory");

	(void)i;
	if (r < 0)
		return r;
	if (res.status == 200)
		return take_body(at, &res, w->digest, w->ret, err);
	(void)snprintf(what, sizeof(what), "image '%.100s'", w->target);
	return registry_refused(at, what, &res, err);
}

int registry_get_manifest(struct registry *reg, const char *target, const struct digest *digest,
                          struct registry_manifest *ret, struct err *err)
{
	struct wanted w = { .target = target, .digest = digest, .ret = ret };
	struct question q = { .ask = ask_get, .arg = &w };

	return registry_ask(reg, &q, err);
}

/* For struct question. Whatever refuses, but not for who we are, does not know the question. */
static int ask_referrers(struct registry *at, unsigned i, struct question *q, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	const struct wanted *w = q->arg;
	CLEANUP(free) char *url = registry_url(at, "referrers/", w->target);
	const struct http_request rq = {
		.method = "GET",
		.url = url,
		.accept = accepted,
		.max = MANIFEST_MAX,
	};
	int r = url ? registry_request(at, &rq, &res, err) : err_set(err, -ENOMEM, "out of memory");

	(void)i;
	if (r < 0)
		return r;
	if (res.status == 200 && res.type &&
	    strncmp(res.type, accepted, strcspn(accepted, ",")) == 0)
		return take_body(at, &res, /* wanted= */ NULL, w->ret, err);
	if (res.status == 401 || res.status == 403)
		return registry_refused(at, "reading", &res, err);
	return err_set(err, -ENOMEDIUM, "'%s' lists no referrers", at->name);
}

int registry_get_referrers(struct registry *reg, const struct digest *digest,
                           struct registry_manifest *ret, struct err *err)
{
	char target[sizeof(DIGEST_PREFIX) + DIGEST_HEX_SIZE] = DIGEST_PREFIX;
	struct wanted w = { .target = target, .ret = ret };
	struct question q = { .ask = ask_referrers, .arg = &w };
	int r;

	(void)digest_hex(digest, target + strlen(DIGEST_PREFIX));
	r = registry_ask(reg, &q, err);
	if (r != -ENOMEDIUM)
		return r;
	target[strlen(DIGEST_PREFIX) - 1] = '-';
	return registry_get_manifest(reg, target, /* digest= */ NULL, ret, err);
}

/* Something that may be there. */
struct sought {
	const char *what; /* "blobs/" or "manifests/" */
	const struct digest *digest;
};

/* For struct question. */
static int ask_has(struct registry *at, unsigned i, struct question *q, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	const struct sought *s = q->arg;
	CLEANUP(free) char *url = registry_digest_url(at, s->what, s->digest);
	const struct http_request rq = { .method = "HEAD", .url = url, .accept = accepted };
	int r = url ? registry_request(at, &rq, &res, err) : err_set(err, -ENOMEM, "out of memory");

	(void)i;
	if (r < 0)
		return r;
	if (res.status == 404)
		return -ENOENT;
	if (res.status / 100 == 2 || res.status == 307 || res.status == 302)
		return 1;
	return registry_refused(at, "reading", &res, err);
}

static int has(struct registry *reg, const char *what, const struct digest *digest, struct err *err)
{
	struct sought s = { .what = what, .digest = digest };
	struct question q = { .ask = ask_has, .arg = &s };
	int r = registry_ask(reg, &q, err);

	return r == -ENOENT ? 0 : r;
}

int registry_has_manifest(struct registry *reg, const struct digest *digest, struct err *err)
{
	return has(reg, "manifests/", digest, err);
}

int registry_has_blob(struct registry *reg, const struct digest *digest, struct err *err)
{
	return has(reg, "blobs/", digest, err);
}

int registry_put_manifest(struct registry *reg, const char *target,
                          const struct registry_manifest *m, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *url = registry_url(reg, "manifests/", target);
	const struct http_request rq = {
		.method = "PUT",
		.url = url,
		.type = m->type,
		.has_body = true,
		.body = m->bytes,
		.body_len = m->len,
		.max = MANIFEST_MAX,
	};
	int r = url ? registry_request(reg, &rq, &res, err)
	            : err_set(err, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	if (res.status / 100 != 2)
		return registry_refused(reg, "writing", &res, err);
	if (!header_agrees(&res, &m->digest))
		return err_set(err, -EPROTO, "'%s': the registry has changed a manifest",
		               reg->name);
	return 0;
}
