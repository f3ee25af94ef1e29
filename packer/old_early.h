/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the release that a build most likely starts from while its source is still being walked. */
#pragma once

#include "old.h"

struct old_early;

/*
 * Begin to open what @tag of the layout at @path, both borrowed, names now, by a thread of its own. The
 * layout need not be locked, nor exist. Returns NULL when memory runs out.
 */
struct old_early *old_early_begin(const char *path, const char *tag);

/* Waits for the thread. Accepts NULL. */
void old_early_free(struct old_early *early);

/*
 * As old_open() of the same path and tag, with the layout locked: what was opened, if that is what
 * the tag still names, and it is all there. Accepts NULL.
 */
MUST_CHECK int old_early_take(struct old_early *early, const char *path, const char *tag,
                              struct old *ret, struct err *err);
