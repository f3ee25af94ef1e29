/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials that somebody gave along with what they are for: the text of a config.json, which
 * can be replaced while it is in use. Shared by reference. Any thread.
 */
#pragma once

#include "base/cleanup.h"
#include "oci/credentials.h"

struct credentials_text;

/* @text, which is copied, or NULL: nothing yet. Returns NULL when memory runs out. */
struct credentials_text *credentials_text_new(const char *text);

struct credentials_text *credentials_text_ref(struct credentials_text *t);

/* Accepts NULL. */
void credentials_text_unref(struct credentials_text *t);
DEFINE_CLEANUP(struct credentials_text *, credentials_text_unref)

/* Replace it. Returns 0 or -ENOMEM. */
MUST_CHECK int credentials_text_set(struct credentials_text *t, const char *text);

/* A copy, to be given back to credentials_secret_free(); NULL when there is nothing, or no memory. */
char *credentials_text_copy(struct credentials_text *t);

/* Overwrites @text. Accepts NULL. */
void credentials_secret_free(char *text);
DEFINE_CLEANUP(char *, credentials_secret_free)

/* Whether @text can be used. Returns 0; -EINVAL when it is no JSON object; -EFBIG. */
MUST_CHECK int credentials_text_check(const char *text, struct err *err);

/*
 * As credentials_find(), in the text alone. Helpers are programs, which nobody but whoever runs
 * this process may choose: -EKEYREJECTED where the text names one.
 */
MUST_CHECK int credentials_text_find(struct credentials_text *t, const char *host,
                                     const char *repository, struct credentials *ret,
                                     struct err *err);
