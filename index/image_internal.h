/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the image share: its packs, and the deltas that stand in for them. */
#pragma once

#include "format.h"
#include "image.h"
#include "pack_fds.h"

struct deltas;
struct pack_pages;

/* One of the image's packs. */
struct image_pack {
	struct pack_fd fd;
	struct pack_pages *pages; /* owned; atomic; what was read of it; NULL at first */
};

struct image {
	/* constant after image_open() */
	struct layout *layout;    /* owned */
	struct manifest manifest; /* owned copy */
	struct index *index;      /* owned; a base of deltas loses it once its chunks are known */
	struct deltas *deltas;    /* owned; opened when a pack is missing */

	struct pack_source source; /* owned; hold: NULL when packs are files of the layout */

	struct image_pack *packs; /* owned; each of the manifest's packs */
};

/* Chunks one after another, each compared with its digest. */
struct prefix {
	uint8_t *bytes; /* owned; FORMAT_PREFIX_MAX bytes, NULL until a delta is read */
	struct {
		struct digest digest;
		uint32_t off;
		uint32_t size;
	} parts[FORMAT_PREFIX_CHUNKS_MAX];
	uint32_t n;
};

struct chunk_reader {
	struct codec *codec; /* owned */
	unsigned checks;     /* of enum chunk_check */
	void *frame;         /* owned; FORMAT_FRAME_MAX bytes */
	void *plain;         /* owned; FORMAT_CHUNK_MAX bytes */

	/* the prefix in use, and one to make the next from: neighbours share most of their bases */
	struct prefix prefixes[2];
	unsigned current;
};

void image_pack_init(struct image_pack *pack);
void image_pack_release(struct image_pack *pack);

/*
 * Read the frame of @chunk from the pack in slot @i into @reader->frame, reading ahead what
 * follows when frames are read in order. Returns 0; -ENOENT and others when the
 * pack cannot be opened; what image_read_frame() returns.
 */
MUST_CHECK int image_pack_read(const struct image *img, uint32_t i,
                               const struct chunk_reader *reader, const struct chunk *chunk,
                               struct err *err);

/* Read the @size bytes at @off of @fd into @reader->frame, and drop their pages. 0, -EBADMSG, -errno. */
MUST_CHECK int image_read_frame(int fd, const struct chunk_reader *reader, uint64_t off,
                                uint32_t size, struct err *err);

/*
 * Before the frame of *@size bytes in @reader->frame is decompressed: it has no checksum then, unless
 * @reader is to compare it. Returns 0, or -EBADMSG when it is, and there is none.
 */
MUST_CHECK int image_trim_frame(const struct chunk_reader *reader, uint32_t *size, struct err *err);

/* Compare @plain with the digest of its chunk. Returns 0 or -EBADMSG. */
MUST_CHECK int image_check_plain(const void *plain, const struct chunk *chunk, struct err *err);

/* Read @chunk from its pack, and nowhere else, to @plain. Returns as image_read_chunk(). */
MUST_CHECK int image_read_packed(const struct image *img, const struct chunk_reader *reader,
                                 const struct chunk *chunk, void *plain, struct err *err);

/* Compare presence and size of the pack in slot @i with the manifest. Returns 0, -EBADMSG, -errno. */
MUST_CHECK int image_check_pack(const struct image *img, uint32_t i, struct err *err);

/* Returns NULL when memory runs out. */
struct deltas *deltas_new(void);

/* Accepts NULL. */
void deltas_free(struct deltas *deltas);

/*
 * Read @chunk, whose pack is missing, from a delta to @reader->plain. Opens
 * the deltas at first use. Returns 0, or -errno with why none of them helps.
 */
MUST_CHECK int deltas_read(const struct image *img, struct chunk_reader *reader,
                           const struct chunk *chunk, struct err *err);

/*
 * As deltas_read(), of an image with a source, if fewer bytes have to come for it than for the chunk's
 * own frame; -ENOENT otherwise.
 */
MUST_CHECK int deltas_read_far(const struct image *img, struct chunk_reader *reader,
                               const struct chunk *chunk, struct err *err);

/* Whether a delta has @chunk and all that it needs is there, as far as that shows without reading. */
bool deltas_cover(const struct image *img, const struct chunk *chunk);
