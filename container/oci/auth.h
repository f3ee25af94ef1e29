/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shown to one registry, for one repository: nothing until it asks, then a password or a
 * token, which is renewed when it is refused or about to expire. Any thread; of threads that need a
 * new token at once, one gets it.
 */
#pragma once

#include <stdbool.h>

#include "oci/http.h"

struct auth;
struct credentials_text;

struct auth_options {
	const char *host;       /* with its port */
	const char *repository; /* whose blobs and manifests are wanted */
	const char *also;       /* repository of the host to be read, too; or NULL */
	struct credentials_text
		*credentials; /* borrowed; come before those that are found; or NULL */
	bool push;            /* it is to be written */
	bool plain;           /* secrets may be sent over http to others than this machine */
};

/* @http outlives the result. Returns 0 or -ENOMEM. */
MUST_CHECK int auth_new(struct http *http, const struct auth_options *options, struct auth **ret,
                        struct err *err);

/* Accepts NULL. */
void auth_free(struct auth *auth);

/*
 * Value for the header Authorization in *@ret, which the caller frees; NULL while there is none.
 * *@version tells it from others. Returns 0; an error of auth_renew().
 */
MUST_CHECK int auth_header(struct auth *auth, char **ret, unsigned *version, struct err *err);

/*
 * The server has answered what auth_header() gave as @version with @challenge, its
 * WWW-Authenticate, or NULL. Get something better. Credentials are searched for anew: they may have been
 * renewed on disk.
 *
 * Returns 0; -EKEYREJECTED when there are no credentials, or they are refused; what http_exchange() returns;
 * -EAGAIN when who gives tokens says that it cannot now; -errno.
 */
MUST_CHECK int auth_renew(struct auth *auth, const char *challenge, unsigned version,
                          struct err *err);
