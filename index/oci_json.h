/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers and writers of OCI objects share beyond libjansson. */
#pragma once

#include <jansson.h>

#include "base/hash.h"
#include "layout.h"

#define FORMAT_TYPE_PREFIX "application/vnd.assetfs."

DEFINE_CLEANUP(json_t *, json_decref)

/* Parse @len bytes that must be a JSON object; @what names it in messages. */
MUST_CHECK int json_parse_object(const char *text, size_t len, const char *what, json_t **ret,
                                 struct err *err);

/* Parse "sha256:" and 64 digits. Returns 0 or -EINVAL. */
MUST_CHECK int json_digest(const char *text, struct digest *ret);

/* Read "digest" and "size" of a descriptor. Returns 0 or -EBADMSG. */
MUST_CHECK int json_descriptor(const json_t *object, struct descriptor *ret, struct err *err);

/* A new string, as json_digest() reads it, or NULL when memory runs out. */
json_t *json_from_digest(const struct digest *digest);

/* A new descriptor object, or NULL when memory runs out. */
json_t *json_from_descriptor(const char *media_type, const struct descriptor *d);
