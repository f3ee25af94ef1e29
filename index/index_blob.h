/* SPDX-License-Identifier: Apache-2.0 */
/* How an index database is compressed by several threads: what becomes a part of the frame. */
#pragma once

#include "codec.h"
#include "index.h"
#include "sections.h"

/* An index database to be compressed. */
struct index_blob {
	const char *path;
	struct index_place contents; /* see index_writer_end_contents(); empty: not known */
	unsigned jobs;               /* threads, at least 1; the bytes do not depend on it */
	struct codec_ahead *ahead;   /* borrowed; what index_blob_begin() has returned, or NULL */
};

/*
 * Whether it is worth while to compress contents in @place by a thread of its own, which begins while
 * the rest of the index is written. Depends on the place alone.
 */
bool index_blob_has_ahead(const struct index_place *place);

/*
 * Begin so when index_blob_has_ahead() says it is, the contents of the database open at @fd (borrowed) being
 * there. Returns NULL when that cannot be.
 */
struct codec_ahead *index_blob_begin(int fd, const struct index_place *contents);

/*
 * Compress the whole database, which is open at @fd, to @out_fd. One of 16 MiB and more
 * is compressed in sections, which go to @ret. Returns 0 or -errno.
 */
MUST_CHECK int index_blob_compress(const struct index_blob *index, int fd, int out_fd,
                                   struct sections *ret, struct err *err);
