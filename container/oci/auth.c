/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/auth.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "oci/challenge.h"
#include "oci/credentials_text.h"
#include "oci/json_text.h"
#include "oci/plain_text.h"
#include "oci/url.h"

enum {
	ANSWER_MAX = 1 << 20,
	LIFE_S = 60,  /* of a token that does not say how long it lives */
	SPARE_S = 10, /* a token is renewed this long before its end, or in its last tenth */
};

struct auth {
	struct http *http;                    /* borrowed */
	char *host;                           /* owned */
	char *repository;                     /* owned */
	char *scope;                          /* owned; what is asked for */
	struct credentials_text *credentials; /* owned reference; or NULL */
	bool push;
	bool plain;

	pthread_mutex_t lock;
	pthread_cond_t renewed;
	bool renewing;              /* under lock: a thread is at it, without the lock */
	char *header;               /* owned; under lock */
	unsigned version;           /* under lock; of header */
	time_t renew_at;            /* under lock; monotonic; 0: never */
	struct challenge challenge; /* under lock; the last one */
};

static void free_secret(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}
DEFINE_CLEANUP(char *, free_secret)

static void escaped_free(char *text)
{
	curl_free(text);
}
DEFINE_CLEANUP(char *, escaped_free)

static time_t now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static char *make_scope(const struct auth_options *o)
{
	char *text;
	int n = asprintf(&text, "repository:%s:%s%s%s%s", o->repository,
	                 o->push ? "pull,push" : "pull", o->also ? " repository:" : "",
	                 o->also ? o->also : "", o->also ? ":pull" : "");

	return n < 0 ? NULL : text;
}

int auth_new(struct http *http, const struct auth_options *options, struct auth **ret,
             struct err *err)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return err_set(err, -ENOMEM, "out of memory");
	auth->http = http;
	auth->push = options->push;
	auth->plain = options->plain;
	if (options->credentials)
		auth->credentials = credentials_text_ref(options->credentials);
	auth->host = strdup(options->host);
	auth->repository = strdup(options->repository);
	auth->scope = make_scope(options);
	(void)pthread_mutex_init(&auth->lock, NULL);
	(void)pthread_cond_init(&auth->renewed, NULL);
	if (!auth->host || !auth->repository || !auth->scope) {
		auth_free(auth);
		return err_set(err, -ENOMEM, "out of memory");
	}
	*ret = auth;
	return 0;
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	(void)pthread_mutex_destroy(&auth->lock);
	(void)pthread_cond_destroy(&auth->renewed);
	free_secret(auth->header);
	credentials_text_unref(auth->credentials);
	free(auth->host);
	free(auth->repository);
	free(auth->scope);
	free(auth);
}

/* "Basic " and base64 of USER:SECRET: a new string, or NULL. */
static char *basic_header(const struct credentials *c)
{
	CLEANUP(free_secret) char *plain = NULL;
	static const char prefix[] = "Basic ";
	char *header;
	size_t len;

	if (asprintf(&plain, "%s:%s", c->user, c->secret) < 0) {
		plain = NULL;
		return NULL;
	}
	len = strlen(plain);
	header = malloc(sizeof(prefix) + (len + 2) / 3 * 4);
	if (!header)
		return NULL;
	memcpy(header, prefix, sizeof(prefix));
	(void)EVP_EncodeBlock((unsigned char *)header + strlen(prefix),
	                      (const unsigned char *)plain, (int)len);
	return header;
}

/* What a token server has said, and what is made of it. */
struct grant {
	char *header; /* owned */
	uint64_t life_s;
};

