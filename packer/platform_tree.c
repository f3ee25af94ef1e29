/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes are placed breadth first, so the array of nodes is its own queue: a
 * directory's children are appended behind everything that was found before.
 * Whoever goes through the entries again meets the nodes in that order, but for
 * those that have an earlier name, whose places are kept beside.
 */
#include "platform_tree.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"

void platform_tree_release(struct platform_tree *tree)
{
	free(tree->nodes);
	free(tree->merged);
	free(tree->again);
	*tree = PLATFORM_TREE_INIT;
}

void tree_entries_begin(struct tree_entries *e, uint32_t place)
{
	const struct platform_tree *t = e->tree;
	const struct tree_node *base = t->nodes[place].node;
	const struct tree_node *over = NULL;

	if (e->n_merged < t->n_merged && t->merged[e->n_merged].place == place)
		over = t->merged[e->n_merged++].over;
	e->base = base->children;
	e->base_end = base->children ? base->children + base->n_children : NULL;
	e->over = over ? over->children : NULL;
	e->over_end = e->over ? e->over + over->n_children : NULL;
}

/*
 * The next of the sorted entries of a directory and of what is laid over it, or
 * NULL. Of two of one name, directories are merged, with the overlay's in
 * *@ret_over; else the overlay's is what counts.
 */
static struct tree_node *next_entry(struct tree_entries *e, struct tree_node **ret_over)
{
	struct tree_node *base = e->base < e->base_end ? e->base : NULL;
	struct tree_node *over = e->over < e->over_end ? e->over : NULL;
	int order;

	*ret_over = NULL;
	if (!base && !over)
		return NULL;
	order = !over ? -1 : !base ? 1 : strcmp(base->name, over->name);
	if (order <= 0)
		e->base++;
	if (order >= 0)
		e->over++;
	if (order == 0 && S_ISDIR(base->mode) && S_ISDIR(over->mode))
		*ret_over = over;
	return order < 0 || *ret_over ? base : over;
}

bool tree_entries_next(struct tree_entries *e, struct placed_entry *ret)
{
	const struct platform_tree *t = e->tree;
	struct tree_node *over;
	struct tree_node *entry = next_entry(e, &over);

	if (!entry)
		return false;
	ret->name = entry->name;
	if (e->unnamed < t->n_nodes && t->nodes[e->unnamed].node == tree_named(entry))
		ret->place = e->unnamed++;
	else
		ret->place = t->again[e->n_again++];
	return true;
}

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

/* Whether @node has a place in @tree; what it says of itself may be of another tree. */
static bool is_placed(const struct platform_tree *tree, const struct tree_node *node)
{
	return node->place < tree->n_nodes && tree->nodes[node->place].node == node;
}

/* Place @node, which has no place yet, with @over to be merged into it. */
static int place_node(struct platform_tree *tree, unsigned platform, struct tree_node *node,
                      const struct tree_node *over)
{
	uint32_t place = (uint32_t)tree->n_nodes;

	if (over) {
		struct merged_dir *merged = array_grow(tree->merged, tree->n_merged,
		                                       &tree->merged_max, sizeof(*merged));

		if (!merged)
			return -ENOMEM;
		tree->merged = merged;
		merged[tree->n_merged++] = (struct merged_dir){ .over = over, .place = place };
	}
	node->place = place;
	node->platforms |= 1u << platform;
	tree->nodes[tree->n_nodes++] = (struct placed_node){
		.node = node,
		.nlink = S_ISDIR(node->mode) ? 2 : 0,
	};
	count(tree, node);
	return 0;
}

/* Place what directory @dir holds. */
static int place_children(struct platform_tree *tree, unsigned platform, struct tree_entries *e,
                          uint32_t dir)
{
	struct tree_node *over;
	struct tree_node *entry;

	tree_entries_begin(e, dir);
	while ((entry = next_entry(e, &over))) {
		struct tree_node *node = tree_named(entry);

		if (is_placed(tree, node))
			tree->again[tree->n_again++] = node->place;
		else if (place_node(tree, platform, node, over) < 0)
			return -ENOMEM;
		tree->nodes[dir].n_entries++;
		tree->nodes[S_ISDIR(node->mode) ? dir : node->place].nlink++;
	}
	return 0;
}

static int place_all(struct platform_tree *tree, unsigned platform, struct source *base,
                     struct source *over)
{
	struct tree_entries e = TREE_ENTRIES_INIT(tree);
	int r = place_node(tree, platform, &base->root, over ? &over->root : NULL);

	for (uint32_t place = 0; r == 0 && place < tree->n_nodes; place++) {
		if (S_ISDIR(tree->nodes[place].node->mode))
			r = place_children(tree, platform, &e, place);
	}
	return r;
}

/* Give back what the overlay made superfluous. */
static void shrink(struct platform_tree *tree)
{
	struct placed_node *nodes = reallocarray(tree->nodes, tree->n_nodes, sizeof(*tree->nodes));

	if (nodes)
		tree->nodes = nodes;
}

int platform_tree_build(struct source *base, struct source *over, unsigned platform,
                        struct platform_tree *ret, struct err *err)
{
	struct platform_tree tree = PLATFORM_TREE_INIT;
	size_t n = base->n_nodes + (over ? over->n_nodes : 0);
	size_t n_other_names = base->n_other_names + (over ? over->n_other_names : 0);
	int r = -ENOMEM;

	if (over && n + n_other_names > TREE_NODES_MAX)
		return err_set(err, -EOVERFLOW, "'%s' with '%s' " TREE_TOO_LARGE, base->path,
		               over->path, TREE_NODES_MAX);
	tree.nodes = malloc(n * sizeof(*tree.nodes));
	tree.again = malloc((n_other_names + 1) * sizeof(*tree.again));
	if (tree.nodes && tree.again)
		r = place_all(&tree, platform, base, over);
	if (r < 0) {
		platform_tree_release(&tree);
		return err_set(err, r, "out of memory");
	}
	shrink(&tree);
	*ret = tree;
	return 0;
}

/* The entry of directory @dir (NULL: nothing) with the @len bytes at @name as its name, or NULL. */
static struct tree_node *find_entry(const struct tree_node *dir, const char *name, size_t len)
{
	size_t low = 0;
	size_t high = dir && S_ISDIR(dir->mode) ? dir->n_children : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct tree_node *entry = &dir->children[middle];
		int order = strncmp(entry->name, name, len);

		if (order == 0 && entry->name[len] == '\0')
			return entry;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct tree_node *platform_tree_find(const struct platform_tree *tree, const char *path)
{
	const struct tree_node *base_dir = tree->nodes[0].node;
	const struct tree_node *over_dir = tree->n_merged > 0 ? tree->merged[0].over : NULL;

	for (;;) {
		size_t len = strcspn(path, "/");
		struct tree_node *base = find_entry(base_dir, path, len);
		struct tree_node *over = find_entry(over_dir, path, len);

		/* As next_entry(): directories are merged, of other things the overlay's counts. */
		if (base && over && !(S_ISDIR(base->mode) && S_ISDIR(over->mode)))
			base = NULL;
		if (path[len] == '\0')
			return base ? tree_named(base) : over ? tree_named(over) : NULL;
		base_dir = base;
		over_dir = over;
		path += len + 1;
	}
}
