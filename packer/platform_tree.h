/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of one platform: its source laid over the common one, its nodes
 * numbered. Entries are not stored: they follow from the nodes' order, see
 * tree_entries. One thread at a time, also for all trees of the same sources.
 */
#pragma once

#include "tree.h"

/* A node of a platform's tree; its inode number is its place, counted from 1. */
struct placed_node {
	struct tree_node *node;
	uint32_t nlink;
	uint32_t n_entries; /* directory */
};

/* A directory of the overlay that is merged into the one at @place. */
struct merged_dir {
	const struct tree_node *over;
	uint32_t place;
};

struct platform_tree {
	struct placed_node *nodes; /* owned; numbered as format.md §4.3.5 says */
	size_t n_nodes;
	struct merged_dir *merged; /* owned; in order of place */
	size_t n_merged;
	size_t merged_max;
	uint32_t *again; /* owned; places that entries name again, in order of the entries */
	size_t n_again;
	uint64_t n_files, n_dirs, n_links;
	uint64_t bytes; /* of files */
};

#define PLATFORM_TREE_INIT ((struct platform_tree){ .nodes = NULL })

/*
 * Lay @over (NULL: nothing) over @base and number the result. What both have:
 * directories are merged and keep @base's mode, owner and time, anything else
 * is @over's. Marks the nodes with bit @platform. The sources must outlive
 * @ret. A tree can be built, released and built again: it is the same.
 */
MUST_CHECK int platform_tree_build(struct source *base, struct source *over, unsigned platform,
                                   struct platform_tree *ret, struct err *err);

void platform_tree_release(struct platform_tree *tree);

/*
 * What has @path, relative, without "", "." and "..", in @tree: a node, of several names the first;
 * NULL when nothing has. Symbolic links are not followed.
 */
struct tree_node *platform_tree_find(const struct platform_tree *tree, const char *path);

struct placed_entry {
	const char *name; /* borrowed from the source */
	uint32_t place;   /* of what it names, from 0 */
};

/* Goes through the entries of a tree's directories. */
struct tree_entries {
	const struct platform_tree *tree;                    /* borrowed */
	struct tree_node *base, *base_end, *over, *over_end; /* what is left of the directory */
	uint32_t unnamed; /* place of the first node that no entry has named yet */
	size_t n_merged;  /* that have been used */
	size_t n_again;
};

#define TREE_ENTRIES_INIT(platform_tree) \
	((struct tree_entries){ .tree = (platform_tree), .unnamed = 1 })

/*
 * Begin the directory at @place. All directories must be begun, in order of
 * place, and each gone through to its end before the next.
 */
void tree_entries_begin(struct tree_entries *e, uint32_t place);

/* Its next entry, in order of name bytes. Returns false after the last. */
bool tree_entries_next(struct tree_entries *e, struct placed_entry *ret);
