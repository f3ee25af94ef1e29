/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_BUCKETS = 64 };

void table_release(struct table *t)
{
	free(t->buckets);
	*t = TABLE_INIT;
}

/* Hashes come from digests, counters and pointers: mix, so that any of them spreads. */
static struct table_node **bucket_of(const struct table *t, uint64_t hash)
{
	return &t->buckets[(hash * 0x9e3779b97f4a7c15u >> 20) & (t->n_buckets - 1)];
}

static void push(struct table *t, struct table_node *node)
{
	struct table_node **head = bucket_of(t, node->hash);

	node->next = *head;
	*head = node;
}

static int grow(struct table *t)
{
	struct table old = *t;
	size_t n = old.n_buckets > 0 ? old.n_buckets * 2 : FIRST_BUCKETS;
	struct table_node **buckets = calloc(n, sizeof(struct table_node *));

	if (!buckets)
		return old.n_buckets > 0 ? 0 : -ENOMEM;
	t->buckets = buckets;
	t->n_buckets = n;
	for (size_t i = 0; i < old.n_buckets; i++) {
		for (struct table_node *node = old.buckets[i], *next; node; node = next) {
			next = node->next;
			push(t, node);
		}
	}
	free(old.buckets);
	return 0;
}

int table_insert(struct table *t, struct table_node *node, uint64_t hash)
{
	if (t->n >= t->n_buckets) {
		int r = grow(t);

		if (r < 0)
			return r;
	}
	node->hash = hash;
	push(t, node);
	t->n++;
	return 0;
}

void table_remove(struct table *t, struct table_node *node)
{
	struct table_node **link = bucket_of(t, node->hash);

	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	t->n--;
}

static struct table_node *skip_others(struct table_node *node, uint64_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
	return t->n_buckets > 0 ? skip_others(*bucket_of(t, hash), hash) : NULL;
}

struct table_node *table_next(const struct table_node *node)
{
	return skip_others(node->next, node->hash);
}

struct table_node *table_walk(const struct table *t, const struct table_node *node)
{
	struct table_node **bucket = t->buckets;

	if (node) {
		if (node->next)
			return node->next;
		bucket = bucket_of(t, node->hash) + 1;
	}
	for (; bucket < t->buckets + t->n_buckets; bucket++) {
		if (*bucket)
			return *bucket;
	}
	return NULL;
}
