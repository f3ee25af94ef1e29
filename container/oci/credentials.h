/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are to a registry, from where docker and podman keep it. The first of these with something
 * for the repository counts: $REGISTRY_AUTH_FILE alone, when it is set; else
 * $DOCKER_CONFIG/config.json alone, when that is set; else
 * $XDG_RUNTIME_DIR/containers/auth.json, and ~/.docker/config.json. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct credentials {
	char *user;    /* owned */
	char *secret;  /* owned; a password, or a token when @identity */
	bool identity; /* the secret is to be exchanged for tokens */
};

#define CREDENTIALS_INIT ((struct credentials){ .user = NULL, .secret = NULL })

/* Overwrites the secret. */
void credentials_release(struct credentials *c);

static inline void credentials_release_cleanup(struct credentials *c)
{
	credentials_release(c);
}

/* What a configuration says of a repository. */
struct credentials_entry {
	struct credentials given;
	char *helper; /* owned; NAME of docker-credential-NAME, which is to be asked; or NULL */
};

#define CREDENTIALS_ENTRY_INIT ((struct credentials_entry){ .helper = NULL })

void credentials_entry_release(struct credentials_entry *e);

static inline void credentials_entry_release_cleanup(struct credentials_entry *e)
{
	credentials_entry_release(e);
}

/*
 * Look @host and @repository up in the @len bytes of a config.json at @text. Keys may have a
 * scheme, and name repositories below the host: the longest wins. Returns 1 with @ret filled in; 0
 * when there is nothing for them; -EBADMSG; -ENOMEM.
 */
MUST_CHECK int credentials_lookup(const char *text, size_t len, const char *host,
                                  const char *repository, struct credentials_entry *ret,
                                  struct err *err);

/*
 * Ask docker-credential-@name for @host. It has a minute to answer. Returns 1, 0 when it knows
 * none, or -errno.
 */
MUST_CHECK int credentials_ask_helper(const char *name, const char *host, struct credentials *ret,
                                      struct err *err);

/* Parse what a helper has answered, @len bytes. Returns 0 or -EBADMSG, -ENOMEM. */
MUST_CHECK int credentials_parse_answer(const char *text, size_t len, struct credentials *ret);

/* Search for credentials, and ask helpers. Returns 1, 0 when there are none, or -errno. */
MUST_CHECK int credentials_find(const char *host, const char *repository, struct credentials *ret,
                                struct err *err);
