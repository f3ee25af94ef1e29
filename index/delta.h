/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deltas: blobs of zstd frames, one a chunk, that are read with chunks of an
 * older image as prefix, ended by a table of both (format.md §3.3).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/io.h"

/* A frame of a delta and the chunk that it holds. */
struct delta_frame {
	uint64_t off;        /* bytes from the start of the blob */
	uint32_t size;       /* compressed bytes, 1 to FORMAT_FRAME_MAX */
	uint32_t plain_size; /* 1 to FORMAT_CHUNK_MAX */
	uint32_t n_bases;    /* 1 to FORMAT_PREFIX_CHUNKS_MAX */
	uint32_t first_base; /* for delta_table_base(), with the n_bases - 1 that follow */
};

struct delta_table; /* a checked, immutable list of frames and their bases */

/*
 * Check the last @size bytes of a delta of @blob_size bytes, of which @tail
 * holds at least the whole table, and list its frames. Performs no I/O.
 *
 * Returns 0 and sets *@ret, or -EBADMSG when the bytes are no table, break a rule of
 * format.md §3.3, or do not add up to the blob, or -ENOMEM.
 */
MUST_CHECK int delta_table_parse(const void *tail, size_t size, uint64_t blob_size,
                                 struct delta_table **ret, struct err *err);

/* What of a delta's end delta_tail_needed() has to see. */
#define DELTA_END 20u

/*
 * How many of the last bytes of a delta of @blob_size bytes delta_table_parse() needs, as the
 * very last ones at @end say. Performs no I/O. Returns 0 or -EBADMSG.
 */
MUST_CHECK int delta_tail_needed(const uint8_t end[static DELTA_END], uint64_t blob_size,
                                 size_t *ret, struct err *err);

/* Read and check the table of the delta open at @fd. Errors as above, and -errno. */
MUST_CHECK int delta_table_load(int fd, struct delta_table **ret, struct err *err);

/* Accepts NULL. */
void delta_table_free(struct delta_table *table);
DEFINE_CLEANUP(struct delta_table *, delta_table_free)

/* Number of frames. */
uint32_t delta_table_count(const struct delta_table *table);

/* Frame @i, below delta_table_count(), and the digest of its chunk; borrowed from the table. */
struct delta_frame delta_table_frame(const struct delta_table *table, uint32_t i);
const struct digest *delta_table_chunk(const struct delta_table *table, uint32_t i);

/* The frame of @chunk. Returns true and sets *@ret_i, or false when there is none. */
bool delta_table_find(const struct delta_table *table, const struct digest *chunk, uint32_t *ret_i);

/* Number of different bases, and the digest of base @i below it; borrowed from the table. */
uint32_t delta_table_n_bases(const struct delta_table *table);
const struct digest *delta_table_base_digest(const struct delta_table *table, uint32_t i);

/* The base of number @ref, see struct delta_frame: below delta_table_n_bases(). */
uint32_t delta_table_base(const struct delta_table *table, uint32_t ref);

/* As delta_table_find(), for a base. */
bool delta_table_find_base(const struct delta_table *table, const struct digest *base,
                           uint32_t *ret_i);

/* A delta being written. One thread at a time. */
struct delta_writer;

/* Begin a delta as an unfinished file in @dirfd (borrowed). */
MUST_CHECK int delta_writer_open(int dirfd, struct delta_writer **ret, struct err *err);

/*
 * Append a frame of @frame_size bytes, of codec_compress_delta(), that holds the @size bytes of
 * @chunk; its prefix are the @n_bases chunks @bases, one after another, at most
 * FORMAT_PREFIX_MAX bytes. A chunk is appended once.
 *
 * Returns 0; -EINVAL for what the table cannot say; -EOVERFLOW when the blob is
 * full; -ENOMEM; -errno.
 */
MUST_CHECK int delta_writer_append(struct delta_writer *w, const struct digest *chunk,
                                   uint32_t size, const void *frame, uint32_t frame_size,
                                   const struct digest *bases, uint32_t n_bases, struct err *err);

/* Bytes of frames appended so far. */
uint64_t delta_writer_size(const struct delta_writer *w);

/* Frames appended so far. */
uint32_t delta_writer_count(const struct delta_writer *w);

/*
 * Write the table and give the delta, which is durable then, the name of its digest in
 * hexadecimal, as io_temp_place() does. Sets the blob's digest and size. The writer is of no use afterwards
 * but to be freed. Returns 0, -EINVAL for a delta of nothing, -ENOMEM or -errno.
 */
MUST_CHECK int delta_writer_publish(struct delta_writer *w, struct digest *ret_digest,
                                    uint64_t *ret_size, struct err *err);

/* Accepts NULL. Removes what was not published. */
void delta_writer_free(struct delta_writer *w);
DEFINE_CLEANUP(struct delta_writer *, delta_writer_free)
