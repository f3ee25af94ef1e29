/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the packer knows of an asset tree: directories on the host (sources)
 * and the nodes that were found in them. There may be millions of nodes: none
 * has its path, only its name, and all are in the source's arena.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "arena.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "names.h"

struct new_content;

enum { PLATFORMS_MAX = 32 }; /* a set of platforms is a bit mask */

#define TREE_NODES_MAX (UINT32_MAX - 1) /* names of a source, and of a platform's tree */
#define TREE_TOO_LARGE "has more than %u files and directories; make several images of it"

struct tree_xattr {
	const char *name;
	const void *value;
	size_t len;
};

struct tree_xattrs {
	size_t n;
	struct tree_xattr list[]; /* in order of name */
};

/*
 * An entry of a directory, and the file, directory or symbolic link that it
 * names. A later name of a file that has several is a node that knows only its
 * name and the first: tree_named() leads from entries to what they name.
 * Everything is borrowed from the arena, but for the content.
 */
struct tree_node {
	struct tree_node *parent; /* NULL for the root */
	const char *name;         /* "" for the root */
	union {
		struct {                             /* regular file */
			struct new_content *content; /* borrowed; NULL when empty */
			uint64_t stamp;              /* tree_stamp() when it was found */
		};
		struct {                            /* directory */
			struct tree_node *children; /* consecutive, in order of name bytes */
			struct tree_node *next_dir; /* in order of creation */
		};
		const char *target;      /* symbolic link */
		struct tree_node *first; /* with other_name */
	};
	union {
		uint64_t size;
		uint64_t n_children; /* directory */
	};

	/* as the image is to show it */
	int64_t mtime_s;
	const struct tree_xattrs *xattrs; /* NULL: none */
	uint32_t mtime_ns;
	uint32_t uid, gid;
	uint16_t mode; /* 0 with other_name */

	uint8_t rank;   /* of its source */
	bool fresh : 1; /* may change again, unseen by its stamp: it changed just before the walk */
	bool other_name : 1; /* a later name of node first */
	uint32_t platforms;  /* whose trees have it, one bit each */
	uint32_t place; /* in the platform's tree that was built last; otherwise means nothing */
};

_Static_assert(sizeof(struct tree_node) <= 80, "every byte counts a million times");

/* A directory of the host that was walked. Must stay where it is: its nodes know the way to it. */
struct source {
	const char *path; /* borrowed; as the user named it */
	int fd;           /* owned */
	unsigned rank;    /* 0 for the common one, then in order of the command line */
	struct tree_node root;
	struct arena arena; /* owned; all other nodes, and what they point to */
	size_t n_nodes;     /* without later names */
	size_t n_other_names;
};

#define SOURCE_INIT ((struct source){ .fd = -1 })

void source_release(struct source *source);

/* What @entry names. */
static inline struct tree_node *tree_named(struct tree_node *entry)
{
	return entry->other_name ? entry->first : entry;
}

/* The source that @node, walked, is of. Takes as long as the path has components. */
const struct source *tree_source(const struct tree_node *node);

/*
 * The node created after @node, for a start from the root; NULL after the
 * last. Skips later names. The order depends on names only.
 */
struct tree_node *tree_next(const struct tree_node *node);

/* Room for a path. */
struct path_buf {
	char *text; /* owned */
	size_t max;
};

#define PATH_BUF_INIT ((struct path_buf){ .text = NULL })

static inline void path_buf_release_cleanup(struct path_buf *buf)
{
	free(buf->text);
}

/*
 * The path of @node, of its first name, relative to its source: "" for the
 * root. Borrowed from @buf until it is used again; NULL when memory runs out.
 */
MUST_CHECK const char *tree_path(const struct tree_node *node, struct path_buf *buf);

/* The path of @node for messages, as name_shown(); its name alone when memory runs out. */
const char *tree_path_shown(const struct tree_node *node, char shown[static NAME_SHOWN_MAX]);

/*
 * Order of paths, component by component, each by its bytes; a directory is
 * before what it holds. 0 for equal paths, which only nodes of two sources have.
 */
int tree_path_cmp(const struct tree_node *a, const struct tree_node *b);

/* Order of files: by path, then by source. */
static inline int tree_file_cmp(const struct tree_node *a, const struct tree_node *b)
{
	int order = tree_path_cmp(a, b);

	return order != 0 ? order : (int)a->rank - (int)b->rank;
}

/*
 * Device, inode, size, modification and change time of a file in one number: two that
 * differ mean that it has changed. The same in every run and on every machine.
 */
uint64_t tree_stamp(const struct stat *st);

/*
 * Whether a file that a walk begun at @began finds as @st may change again without another
 * stamp: clocks of file systems are coarse, the coarsest has a tick of 2 seconds.
 */
bool tree_is_fresh(const struct stat *st, const struct timespec *began);
