/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd: chunks as frames, and whole index databases as one stream. The only user of <zstd.h>.
 * A struct codec belongs to one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/err.h"

struct codec;

/* Contexts to compress and decompress with, made at first use. Returns NULL when memory runs out. */
struct codec *codec_new(void);

/* Accepts NULL. */
void codec_free(struct codec *codec);
DEFINE_CLEANUP(struct codec *, codec_free)

/* Version of the libzstd that runs, which decides the bytes of a frame. Constant. */
const char *codec_version(void);

/* Bytes that a frame of @size plain bytes may need. */
size_t codec_bound(size_t size);

/*
 * Compress @size plain bytes to one frame with content size and checksum (format.md §3.1). @frame_cap
 * is at least codec_bound(@size); @level is 1 to 19. Returns 0 and sets *@ret_frame_size, or -ENOMEM or -EINVAL.
 */
MUST_CHECK int codec_compress(struct codec *codec, int level, const void *data, size_t size,
                              void *frame, size_t frame_cap, size_t *ret_frame_size);

/*
 * Decompress the one frame in the @frame_size bytes at @frame, which must say that it holds exactly
 * @size plain bytes, into @data. Nothing but those bytes is written, whatever the frame claims.
 * Returns 0, or -EBADMSG for a frame that is damaged or holds another number of bytes, or -ENOMEM.
 * @data has undefined content after a failure.
 */
MUST_CHECK int codec_decompress(struct codec *codec, const void *frame, size_t frame_size,
                                void *data, size_t size, struct err *err);

/* Whether @frame says that it has a checksum of its plain bytes, which codec_decompress() compares then. */
bool codec_has_checksum(const void *frame, size_t frame_size);

/*
 * Take the checksum off @frame, which changes, for who compares the plain bytes with a digest anyhow.
 * Returns how many bytes are left: all of a frame that has none, or that is damaged.
 */
size_t codec_drop_checksum(void *frame, size_t frame_size);

/*
 * As codec_compress(), with matches into @prefix, 1 to FORMAT_PREFIX_MAX bytes that whoever
 * decompresses the frame has, too (format.md §3.3). Neither is copied.
 */
MUST_CHECK int codec_compress_delta(struct codec *codec, int level, const void *prefix,
                                    size_t prefix_size, const void *data, size_t size, void *frame,
                                    size_t frame_cap, size_t *ret_frame_size);

/* As codec_decompress(), of a frame that was compressed with these bytes at @prefix. */
MUST_CHECK int codec_decompress_delta(struct codec *codec, const void *prefix, size_t prefix_size,
                                      const void *frame, size_t frame_size, void *data, size_t size,
                                      struct err *err);

/* As codec_compress() and codec_decompress(), for the table of a delta: of any size. */
MUST_CHECK int codec_compress_table(struct codec *codec, int level, const void *data, size_t size,
                                    void *frame, size_t frame_cap, size_t *ret_frame_size);
MUST_CHECK int codec_decompress_table(struct codec *codec, const void *frame, size_t frame_size,
                                      void *data, size_t size, struct err *err);

/* Plain bytes per step of codec_copy_*(). */
#define CODEC_STEP ((size_t)1 << 17)

/* Compress all of @in_fd to one frame at the position of @out_fd, with a long window. 0 or -errno. */
MUST_CHECK int codec_compress_file(int in_fd, int out_fd, int level, struct err *err);

/*
 * Called with each run of bytes before it is decompressed, e.g. to hash them: by another thread,
 * which has ended when the function that calls it returns.
 */
typedef void (*codec_seen_fn)(void *arg, const void *data, size_t len);

/*
 * Decompress all of @in_fd to the position of @out_fd; @seen gets the compressed bytes. Returns 0;
 * -EBADMSG when the stream is damaged or incomplete; -EOVERFLOW when it holds more than @max bytes; -errno.
 */
MUST_CHECK int codec_decompress_file(int in_fd, int out_fd, uint64_t max, codec_seen_fn seen,
                                     void *arg, struct err *err);

/* A file in sections, format.md §4.5: blocks for each CODEC_SECTION plain bytes refer to nothing before them. */
#define CODEC_SECTION ((uint32_t)1 << 20)

/* Where the sections of a frame lie. */
struct codec_sections {
	uint64_t off;    /* of the first one in the frame */
	uint32_t *sizes; /* owned; compressed bytes of each; they follow one another */
	uint32_t n;
};

#define CODEC_SECTIONS_INIT ((struct codec_sections){ .sizes = NULL })

static inline void codec_sections_release_cleanup(struct codec_sections *s)
{
	free(s->sizes);
}

/* How a file is cut into parts, which are compressed by several threads. */
struct codec_cut {
	int level;
	unsigned hash_log;         /* not 0: libzstd's fastest search, with that large a table */
	unsigned jobs;             /* threads, at least 1; the bytes do not depend on it */
	uint64_t front;            /* bytes of a part before the first; 0: there is none */
	uint64_t first;            /* bytes of the first part; 0: as many as the others have */
	uint64_t each;             /* bytes of the others but the last, at least 1 */
	struct codec_ahead *ahead; /* borrowed; the first part, begun before; NULL: it is not */
};

/*
 * Let a thread compress the first part of what is at @in_fd (borrowed) as codec_compress_parts() will with
 * @cut: its bytes are there for good, while others are still to come. Returns NULL when that cannot be.
 */
struct codec_ahead *codec_ahead_begin(int in_fd, const struct codec_cut *cut);

/* Accepts NULL. Waits for the thread. */
void codec_ahead_free(struct codec_ahead *ahead);
DEFINE_CLEANUP(struct codec_ahead *, codec_ahead_free)

/*
 * As codec_compress_file(), in parts: no match reaches back into an earlier one, so that all but their
 * order is known of each alone. Parts of CODEC_SECTION are sections. A job takes the memory of three of
 * its parts, and of the level's tables. The file must not become shorter meanwhile. Returns 0; -EOPNOTSUPP when this libzstd cannot, with
 * nothing written; -errno.
 */
MUST_CHECK int codec_compress_parts(int in_fd, int out_fd, const struct codec_cut *cut,
                                    struct codec_sections *ret, struct err *err);

/* Bytes that codec_decompress_section() needs before and after a section. */
#define CODEC_SECTION_HEAD ((size_t)9)
#define CODEC_SECTION_TAIL ((size_t)3)

/*
 * Decompress the @section_size bytes at @buf + CODEC_SECTION_HEAD, a section of exactly @size plain
 * bytes, into @data. Overwrites the bytes of @buf before and after it. Returns as codec_decompress().
 */
MUST_CHECK int codec_decompress_section(struct codec *codec, uint8_t *buf, size_t section_size,
                                        void *data, size_t size, struct err *err);
