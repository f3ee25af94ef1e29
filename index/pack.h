/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs: blobs of concatenated zstd frames, one a chunk, ended by the seek
 * table of zstd's seekable format (format.md §3).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/io.h"

/* Where a frame lies in its pack, and what it holds. */
struct frame {
	uint64_t off;  /* bytes from the start of the pack */
	uint32_t size; /* compressed bytes */
	uint32_t plain_size;
};

struct seek_table; /* a checked, immutable list of frames */

/*
 * Check the last @size bytes of a pack of @pack_size bytes, of which @tail
 * holds at least the whole seek table, and list its frames. Performs no I/O.
 *
 * Returns 0 and sets *@ret, or -EBADMSG when the bytes are no seek table or its
 * frames do not add up to the pack, or -ENOMEM.
 */
MUST_CHECK int seek_table_parse(const void *tail, size_t size, uint64_t pack_size,
                                struct seek_table **ret, struct err *err);

/* Read and check the seek table of the pack open at @fd. Errors as above, and -errno. */
MUST_CHECK int seek_table_load(int fd, struct seek_table **ret, struct err *err);

/* Number of frames. */
uint32_t seek_table_count(const struct seek_table *table);

/* Frame @i, below seek_table_count(). */
struct frame seek_table_frame(const struct seek_table *table, uint32_t i);

/* Accepts NULL. */
void seek_table_free(struct seek_table *table);
DEFINE_CLEANUP(struct seek_table *, seek_table_free)

/* Bytes that a pack of @n_frames frames has beside them. */
uint64_t pack_overhead(uint64_t n_frames);

/* A pack being written. One thread at a time. */
struct pack_writer;

/* Begin a pack as an unfinished file in @dirfd (borrowed). */
MUST_CHECK int pack_writer_open(int dirfd, struct pack_writer **ret, struct err *err);

/* Append a frame of @frame_size bytes that holds @plain_size. Sets *@ret_off to its offset. */
MUST_CHECK int pack_writer_append(struct pack_writer *w, const void *frame, uint32_t frame_size,
                                  uint32_t plain_size, uint64_t *ret_off, struct err *err);

/* Bytes appended so far, without the seek table. */
uint64_t pack_writer_size(const struct pack_writer *w);

/*
 * Write the seek table and give the pack, which is durable then, the name of its digest
 * in hexadecimal, as io_temp_place() does. Sets the blob's digest and size. The writer is of no use afterwards
 * but to be freed.
 */
MUST_CHECK int pack_writer_publish(struct pack_writer *w, struct digest *ret_digest,
                                   uint64_t *ret_size, struct err *err);

/*
 * As pack_writer_publish(), of a pack that is to have the digest @wanted. Returns also
 * -EBADMSG when it has another; then it is not published.
 */
MUST_CHECK int pack_writer_publish_as(struct pack_writer *w, const struct digest *wanted,
                                      struct err *err);

/* Accepts NULL. Removes what was not published. */
void pack_writer_free(struct pack_writer *w);
DEFINE_CLEANUP(struct pack_writer *, pack_writer_free)
