/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of whole files: of one, and of many on all cores. */
#pragma once

#include "base/hash.h"
#include "input.h"
#include "new_content.h"
#include "progress.h"

/* Hashes one file after the other, until one fails; belongs to one thread. */
struct hasher {
	struct input in;
	struct sha256 *hash; /* owned, or NULL before the first */
	uint8_t *buf;        /* owned, or NULL before the first */
};

#define HASHER_INIT ((struct hasher){ .in = INPUT_INIT })

/* The digest of the first @size bytes of @file. Returns as input_open(). */
MUST_CHECK int hasher_run(struct hasher *h, const struct tree_node *file, uint64_t size,
                          struct digest *ret, struct err *err);

void hasher_release(struct hasher *h);

static inline void hasher_release_cleanup(struct hasher *h)
{
	hasher_release(h);
}

/*
 * Set the digests of those of the @n contents at @list that are marked to_hash,
 * with @jobs threads. Returns 0; -EAGAIN when a file changed; -errno.
 */
MUST_CHECK int hash_contents(struct new_content *list, size_t n, unsigned jobs,
                             enum progress_kind kind, struct err *err);
