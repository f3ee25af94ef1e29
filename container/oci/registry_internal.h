/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the client share. */
#pragma once

#include "oci/auth.h"
#include "oci/http.h"
#include "oci/registry.h"

#define DIGEST_PREFIX "sha256:"

enum { MIRRORS_MAX = 16 };

struct registry {
	struct http *http; /* owned, but for mirrors: the registry's */
	struct auth *auth; /* owned */
	char *name;        /* owned */
	char *base;        /* owned; URL up to and with "/v2/REPOSITORY/" */
	char *query;       /* owned; of all requests of a mirror, "?ns=HOST"; or NULL */
	char *mount_from;  /* owned; or NULL */
	bool plain_http;
	unsigned attempts;
	uint64_t upload_chunk;
	uint64_t ignored_ranges; /* atomic */
	bool one_range;          /* atomic; it does not understand several in a request */

	struct registry *mirrors[MIRRORS_MAX]; /* owned; mirrors have none */
	unsigned n_mirrors;
	int64_t rests_until; /* atomic; of a mirror: monotonic seconds */
	void (*note)(void *arg, const char *line);
	void *note_arg;
};

/* Open what @ref names at @scheme, with nothing but what is common to registries and mirrors. */
MUST_CHECK int registry_open_at(struct http *http, const struct reference *ref, const char *scheme,
                                const struct registry_options *options, struct registry **ret,
                                struct err *err);

/* Open the mirrors of @ref's host for @reg. */
MUST_CHECK int registry_open_mirrors(struct registry *reg, const struct reference *ref,
                                     const struct registry_options *options, struct err *err);

/* Something to be asked of mirrors and the registry. */
struct question {
	/*
	 * Ask @at, the @i-th. Returns -ENOENT or -ENOMEDIUM when it has not what is wanted; an
	 * error, which may be its own, or set @stop; 0 or more: done.
	 */
	int (*ask)(struct registry *at, unsigned i, struct question *q, struct err *err);
	void *arg;
	uint32_t not ; /* whom not to ask; a bit for each, the registry's behind the mirrors' */
	bool stop;     /* nobody else is to be asked */
};

/* Ask until somebody knows. Returns what ask() returned last. */
MUST_CHECK int registry_ask(struct registry *reg, struct question *q, struct err *err);

/*
 * What those in @from gave of @digest is wrong: say so, once, and ask mirrors among them last
 * for a while.
 */
void registry_blame(struct registry *reg, struct registry_sources *from,
                    const struct digest *digest);

/*
 * Who is to be asked first of those who are not in @not: *@ret, or NULL. Returns which one it
 * is.
 */
unsigned registry_first(struct registry *reg, uint32_t not, struct registry **ret);

/* Tries of one request, or of one transfer. */
struct tries {
	const struct registry *reg;
	unsigned n; /* failures since the last progress */
};

/*
 * Wait after failure @r, or an answer @res with a status that may pass. Returns 0 to try
 * again; else @r, or an error that tells of the status.
 */
MUST_CHECK int tries_wait(struct tries *t, int r, const struct http_response *res, struct err *err);

/* URL of @what ("blobs/", "manifests/") and @target: a new string, or NULL. */
char *registry_url(const struct registry *reg, const char *what, const char *target);

/* As registry_url(), of a digest. */
char *registry_digest_url(const struct registry *reg, const char *what,
                          const struct digest *digest);

/*
 * Perform @rq: shows credentials to the registry, and to nobody else, renews them, follows redirects.
 * An answer that it leads to elsewhere, and that is a refusal, is -EAGAIN: an address that has expired.
 * Returns as http_exchange(), and -EKEYREJECTED.
 */
MUST_CHECK int registry_exchange(struct registry *reg, const struct http_request *rq,
                                 struct http_response *ret, struct err *err);

/* As registry_exchange(), tried again while that may help. For requests without take(). */
MUST_CHECK int registry_request(struct registry *reg, const struct http_request *rq,
                                struct http_response *ret, struct err *err);

/* Say that the answer @res to @what is not what was wanted. Returns an error of registry.h. */
int registry_refused(const struct registry *reg, const char *what, const struct http_response *res,
                     struct err *err);
