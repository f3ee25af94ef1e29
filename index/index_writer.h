/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of an image, write side. Rows are added in ascending order of
 * their keys, table after table in any order; others are refused with -EINVAL. The file's bytes depend
 * only on the rows, the order of tables, and what SQLite makes of an empty schema. One thread at a time.
 */
#pragma once

#include "index.h"

struct index_writer;

/* Make what every index begins with, if that has not been done: another thread may have the time. Any thread. */
void index_writer_prepare(void);

/* Create the database in the empty file @path. */
MUST_CHECK int index_writer_open(const char *path, struct index_writer **ret, struct err *err);

MUST_CHECK int index_writer_pack(struct index_writer *w, uint32_t pack,
                                 const struct pack_info *info, struct err *err);
MUST_CHECK int index_writer_chunk(struct index_writer *w, const struct chunk *chunk,
                                  struct err *err);
MUST_CHECK int index_writer_content(struct index_writer *w, const struct content *content,
                                    struct err *err);

/* Of @extent only content, off, len, chunk_off and chunk.id are used. */
MUST_CHECK int index_writer_extent(struct index_writer *w, const struct extent *extent,
                                   struct err *err);

/*
 * No contents and extents follow: what finds them by digest and by chunk is written now, beside them.
 * Sets *@ret to where all this is in the file, or will be. index_writer_finish() does this otherwise.
 * Returns also -EINVAL when two contents have one digest.
 */
MUST_CHECK int index_writer_end_contents(struct index_writer *w, struct index_place *ret,
                                         struct err *err);

/* Write what is gathered. What index_writer_end_contents() has told is in the file for good then. */
MUST_CHECK int index_writer_flush(struct index_writer *w, struct err *err);

/* @target is the symbolic link's, else NULL. */
MUST_CHECK int index_writer_node(struct index_writer *w, const struct node *node,
                                 const char *target, struct err *err);
MUST_CHECK int index_writer_entry(struct index_writer *w, uint64_t parent, uint64_t seq,
                                  const char *name, uint64_t ino, struct err *err);
MUST_CHECK int index_writer_xattr(struct index_writer *w, uint64_t ino, const char *name,
                                  const void *value, size_t len, struct err *err);

/* Record counts and features in meta, and write what is left. Last. */
MUST_CHECK int index_writer_finish(struct index_writer *w, struct err *err);

/* Accepts NULL. An unfinished file is left as it is: the caller removes it. */
void index_writer_free(struct index_writer *w);
DEFINE_CLEANUP(struct index_writer *, index_writer_free)
