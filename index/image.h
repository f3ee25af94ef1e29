/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image for reading: its index, the packs that its chunks come from, and the deltas
 * that some of them come from while a pack is missing.
 *
 * Any number of threads may use one image. Opening needs only the index: a
 * pack that is missing, short or damaged shows when one of its chunks is read.
 */
#pragma once

#include "codec.h"
#include "delta.h"
#include "index.h"
#include "layout.h"

struct image;

/* A run of a blob. */
struct blob_range {
	uint64_t off;
	uint64_t len;
};

/*
 * Decompress the index of @manifest from @layout to @out_fd, an empty file,
 * checking its digest. Returns 0; -EBADMSG when it is damaged; -errno.
 */
MUST_CHECK int image_unpack_index(const struct layout *layout, const struct manifest *manifest,
                                  int out_fd, struct err *err);

/*
 * Open the image of @manifest, whose index database is the file @index_path.
 * The image keeps what it needs of @layout and @manifest. Returns 0 and sets
 * *@ret; -EBADMSG when index and manifest disagree about packs, and what
 * index_open() returns.
 */
MUST_CHECK int image_open(const struct layout *layout, const struct manifest *manifest,
                          const char *index_path, struct image **ret, struct err *err);

/* As image_open(), of the index open at @fd, which it takes, also when it fails. */
MUST_CHECK int image_open_fd(const struct layout *layout, const struct manifest *manifest, int fd,
                             struct image **ret, struct err *err);

/*
 * As image_open_fd(), of an index that @source brings (index.h); takes both. Reading what is damaged
 * of it gives -EBADMSG later.
 */
MUST_CHECK int image_open_source(const struct layout *layout, const struct manifest *manifest,
                                 int fd, const struct index_source *source, struct image **ret,
                                 struct err *err);

/*
 * As image_open(), with the index unpacked to memory that has no name: for
 * tools. Returns also what image_unpack_index() returns.
 */
MUST_CHECK int image_open_in_memory(const struct layout *layout, const struct manifest *manifest,
                                    struct image **ret, struct err *err);

/*
 * Open the image that @ref names for @platform (NULL: this machine's), with its
 * index in memory. The daemon keeps indexes in its store instead.
 */
MUST_CHECK int image_open_ref(const struct image_ref *ref, const struct platform *platform,
                              struct image **ret, struct err *err);

/* How often bytes of a source are asked for that turn out to be damaged, as long as others may be had. */
enum { IMAGE_SOURCE_TRIES = 32 };

/* A range of a pack that a source has brought. */
struct pack_hold {
	struct blob_range range; /* set by who wants it */
	uint64_t round;          /* the source's */
};

/*
 * Who brings the packs of an image to the blobs of its layout, bit by bit, while it is read. Any
 * thread.
 */
struct pack_source {
	/*
	 * Make @hold->range of @pack be there, and stay until release(). Returns 0; -ETIMEDOUT and others
	 * when it cannot be had now; -ECANCELED after cancel().
	 */
	int (*hold)(void *arg, const struct descriptor *pack, struct pack_hold *hold,
	            struct err *err);
	/*
	 * What hold() gave has been read. @damaged: it was not what it should be. Returns whether other bytes
	 * may be had then.
	 */
	bool (*release)(void *arg, const struct descriptor *pack, const struct pack_hold *hold,
	                bool damaged);
	/* How many bytes of @range of @blob are neither there nor on their way. */
	uint64_t (*lacks)(void *arg, const struct descriptor *blob, const struct blob_range *range);
	/* Nothing more is wanted: calls of hold() end. */
	void (*cancel)(void *arg);
	void (*close)(void *arg);
	void *arg;
};

/* Let @source, which is the image's from now on, bring its packs. Before anything is read. */
void image_set_source(struct image *img, const struct pack_source *source);

/* Whether it has a source. */
bool image_is_remote(const struct image *img);

/* Let reads that wait for the source fail with -ECANCELED; those that come, too. */
void image_cancel(struct image *img);

