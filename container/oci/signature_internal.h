/* SPDX-License-Identifier: Apache-2.0 */
/* What the two kinds of signatures share. */
#pragma once

#include "oci/signature.h"

enum { SIGNATURE_ITEMS_MAX = 64 }; /* signatures, or manifests that refer to an image */

/* Path of the file that the key is from; borrowed. */
const char *signature_key_path(const struct signature_key *key);

/* Parse "sha256:" and 64 digits. Returns 0 or -EINVAL. */
int signature_parse_digest(const char *text, struct digest *ret);

/*
 * Decode @text, base64 of at most @max bytes; @what is its name in messages. Returns the length of
 * *@ret, which the caller frees; -EBADMSG; -ENOMEM.
 */
MUST_CHECK int signature_decode(const char *text, size_t max, const char *what, char **ret,
                                struct err *err);

/* Whether @base64 is the key's signature of the @len bytes at @data: 1, 0, -EBADMSG, -ENOMEM. */
MUST_CHECK int signature_fits(const struct signature_key *key, const char *data, size_t len,
                              const char *base64, struct err *err);
