/* SPDX-License-Identifier: Apache-2.0 */
/* What an OCI index or manifest names, ours or anybody's. Performs no I/O; any thread. */
#pragma once

#include "layout.h"

/* What is expected of a blob that is named. */
enum reach_role {
	REACH_LEAF,     /* names no others */
	REACH_MANIFEST, /* names others: an index or a manifest */
	REACH_SUBJECT,  /* as REACH_MANIFEST; OCI lets it be missing */
};

/* Returns 0 to go on, or -errno with a message. */
typedef int (*reach_fn)(void *arg, const struct descriptor *d, enum reach_role role,
                        struct err *err);

/*
 * Call @fn for all that the @len bytes of JSON at @text name; @what is their name
 * in messages. A size may be 0. Returns 0; -EBADMSG when they are neither an index nor a
 * manifest, or name something that cannot be followed; -ENOMEM; what @fn returned.
 */
MUST_CHECK int reach_parse(const char *text, size_t len, const char *what, reach_fn fn, void *arg,
                           struct err *err);
