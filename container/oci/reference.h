/* SPDX-License-Identifier: Apache-2.0 */
/* Names of images in registries: HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGITS]. Any thread. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/hash.h"

struct reference {
	char *host;       /* owned; with the port when one was given */
	char *repository; /* owned */
	char *tag;        /* owned; "latest" when the text has neither tag nor digest; or NULL */
	struct digest digest; /* of the manifest, when pinned */
	bool pinned;
};

#define REFERENCE_INIT \
	((struct reference){ .host = NULL, .repository = NULL, .tag = NULL, .pinned = false })

/*
 * Parse @text. A host has a '.' or a ':' in it, or is "localhost", or an IPv6 address in brackets.
 * Returns 0, -EINVAL or -ENOMEM.
 */
MUST_CHECK int reference_parse(const char *text, struct reference *ret, struct err *err);
void reference_release(struct reference *ref);

static inline void reference_release_cleanup(struct reference *ref)
{
	reference_release(ref);
}

/* Whether @name can be a repository: parts of lower-case letters and digits between '/'. */
bool reference_is_repository(const char *name);

/* What names the manifest in requests, the digest before the tag: a new string, or NULL. */
char *reference_target(const struct reference *ref);
