/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the client share. */
#pragma once

#include "oci/auth.h"
#include "oci/http.h"
#include "oci/registry.h"

#define DIGEST_PREFIX "sha256:"

struct registry {
	struct http *http; /* owned */
	struct auth *auth; /* owned */
	char *name;        /* owned */
	char *base;        /* owned; URL up to and with "/v2/REPOSITORY/" */
	char *mount_from;  /* owned; or NULL */
	bool plain_http;
	unsigned attempts;
	uint64_t upload_chunk;
	uint64_t ignored_ranges; /* atomic */
};

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
