/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree is entered from its root, breadth first. A node that is never
 * reached has no name, or its directory is on a cycle apart from the root.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "names.h"
#include "verify_internal.h"

/* A row of table node, and what entries say of it. */
struct seen_node {
	struct node node;
	uint64_t n_names;   /* entries that name it */
	uint64_t n_entries; /* directory: its own */
	uint64_t n_subdirs;
};

struct tree_check {
	struct verifier *v;
	struct index *idx;       /* borrowed */
	struct seen_node *nodes; /* owned; in order of ino */
	size_t n_nodes;
	size_t nodes_max;
	size_t *queue; /* owned; places of directories that were reached */
	size_t n_queue;

	struct seen_node *dir;          /* being listed */
	char last[FORMAT_NAME_MAX + 1]; /* name of its entry before */
};

static void tree_check_release_cleanup(struct tree_check *t)
{
	free(t->nodes);
	free(t->queue);
}

static int add_node(void *arg, const struct node *node)
{
	struct tree_check *t = arg;
	struct seen_node *nodes = array_grow(t->nodes, t->n_nodes, &t->nodes_max, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	t->nodes = nodes;
	nodes[t->n_nodes++] = (struct seen_node){ .node = *node };
	return 0;
}

static int compare_ino(const void *key, const void *element)
{
	uint64_t ino = *(const uint64_t *)key;
	const struct seen_node *n = element;

	return ino < n->node.ino ? -1 : ino > n->node.ino;
}

static void check_name(struct tree_check *t, const struct dir_entry *e)
{
	unsigned long long ino = t->dir->node.ino;
	char shown[NAME_SHOWN_MAX];

	(void)name_shown(e->name, shown);
	if (e->name_len < 1 || e->name_len > FORMAT_NAME_MAX || strlen(e->name) != e->name_len ||
	    strchr(e->name, '/') || strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		finding(t->v, "directory %llu: '%s' is no file name", ino, shown);
	if (e->seq != t->dir->n_entries + 1)
		finding(t->v, "directory %llu: entry '%s' has seq %llu instead of %llu", ino, shown,
		        (unsigned long long)e->seq, (unsigned long long)t->dir->n_entries + 1);
	if (t->dir->n_entries > 0 && strcmp(t->last, e->name) >= 0)
		finding(t->v, "directory %llu: '%s' is out of order", ino, shown);
	(void)strncpy(t->last, e->name, FORMAT_NAME_MAX);
}

/* An entry: count it, and queue a directory when it is reached for the first time. */
static int check_entry(void *arg, const struct dir_entry *e)
{
	struct tree_check *t = arg;
	struct seen_node *child =
		bsearch(&e->node.ino, t->nodes, t->n_nodes, sizeof(*t->nodes), compare_ino);

	check_name(t, e);
	t->dir->n_entries++;
	if (!child) {
		finding(t->v, "directory %llu has an entry for inode %llu, which does not exist",
		        (unsigned long long)t->dir->node.ino, (unsigned long long)e->node.ino);
		return 0;
	}
	if (S_ISDIR(child->node.mode)) {
		t->dir->n_subdirs++;
		if (child->n_names == 0 && child->node.ino != FORMAT_ROOT_INO)
			t->queue[t->n_queue++] = (size_t)(child - t->nodes);
	}
	child->n_names++;
	return 0;
}

/* List what is below @n. Only a directory may have entries. */
static int list_node(struct tree_check *t, struct seen_node *n, struct err *err)
{
	int r;

	t->dir = n;
	t->last[0] = '\0';
	r = index_list(t->idx, n->node.ino, 0, check_entry, t, err);
	return r < 0 ? finding_or_error(t->v, r, err) : 0;
}

static void check_dir(struct tree_check *t, const struct seen_node *n)
{
	unsigned long long ino = n->node.ino;
	uint64_t names = ino == FORMAT_ROOT_INO ? 0 : 1;

	if (n->n_names != names)
		finding(t->v, "directory %llu has %llu names instead of %llu", ino,
		        (unsigned long long)n->n_names, (unsigned long long)names);
	if (n->node.size != n->n_entries)
		finding(t->v, "directory %llu has %llu entries, and says %llu", ino,
		        (unsigned long long)n->n_entries, (unsigned long long)n->node.size);
	if (n->node.nlink != n->n_subdirs + 2)
		finding(t->v, "directory %llu has %llu subdirectories, and a link count of %u", ino,
		        (unsigned long long)n->n_subdirs, n->node.nlink);
}

static void check_nodes(struct tree_check *t)
{
	const struct index_info *info = index_info(t->idx);
	uint64_t files = 0, bytes = 0;

	for (size_t i = 0; i < t->n_nodes; i++) {
		const struct seen_node *n = &t->nodes[i];

		if (S_ISREG(n->node.mode)) {
			files++;
			bytes += n->node.size;
		}
		if (S_ISDIR(n->node.mode)) {
			check_dir(t, n);
			continue;
		}
		if (n->n_entries > 0)
			finding(t->v, "inode %llu is no directory, and has entries",
			        (unsigned long long)n->node.ino);
		if (n->n_names == 0 || n->n_names != n->node.nlink)
			finding(t->v, "inode %llu has %llu names, and a link count of %u",
			        (unsigned long long)n->node.ino, (unsigned long long)n->n_names,
			        n->node.nlink);
	}
	if (info->n_nodes != t->n_nodes || info->n_files != files || info->bytes != bytes)
		finding(t->v, "table meta miscounts nodes, files or bytes");
}

/* Targets are read one by one: each is a row that may be wrong. */
static int check_target(struct tree_check *t, const struct seen_node *n, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	int r = index_target(t->idx, n->node.ino, target, err);

	if (r < 0)
		return finding_or_error(t->v, r, err);
	if (strlen(target) != n->node.size)
		finding(t->v, "link %llu has a target of %zu bytes, and says %llu",
		        (unsigned long long)n->node.ino, strlen(target),
		        (unsigned long long)n->node.size);
	return 0;
}

int verify_tree(struct verifier *v, struct image *img, struct err *err)
{
	CLEANUP(tree_check_release) struct tree_check t = { .v = v, .idx = image_index(img) };
	int r = index_each_node(t.idx, add_node, &t, err);

	/* Without all nodes nothing can be said of the tree. */
	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "out of memory")
		                    : finding_or_error(v, r, err);
	if (t.n_nodes == 0 || t.nodes[0].node.ino != FORMAT_ROOT_INO ||
	    !S_ISDIR(t.nodes[0].node.mode)) {
		finding(v, "inode 1 is not the root directory");
		return 0;
	}
	t.queue = calloc(t.n_nodes, sizeof(*t.queue));
	if (!t.queue)
		return err_set(err, -ENOMEM, "out of memory");
	t.queue[t.n_queue++] = 0;
	for (size_t i = 0; r == 0 && i < t.n_queue; i++)
		r = list_node(&t, &t.nodes[t.queue[i]], err);
	for (size_t i = 0; r == 0 && i < t.n_nodes; i++) {
		if (!S_ISDIR(t.nodes[i].node.mode))
			r = list_node(&t, &t.nodes[i], err);
		if (r == 0 && S_ISLNK(t.nodes[i].node.mode))
			r = check_target(&t, &t.nodes[i], err);
	}
	if (r == 0)
		check_nodes(&t);
	return r;
}
