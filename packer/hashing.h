/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing whole files on all cores. */
#pragma once

#include "new_content.h"
#include "progress.h"

/*
 * Set the digests of those of the @n contents at @list that are marked to_hash,
 * with @jobs threads. Returns 0; -EAGAIN when a file changed; -errno.
 */
MUST_CHECK int hash_contents(struct new_content *list, size_t n, unsigned jobs,
                             enum progress_kind kind, struct err *err);
