/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <string.h>

enum { FRESH_SECONDS = 2 };

void source_release(struct source *source)
{
	arena_release(&source->arena);
	if (source->fd >= 0)
		(void)close(source->fd);
	*source = SOURCE_INIT;
}

const struct source *tree_source(const struct tree_node *node)
{
	while (node->parent)
		node = node->parent;
	return (const struct source *)(const void *)((const char *)node -
	                                             offsetof(struct source, root));
}

struct tree_node *tree_next(const struct tree_node *node)
{
	const struct tree_node *dir = node->parent ? node->parent : node;
	uint64_t i = node->parent ? (uint64_t)(node - dir->children) + 1 : 0;

	for (; dir; dir = dir->next_dir, i = 0) {
		for (; i < dir->n_children; i++) {
			if (!dir->children[i].other_name)
				return &dir->children[i];
		}
	}
	return NULL;
}

/* Bytes of the path of @node, with a slash or the NUL behind each component. */
static size_t path_size(const struct tree_node *node)
{
	size_t size = 0;

	for (; node->parent; node = node->parent)
		size += strlen(node->name) + 1;
	return size > 0 ? size : 1;
}

const char *tree_path(const struct tree_node *node, struct path_buf *buf)
{
	size_t at = path_size(node);

	if (!buf->text || at > buf->max) {
		char *grown = realloc(buf->text, at * 2);

		if (!grown)
			return NULL;
		buf->text = grown;
		buf->max = at * 2;
	}
	buf->text[at - 1] = '\0';
	for (const struct tree_node *n = node; n->parent; n = n->parent) {
		size_t len = strlen(n->name);

		at -= len + 1;
		memcpy(buf->text + at, n->name, len);
		if (n != node)
			buf->text[at + len] = '/';
	}
	return buf->text;
}

const char *tree_path_shown(const struct tree_node *node, char shown[static NAME_SHOWN_MAX])
{
	CLEANUP(path_buf_release) struct path_buf buf = PATH_BUF_INIT;
	const char *path = tree_path(node, &buf);

	return name_shown(path ? path : node->name, shown);
}

static size_t depth_of(const struct tree_node *node)
{
	size_t depth = 0;

	for (; node->parent; node = node->parent)
		depth++;
	return depth;
}

int tree_path_cmp(const struct tree_node *a, const struct tree_node *b)
{
	size_t deep_a, deep_b;
	int order;

	if (a->parent == b->parent)
		return a == b ? 0 : strcmp(a->name, b->name);
	deep_a = depth_of(a);
	deep_b = depth_of(b);
	order = deep_a < deep_b ? -1 : deep_a > deep_b;
	for (; deep_a > deep_b; deep_a--)
		a = a->parent;
	for (; deep_b > deep_a; deep_b--)
		b = b->parent;
	/* What differs nearest to the root decides. */
	for (; a != b && a->parent; a = a->parent, b = b->parent) {
		int names = strcmp(a->name, b->name);

		if (names != 0)
			order = names;
	}
	return order;
}

/* One round of splitmix64's finaliser (Steele et al., 2014). */
static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) + 0x9e3779b97f4a7c15u;
	hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9u;
	hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
	return hash ^ hash >> 31;
}

uint64_t tree_stamp(const struct stat *st)
{
	const uint64_t fields[] = {
		(uint64_t)st->st_dev,          (uint64_t)st->st_ino,
		(uint64_t)st->st_size,         (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
		(uint64_t)st->st_ctim.tv_nsec,
	};
	uint64_t hash = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		hash = mix(hash, fields[i]);
	return hash;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

bool tree_is_fresh(const struct stat *st, const struct timespec *began)
{
	const struct timespec from = {
		.tv_sec = began->tv_sec - FRESH_SECONDS,
		.tv_nsec = began->tv_nsec,
	};

	return !is_before(&st->st_mtim, &from) || !is_before(&st->st_ctim, &from);
}