/* Accepts NULL. No call may be under way. */
void image_close(struct image *img);
DEFINE_CLEANUP(struct image *, image_close)

/* All borrowed until image_close(). */
struct index *image_index(const struct image *img);
const struct manifest *image_manifest(const struct image *img);

/*
 * Compare each pack's presence and size with the index, cheaply, so that a
 * mount can say early what is going to fail. A missing pack is fine when deltas
 * can give all its chunks, or a source brings it. Returns the number of packs that are not as they should be,
 * with the first in @err.
 */
uint32_t image_check_packs(const struct image *img, struct err *err);

/*
 * Read the text of the image's trace (trace.h), which may have up to FORMAT_TRACE_MAX bytes, to
 * new memory that the caller frees. Returns 1; 0 when the image has none; -ENOENT when the blob is
 * missing; -EBADMSG when it is damaged; -EOVERFLOW; -errno.
 */
MUST_CHECK int image_read_trace(const struct image *img, char **ret, size_t *ret_len,
                                struct err *err);

/* Buffers and contexts for reading chunks; one thread at a time. */
struct chunk_reader;

/* Returns NULL when memory runs out. */
struct chunk_reader *chunk_reader_new(void);

/* What the plain bytes of a chunk are compared with. */
enum chunk_check {
	/* the checksum in its frame: finds damage, but not what somebody has made to deceive */
	CHECK_CHECKSUM = 1 << 0,
	CHECK_DIGEST = 1 << 1,
};

/*
 * Compare chunks with what @checks has of these; a new reader does so with digests. Nothing is for who takes
 * a small part of a chunk only, and compares that with a digest of its own; both, for who is to find frames that
 * are not as they were made. What a delta makes is compared with its digest in any case.
 */
void chunk_reader_set_checks(struct chunk_reader *reader, unsigned checks);

/* Accepts NULL. */
void chunk_reader_free(struct chunk_reader *reader);
DEFINE_CLEANUP(struct chunk_reader *, chunk_reader_free)

/*
 * Read a chunk from its pack, decompress it and compare it, as chunk_reader_set_checks() says.
 * Bytes that a source brought and that are damaged are asked for again, while others may be had.
 * When the pack is missing, a delta is tried whose base, index and packs, is in the same layout. So it is
 * when a source would have to bring more bytes of the pack than of the delta and of the base.
 * On success *@ret points to chunk->size bytes in @reader, valid until its next
 * use. The pack's pages are dropped from the page cache: the plain bytes are
 * what is worth keeping.
 *
 * Returns 0, or:
 *	-EBADMSG  damaged: frame, size or digest wrong, or the pack ends early
 *	-ENOENT   the pack is missing, and no delta helps
 *	-ENOMEM, -errno, what a source returns
 * The message names the pack.
 */
MUST_CHECK int image_read_chunk(struct image *img, struct chunk_reader *reader,
                                const struct chunk *chunk, const void **ret, struct err *err);

/*
 * As image_read_chunk(), to chunk->size bytes at @plain. They have undefined content after a
 * failure, and until success no byte of them is verified.
 */
MUST_CHECK int image_read_chunk_to(struct image *img, struct chunk_reader *reader,
                                   const struct chunk *chunk, void *plain, struct err *err);

/*
 * The table of the manifest's delta layer @i, borrowed until image_close(). Returns 0; -ENOENT
 * when the blob is missing; -EBADMSG when it is damaged; -errno.
 */
MUST_CHECK int image_delta_table(const struct image *img, uint32_t i,
                                 const struct delta_table **ret, struct err *err);

/*
 * Read the chunk of frame @frame of delta layer @i, whose table could be had. Returns as
 * image_read_chunk(); -ENOENT means that something of the base is missing.
 */
MUST_CHECK int image_read_delta(const struct image *img, struct chunk_reader *reader, uint32_t i,
                                uint32_t frame, const void **ret, struct err *err);
