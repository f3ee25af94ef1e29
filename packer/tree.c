/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes are placed breadth first, so the array of nodes is its own queue: a
 * directory's children are appended behind everything that was found before.
 */
#include "tree.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "format.h"
#include "grow.h"

static void node_free(struct tree_node *node)
{
	for (size_t i = 0; i < node->n_entries; i++)
		free(node->entries[i].name);
	for (size_t i = 0; i < node->n_xattrs; i++) {
		free(node->xattrs[i].name);
		free(node->xattrs[i].value);
	}
	free(node->entries);
	free(node->xattrs);
	free(node->target);
	free(node->path);
	free(node);
}

void source_release(struct source *source)
{
	for (struct tree_node *node = source->nodes, *next; node; node = next) {
		next = node->next;
		node_free(node);
	}
	if (source->fd >= 0)
		(void)close(source->fd);
	*source = SOURCE_INIT;
}

void platform_tree_release(struct platform_tree *tree)
{
	free(tree->nodes);
	free(tree->entries);
	*tree = PLATFORM_TREE_INIT;
}

/* A platform's tree in the making. */
struct placing {
	struct platform_tree *tree;
	unsigned platform;
	/* For each place: the directory of the overlay that is merged into it, or NULL. */
	struct tree_node **over; /* owned; nodes_max of them */
};

static void count(struct platform_tree *tree, const struct tree_node *node)
{
	if (S_ISREG(node->mode)) {
		tree->n_files++;
		tree->bytes += node->size;
	} else if (S_ISDIR(node->mode)) {
		tree->n_dirs++;
	} else {
		tree->n_links++;
	}
}

/* Room for one more node, and beside it for what is merged into it. */
static int reserve_node(struct placing *p)
{
	struct platform_tree *tree = p->tree;
	size_t max = tree->nodes_max;
	struct placed_node *nodes =
		array_grow(tree->nodes, tree->n_nodes, &tree->nodes_max, sizeof(*tree->nodes));
	struct tree_node **over;

	if (!nodes)
		return -ENOMEM;
	tree->nodes = nodes;
	if (tree->nodes_max == max)
		return 0;
	over = reallocarray(p->over, tree->nodes_max, sizeof(struct tree_node *));
	if (!over)
		return -ENOMEM;
	p->over = over;
	return 0;
}

/* Place @node, with @over to be merged into it, unless an earlier name has. */
static int place_node(struct placing *p, struct tree_node *node, struct tree_node *over)
{
	struct platform_tree *tree = p->tree;

	if (node->place_platform == p->platform + 1)
		return 0;
	if (reserve_node(p) < 0)
		return -ENOMEM;
	node->place_platform = p->platform + 1;
	node->place = tree->n_nodes;
	node->platforms |= 1u << p->platform;
	p->over[tree->n_nodes] = over;
	tree->nodes[tree->n_nodes++] = (struct placed_node){
		.node = node,
		.nlink = S_ISDIR(node->mode) ? 2 : 0,
	};
	count(tree, node);
	return 0;
}

/* Add an entry at the end of directory @dir: @node, with @over merged into it. */
static int place_entry(struct placing *p, size_t dir, const char *name, struct tree_node *node,
                       struct tree_node *over)
{
	struct platform_tree *tree = p->tree;
	struct placed_entry *entries = array_grow(tree->entries, tree->n_entries,
	                                          &tree->entries_max, sizeof(*tree->entries));

	if (!entries)
		return -ENOMEM;
	tree->entries = entries;
	if (place_node(p, node, over) < 0)
		return -ENOMEM;
	entries[tree->n_entries++] = (struct placed_entry){ .name = name, .place = node->place };
	tree->nodes[dir].n_entries++;
	tree->nodes[S_ISDIR(node->mode) ? dir : node->place].nlink++;
	return 0;
}

/* Two entries of one name: directories are merged, else the overlay's is what counts. */
static int place_both(struct placing *p, size_t dir, const struct tree_entry *base,
                      const struct tree_entry *over)
{
	if (S_ISDIR(base->node->mode) && S_ISDIR(over->node->mode))
		return place_entry(p, dir, base->name, base->node, over->node);
	return place_entry(p, dir, over->name, over->node, NULL);
}

/* Merge the sorted entries of the directory at @dir with those laid over it. */
static int place_children(struct placing *p, size_t dir)
{
	const struct tree_node *base = p->tree->nodes[dir].node;
	const struct tree_entry *a = base->entries;
	const struct tree_entry *a_end = a ? a + base->n_entries : NULL;
	const struct tree_entry *b = p->over[dir] ? p->over[dir]->entries : NULL;
	const struct tree_entry *b_end = b ? b + p->over[dir]->n_entries : NULL;
	int r = 0;

	p->tree->nodes[dir].first_entry = p->tree->n_entries;
	while (r == 0 && a < a_end && b < b_end) {
		int order = strcmp(a->name, b->name);

		if (order < 0)
			r = place_entry(p, dir, a->name, a->node, NULL);
		else if (order > 0)
			r = place_entry(p, dir, b->name, b->node, NULL);
		else
			r = place_both(p, dir, a, b);
		a += order <= 0;
		b += order >= 0;
	}
	for (; r == 0 && a < a_end; a++)
		r = place_entry(p, dir, a->name, a->node, NULL);
	for (; r == 0 && b < b_end; b++)
		r = place_entry(p, dir, b->name, b->node, NULL);
	return r;
}

int platform_tree_build(const struct source *base, const struct source *over, unsigned platform,
                        struct platform_tree *ret, struct err *err)
{
	struct platform_tree tree = PLATFORM_TREE_INIT;
	struct placing p = { .tree = &tree, .platform = platform, .over = NULL };
	int r = place_node(&p, base->root, over ? over->root : NULL);

	for (size_t place = 0; r == 0 && place < tree.n_nodes; place++) {
		if (S_ISDIR(tree.nodes[place].node->mode))
			r = place_children(&p, place);
	}
	free(p.over);
	if (r < 0) {
		platform_tree_release(&tree);
		return err_set(err, r, "out of memory");
	}
	*ret = tree;
	return 0;
}