/* Turn the answer of a token server into a header. */
static int read_token(const struct http_response *res, struct grant *ret, struct err *err)
{
	CLEANUP(json_unref)
	json_t *root = json_text_object(res->body ? res->body : "", res->body_len);
	const char *token = json_text_member(root, "token");
	json_int_t life = json_integer_value(json_object_get(root, "expires_in"));

	if (token[0] == '\0')
		token = json_text_member(root, "access_token");
	if (token[0] == '\0' || strpbrk(token, "\r\n"))
		return err_set(err, -EPROTO, "its token server has answered without a token");
	ret->life_s = life > 0 ? (uint64_t)life : LIFE_S;
	if (asprintf(&ret->header, "Bearer %s", token) < 0) {
		ret->header = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Judge the answer of the token server. Returns as auth_renew(). */
static int judge_token(const struct auth *auth, const struct http_response *res, bool known,
                       struct grant *ret, struct err *err)
{
	if (res->status == 200)
		return read_token(res, ret, err);
	if (http_is_transient(0, res->status))
		return err_set(err, -EAGAIN, "its token server has answered with status %ld",
		               res->status);
	if (res->status == 400 || res->status == 401 || res->status == 403 || res->status == 404)
		return err_set(
			err, -EKEYREJECTED,
			known ? "credentials for '%s' are refused, by its token server with "
				"status %ld; log in again"
			      : "'%s' wants credentials, and there are none: log in, as with "
				"'docker login' (status %ld)",
			auth->host, res->status);
	return err_set(err, -EPROTO, "its token server has answered with status %ld", res->status);
}

/* Ask the realm with GET, showing a password if there is one. */
static int get_token(struct auth *auth, const struct challenge *c, const char *scope,
                     const struct credentials *who, struct grant *ret, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *with_service = NULL;
	CLEANUP(free) char *url = NULL;
	CLEANUP(free_secret) char *basic = who ? basic_header(who) : NULL;
	struct http_request rq = { .method = "GET", .max = ANSWER_MAX };
	int r;

	with_service = c->service[0] != '\0' ? url_with_query(c->realm, "service", c->service)
	                                     : strdup(c->realm);
	url = with_service ? url_with_query(with_service, "scope", scope) : NULL;
	if (!url || (who && !basic))
		return err_set(err, -ENOMEM, "out of memory");
	rq.url = url;
	rq.authorization = basic;
	r = http_exchange(auth->http, &rq, &res, err);
	if (r < 0)
		return err_wrap(err, r, "token server");
	return judge_token(auth, &res, who, ret, err);
}

/* Ask the realm with POST, showing an identity token. */
static int exchange_token(struct auth *auth, const struct challenge *c, const char *scope,
                          const struct credentials *who, struct grant *ret, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(escaped_free) char *service = curl_easy_escape(NULL, c->service, 0);
	CLEANUP(escaped_free) char *escaped = curl_easy_escape(NULL, scope, 0);
	CLEANUP(escaped_free) char *secret = curl_easy_escape(NULL, who->secret, 0);
	CLEANUP(free_secret) char *form = NULL;
	struct http_request rq = {
		.method = "POST",
		.url = c->realm,
		.type = "application/x-www-form-urlencoded",
		.has_body = true,
		.max = ANSWER_MAX,
	};
	int r;

	if (!service || !escaped || !secret ||
	    asprintf(&form,
	             "grant_type=refresh_token&client_id=assetfs&service=%s&scope=%s"
	             "&refresh_token=%s",
	             service, escaped, secret) < 0) {
		form = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	rq.body = form;
	rq.body_len = strlen(form);
	r = http_exchange(auth->http, &rq, &res, err);
	if (r < 0)
		return err_wrap(err, r, "token server");
	return judge_token(auth, &res, /* known= */ true, ret, err);
}

static int get_bearer(struct auth *auth, const struct challenge *c, const struct credentials *who,
                      struct grant *ret, struct err *err)
{
	/* A mirror may know the repository by another name; who writes needs more than it asks for. */
	const char *scope = auth->push || c->scope[0] == '\0' ? auth->scope : c->scope;

	if (url_is_plain(c->realm) && !url_is_loopback(c->realm) && !auth->plain)
		return err_set(err, -EPROTO,
		               "its token server has no https; --plain-http allows it");
	return who && who->identity ? exchange_token(auth, c, scope, who, ret, err)
	                            : get_token(auth, c, scope, who, ret, err);
}

static int find_credentials(const struct auth *auth, struct credentials *ret, struct err *err)
{
	int found = 0;

	if (auth->credentials)
		found = credentials_text_find(auth->credentials, auth->host, auth->repository, ret,
		                              err);
	return found != 0 ? found : credentials_find(auth->host, auth->repository, ret, err);
}

/* Get what answers @c. Without the lock. */
static int get_grant(struct auth *auth, const struct challenge *c, struct grant *ret,
                     struct err *err)
{
	CLEANUP(credentials_release) struct credentials who = CREDENTIALS_INIT;
	int found = find_credentials(auth, &who, err);

	*ret = (struct grant){ .header = NULL };
	if (found < 0)
		return found;
	if (c->kind == CHALLENGE_BEARER)
		return get_bearer(auth, c, found ? &who : NULL, ret, err);
	if (!found)
		return err_set(err, -EKEYREJECTED,
		               "'%s' wants credentials, and there are none: log in, as with "
		               "'docker login'",
		               auth->host);
	ret->header = basic_header(&who);
	return ret->header ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Take @grant over. With the lock held. */
static void install(struct auth *auth, struct grant *grant)
{
	uint64_t spare = grant->life_s / 10 < SPARE_S ? grant->life_s / 10 : SPARE_S;

	free_secret(auth->header);
	auth->header = TAKE_PTR(grant->header);
	auth->renew_at = grant->life_s > 0 ? now_s() + (time_t)(grant->life_s - spare) : 0;
	auth->version++;
}

/* Replace what has @version, unless somebody has or does. @c is copied to the stack first: it may change. */
static int renew(struct auth *auth, const struct challenge *c, unsigned version, struct err *err)
{
	const struct challenge challenge = *c;
	struct grant grant;
	int r;

	(void)pthread_mutex_lock(&auth->lock);
	while (auth->renewing)
		(void)pthread_cond_wait(&auth->renewed, &auth->lock);
	if (auth->version != version) {
		(void)pthread_mutex_unlock(&auth->lock);
		return 0;
	}
	auth->renewing = true;
	(void)pthread_mutex_unlock(&auth->lock);
	r = get_grant(auth, &challenge, &grant, err);
	(void)pthread_mutex_lock(&auth->lock);
	if (r == 0) {
		install(auth, &grant);
		auth->challenge = challenge;
	}
	auth->renewing = false;
	(void)pthread_cond_broadcast(&auth->renewed);
	(void)pthread_mutex_unlock(&auth->lock);
	return r;
}

int auth_renew(struct auth *auth, const char *challenge, unsigned version, struct err *err)
{
	struct challenge c = { .kind = CHALLENGE_NONE };

	if (challenge)
		challenge_parse(challenge, &c);
	if (c.kind == CHALLENGE_NONE) {
		/* Some say 403 when a token has expired, and no more. */
		(void)pthread_mutex_lock(&auth->lock);
		c = auth->challenge;
		(void)pthread_mutex_unlock(&auth->lock);
	}
	if (c.kind == CHALLENGE_NONE)
		return err_set(err, -EKEYREJECTED,
		               "'%s' refuses, and asks for no credentials that are known here",
		               auth->host);
	return renew(auth, &c, version, err);
}

/* Copy what there is. Returns whether it is about to expire. */
static bool copy_header(struct auth *auth, char **ret, unsigned *version, struct challenge *c,
                        struct err *err, int *r)
{
	bool old;

	(void)pthread_mutex_lock(&auth->lock);
	*version = auth->version;
	*c = auth->challenge;
	old = auth->renew_at > 0 && now_s() >= auth->renew_at;
	*ret = auth->header ? strdup(auth->header) : NULL;
	*r = auth->header && !*ret ? err_set(err, -ENOMEM, "out of memory") : 0;
	(void)pthread_mutex_unlock(&auth->lock);
	return old;
}

int auth_header(struct auth *auth, char **ret, unsigned *version, struct err *err)
{
	CLEANUP(free_secret) char *header = NULL;
	struct challenge c;
	int r;

	if (copy_header(auth, &header, version, &c, err, &r) && r == 0) {
		free_secret(TAKE_PTR(header));
		r = renew(auth, &c, *version, err);
		if (r == 0)
			(void)copy_header(auth, &header, version, &c, err, &r);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(header);
	return 0;
}
