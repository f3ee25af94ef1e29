/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of an image, read side: tree, contents, extents, chunks, packs
 * (format.md §4; tables in schema.sql).
 *
 * An open index never changes. Every function may be called from any thread at
 * any time: each call borrows one of a few SQLite connections, and makes one
 * more when all are in use. A row that contradicts the format gives -EBADMSG
 * and a message that names the row; a caller may rely on every bound that
 * the structs below state.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "format.h"

struct index;

/* A file, directory or symbolic link. */
struct node {
	uint64_t ino;
	uint32_t mode; /* S_IFREG, S_IFDIR or S_IFLNK, and permission bits 07777 without setuid, setgid */
	uint32_t nlink;
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint64_t size;    /* as in schema.sql; a regular file's is at most FORMAT_FILE_MAX */
	uint64_t content; /* 0 when it has none */
};

/* The bytes of equal files. */
struct content {
	uint64_t id;
	struct digest digest;
	uint64_t size;
};

struct chunk {
	uint64_t id;
	struct digest digest;
	uint32_t pack;
	uint64_t frame_off;  /* frame_off + frame_size is within the pack */
	uint32_t frame_size; /* at most FORMAT_FRAME_MAX */
	uint32_t size;       /* 1 to FORMAT_CHUNK_MAX */
};

/* A run of a content's bytes; chunk_off + len is within the chunk. */
struct extent {
	uint64_t content;
	uint64_t off; /* off + len is within the content */
	uint32_t len;
	uint32_t chunk_off;
	uint32_t seq; /* place among those that index_extents() and the like give, from 0 */
	struct chunk chunk;
};

/* Bytes of the database's file. */
struct index_place {
	uint64_t off, size;
};

struct pack_info {
	struct digest digest;
	uint64_t size;
};

/* What the index says about itself (table meta) and its counts. */
struct index_info {
	uint32_t n_packs;
	uint64_t n_chunks;
	uint64_t n_contents;
	uint64_t n_nodes;
	uint64_t n_files;       /* regular files, hard links counted once */
	uint64_t bytes;         /* sum of their sizes */
	uint64_t content_bytes; /* sum of the contents' sizes */
	uint64_t size;          /* of the database, bytes */
	bool has_xattrs;
};

/*
 * Open the database file at @path and check that it is an index of a version
 * and features that this program reads, with exactly the tables of schema.sql.
 *
 * Returns 0 and sets *@ret, or:
 *	-EBADMSG          not an index, or damaged
 *	-EPROTONOSUPPORT  of a newer format; the message names the version or feature
 *	-ENOMEM, -errno
 */
MUST_CHECK int index_open(const char *path, struct index **ret, struct err *err);

/* As index_open() for an open file; takes @fd, also when it fails. Messages name no file. */
MUST_CHECK int index_open_fd(int fd, struct index **ret, struct err *err);

/* Who brings the bytes of a database file while it is read. Any thread. */
struct index_source {
	/* Make the @len bytes at @off be in the file. Returns 0; -EBADMSG when they are damaged; -errno. */
	int (*need)(void *arg, uint64_t off, uint64_t len, struct err *err);
	void (*close)(void *arg);
	void *arg;
};

/* As index_open_fd(), of a file that has its size, and whose bytes @source brings; takes it, too. */
MUST_CHECK int index_open_source(int fd, const struct index_source *source, struct index **ret,
                                 struct err *err);

/* Accepts NULL. No call may be under way. */
void index_close(struct index *idx);
DEFINE_CLEANUP(struct index *, index_close)

/*
 * Free what many threads at once have needed, and one does not, and the memory that the file has in
 * the page cache: it is read again when it is needed. Any thread.
 */
void index_trim(struct index *idx);

/* Borrowed until index_close(). */
const struct index_info *index_info(const struct index *idx);

/* Pack @pack, from 1 to n_packs; borrowed until index_close(). NULL when there is none. */
const struct pack_info *index_pack(const struct index *idx, uint32_t pack);

/* Returns 1 and fills *@ret when node @ino exists, 0 when not, or -errno. */
MUST_CHECK int index_node(struct index *idx, uint64_t ino, struct node *ret, struct err *err);

/* Find the @len bytes @name in directory @parent. Returns 1, 0 or -errno as index_node(). */
MUST_CHECK int index_lookup(struct index *idx, uint64_t parent, const char *name, size_t len,
                            struct node *ret, struct err *err);

/*
 * Find the node at @path, slash-separated, from the root; "" and "/" are the
 * root. Does not follow symbolic links, knows no ".." . Returns 1, 0 or -errno.
 */
MUST_CHECK int index_resolve(struct index *idx, const char *path, struct node *ret,
                             struct err *err);

/* An entry of a directory. @name has a NUL at its end. */
struct dir_entry {
	const char *name; /* borrowed for the call */
	size_t name_len;
	uint64_t seq;
	struct node node;
};

/* Returns 0 to go on, 1 to stop, or -errno to stop with an error. */
typedef int (*index_entry_fn)(void *arg, const struct dir_entry *entry);

