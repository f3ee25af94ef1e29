/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive chained hash table: entries embed a struct table_node, the
 * table owns only its buckets. Keys are compared by the caller, who walks the
 * nodes of equal hash:
 *
 *	for (n = table_first(t, h); n; n = table_next(n))
 *		if (the entry around n has the key) ...
 *
 * No locking: whoever owns the table serialises its use.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table {
	struct table_node **buckets; /* owned; n_buckets of them, a power of two, or NULL */
	size_t n_buckets;
	size_t n; /* entries */
};

#define TABLE_INIT ((struct table){ .buckets = NULL, .n_buckets = 0, .n = 0 })

/* The struct around @node, whose table_node is @member. */
#define TABLE_ENTRY(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* Free the buckets; the entries stay the caller's. */
void table_release(struct table *t);

/*
 * Add @node under @hash; equal hashes may repeat. Returns 0, or -ENOMEM with
 * the table unchanged (only the first insertion can fail: a table that cannot
 * grow gets slower).
 */
MUST_CHECK int table_insert(struct table *t, struct table_node *node, uint64_t hash);

/* Take out @node, which is in @t. */
void table_remove(struct table *t, struct table_node *node);

/* The first node of @hash, or NULL. */
struct table_node *table_first(const struct table *t, uint64_t hash);

/* The next node of the same hash, or NULL. */
struct table_node *table_next(const struct table_node *node);

/*
 * Visit every node, in no order: pass NULL for the first. Returns NULL after
 * the last. The table must not change between calls.
 */
struct table_node *table_walk(const struct table *t, const struct table_node *node);
