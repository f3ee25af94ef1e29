/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the packer knows of an asset tree: directories on the host (sources),
 * the nodes that were found in them, and, for each platform, the tree that
 * results when its source is laid over the common one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "new_content.h"

enum { PLATFORMS_MAX = 32 }; /* a set of platforms is a bit mask */

struct tree_xattr {
	char *name;  /* owned */
	void *value; /* owned */
	size_t len;
};

struct tree_entry {
	char *name; /* owned */
	struct tree_node *node;
};

/* A file, directory or symbolic link that was found. Several entries may name one. */
struct tree_node {
	struct tree_node *next; /* all nodes of a source */
	const struct source *source;
	char *path; /* owned; relative to the source, of its first name; "" for the root */

	/* as the image is to show it */
	uint64_t size;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t mode, uid, gid;
	char *target;              /* owned; symbolic link */
	struct tree_xattr *xattrs; /* owned; in order of name */
	size_t n_xattrs;

	struct tree_entry *entries; /* owned; directory: in order of name bytes */
	size_t n_entries;

	struct timespec found_mtime; /* when it was found: another one means that it has changed */
	struct new_content *content; /* regular file: borrowed; NULL when empty */
	uint32_t platforms;          /* whose trees have it, one bit each */

	/* of the platform being numbered, see platform_tree_build() */
	uint32_t place_platform; /* its number from 1, or 0 */
	size_t place;
};

/* A directory of the host that was walked. */
struct source {
	const char *path; /* borrowed; as the user named it */
	int fd;           /* owned */
	unsigned rank;    /* 0 for the common one, then in order of the command line */
	struct tree_node *root;
	struct tree_node *nodes; /* owned list */
};

#define SOURCE_INIT ((struct source){ .fd = -1 })

void source_release(struct source *source);

/* A node of one platform's tree; its inode number is its place, counted from 1. */
struct placed_node {
	struct tree_node *node;
	uint32_t nlink;
	size_t first_entry; /* directory: its entries are consecutive */
	size_t n_entries;
};

struct placed_entry {
	const char *name; /* borrowed from the source */
	size_t place;     /* of its node, from 0 */
};

struct platform_tree {
	struct placed_node *nodes; /* owned; numbered as format.md §4.3.5 says */
	size_t n_nodes;
	size_t nodes_max;
	struct placed_entry *entries; /* owned */
	size_t n_entries;
	size_t entries_max;
	uint64_t n_files, n_dirs, n_links;
	uint64_t bytes; /* of files */
};

#define PLATFORM_TREE_INIT ((struct platform_tree){ .nodes = NULL, .entries = NULL })

/*
 * Lay @over (NULL: nothing) over @base and number the result. What both have:
 * directories are merged and keep @base's mode, owner and time, anything else
 * is @over's. Marks the nodes with bit @platform. The sources must outlive @ret.
 */
MUST_CHECK int platform_tree_build(const struct source *base, const struct source *over,
                                   unsigned platform, struct platform_tree *ret, struct err *err);

void platform_tree_release(struct platform_tree *tree);