/*
 * Call @fn for the entries of directory @ino whose seq is above @after, in
 * order of seq, which is the order of their names. Returns what the last call
 * returned, 0 when there was none, or -errno. @fn may call the index.
 */
MUST_CHECK int index_list(struct index *idx, uint64_t ino, uint64_t after, index_entry_fn fn,
                          void *arg, struct err *err);

/* The directory that has an entry for directory @ino; the root's is itself. 1, 0 or -errno. */
MUST_CHECK int index_parent(struct index *idx, uint64_t ino, uint64_t *ret, struct err *err);

/*
 * Path of a node, without a leading slash, for messages: of the first of its
 * names. Cut with "..." when longer. Never fails: writes "inode N" at worst.
 */
void index_path(struct index *idx, uint64_t ino, char *buf, size_t size);

/* Read the target of symbolic link @ino, NUL-terminated. Returns 0 or -errno. */
MUST_CHECK int index_target(struct index *idx, uint64_t ino, char ret[static FORMAT_TARGET_MAX + 1],
                            struct err *err);

/* Returns 0 and fills *@ret for content @id, or -EBADMSG when there is none, or -errno. */
MUST_CHECK int index_content(struct index *idx, uint64_t id, struct content *ret, struct err *err);

/* Whether some file has this content. Returns 1 and fills *@ret, 0, or -errno. */
MUST_CHECK int index_find_content(struct index *idx, const struct digest *digest,
                                  struct content *ret, struct err *err);

/*
 * All extents of a content, in order of offset, without overlap. The caller
 * frees *@ret. Returns 0, or -EBADMSG when a row is out of bounds, or -errno.
 */
MUST_CHECK int index_extents(struct index *idx, const struct content *content, struct extent **ret,
                             uint32_t *ret_n, struct err *err);

/* Bytes of a content, from @start to before @end. */
struct index_range {
	uint64_t start, end;
};

/*
 * As index_extents(), for those that hold any of the bytes of @range; one that ends before it may
 * come first. Costs time in proportion to their number, whatever the size of the content.
 */
MUST_CHECK int index_extents_in(struct index *idx, const struct content *content,
                                const struct index_range *range, struct extent **ret,
                                uint32_t *ret_n, struct err *err);

/* Returns 0 to go on, 1 to stop, or -errno to stop with an error. */
typedef int (*index_extent_fn)(void *arg, const struct content *content,
                               const struct extent *extent);

/* Returns 0 to go on, 1 to stop, or -errno to stop with an error. */
typedef int (*index_extents_fn)(void *arg, const struct content *content, struct extent *extents,
                                uint32_t n);

/*
 * Call @fn for all contents, in order of id, each with what index_extents() gives for it:
 * borrowed for the call, and not read again. One scan, where asking for one after another looks each up. Returns as
 * index_list() does, also -EBADMSG when a row is out of bounds.
 */
MUST_CHECK int index_each_extents(struct index *idx, index_extents_fn fn, void *arg,
                                  struct err *err);

/* As index_each_extents(), for contents whose ids are @first to @last: several threads may share them. */
MUST_CHECK int index_each_extents_of(struct index *idx, uint64_t first, uint64_t last,
                                     index_extents_fn fn, void *arg, struct err *err);

/*
 * Call @fn for all extents of chunk @chunk, whatever their contents, in order of
 * content id and of offset: everything that decompressing the chunk can place.
 * Costs time in proportion to their number. Returns as index_list() does, also
 * -EBADMSG when a row is out of bounds; earlier rows have been handed out then.
 */
MUST_CHECK int index_chunk_extents(struct index *idx, uint64_t chunk, index_extent_fn fn, void *arg,
                                   struct err *err);

/* Returns 0 to go on, 1 to stop, or -errno to stop with an error. */
typedef int (*index_chunk_fn)(void *arg, const struct chunk *chunk);
typedef int (*index_content_fn)(void *arg, const struct content *content);
typedef int (*index_node_fn)(void *arg, const struct node *node);

/* Visit all rows in order of id. Return as index_list() does. */
MUST_CHECK int index_each_chunk(struct index *idx, index_chunk_fn fn, void *arg, struct err *err);
MUST_CHECK int index_each_content(struct index *idx, index_content_fn fn, void *arg,
                                  struct err *err);
MUST_CHECK int index_each_node(struct index *idx, index_node_fn fn, void *arg, struct err *err);

/* Let SQLite check the whole database file and its indexes. Returns 0, -EBADMSG or -errno. */
MUST_CHECK int index_check(struct index *idx, struct err *err);

/* Names of the xattrs of @ino, each NUL-terminated, one after another. The caller frees *@ret. */
MUST_CHECK int index_xattr_names(struct index *idx, uint64_t ino, char **ret, size_t *ret_len,
                                 struct err *err);

/* Value of xattr @name of @ino. Returns 1 and sets *@ret, which the caller frees; 0; or -errno. */
MUST_CHECK int index_xattr(struct index *idx, uint64_t ino, const char *name, void **ret,
                           size_t *ret_len, struct err *err);
