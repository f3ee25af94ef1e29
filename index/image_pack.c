/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that frames are read from, and what of them the kernel keeps.
 *
 * Compressed pages are dropped once they are used: the plain bytes are what is worth the memory.
 * The kernel drops only folios that lie wholly within a range, and its own read-ahead makes
 * them larger than frames. So that is off, and frames are read with single pages, which go with
 * their frame. What was in large folios before, of a pack that has just been written, goes block by
 * block. Instead, frames that follow one another are read ahead by one step here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/io.h"
#include "image_internal.h"

enum {
	PAGE = 4096,
	BLOCK = 2 << 20,  /* the largest folio there is, aligned as folios are */
	STREAMS = 8,      /* of one pack that are followed */
	AHEAD = 2 << 20,  /* bytes that are read ahead */
	NEAR = 512 << 10, /* threads that share a file take its frames nearly in order */
	STEP = 128
	       << 10, /* of a request to read ahead: the kernel cuts off what it finds too much */
};

/* Frames of a pack that are read one after the other. */
struct stream {
	uint64_t last;  /* end of the frame read last */
	uint64_t ahead; /* end of what has been read ahead */
};

/* What was read of a pack. */
struct pack_pages {
	uint64_t size; /* of the pack; constant */

	/* atomic; guesses that races between readers may spoil */
	struct stream stream[STREAMS];
	uint32_t newest; /* the stream that began last */
	uint32_t used[]; /* bytes of each block that were read */
};

void image_pack_init(struct image_pack *pack)
{
	*pack = (struct image_pack){ .fd = PACK_FD_INIT, .pages = NULL };
}

void image_pack_release(struct image_pack *pack)
{
	pack_fd_close(&pack->fd);
	free(pack->pages);
}

/* What was read of the pack in slot @i; NULL when memory runs out. */
static struct pack_pages *pages_of(const struct image *img, uint32_t i)
{
	struct pack_pages **slot = &img->packs[i].pages;
	struct pack_pages *pages = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	struct pack_pages *first = NULL;
	uint64_t size = img->manifest.packs[i].size;

	if (pages)
		return pages;
	pages = calloc(1, sizeof(*pages) + (size / BLOCK + 1) * sizeof(pages->used[0]));
	if (!pages)
		return NULL;
	pages->size = size;
	if (!__atomic_compare_exchange_n(slot, &first, pages, /* weak= */ false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_ACQUIRE)) {
		free(pages);
		pages = first;
	}
	return pages;
}

/* Compressed pages are of no further use; the one that holds the next frame's start is. */
static void drop_pages(int fd, uint64_t off, uint64_t size)
{
	uint64_t start = off / PAGE * PAGE;
	uint64_t end = (off + size) / PAGE * PAGE;

	if (end > start)
		(void)posix_fadvise(fd, (off_t)start, (off_t)(end - start), POSIX_FADV_DONTNEED);
}

int image_read_frame(int fd, const struct chunk_reader *reader, uint64_t off, uint32_t size,
                     struct err *err)
{
	int r = io_pread(fd, reader->frame, size, off);

	if (r == -ENODATA)
		return err_set(err, -EBADMSG, "the file ends before it");
	if (r < 0)
		return err_set(err, r, "%s", strerrordesc_np(-r));
	drop_pages(fd, off, size);
	return 0;
}

/* Whether all of block @i is used, but for the table at the pack's end. */
static bool is_used_up(const struct pack_pages *pack, uint64_t i, uint32_t used)
{
	uint64_t left = pack->size - i * BLOCK;

	return left < BLOCK ? used >= left / 8 * 7 : used >= BLOCK;
}

/* The stream that a frame at @off goes on with; NULL when it begins one. */
static struct stream *stream_at(struct pack_pages *pack, uint64_t off)
{
	for (size_t i = 0; i < STREAMS; i++) {
		uint64_t last = __atomic_load_n(&pack->stream[i].last, __ATOMIC_RELAXED);

		if (last != 0 && off + NEAR >= last && off <= last + NEAR)
			return &pack->stream[i];
	}
	return NULL;
}

/* Follow one that begins with a frame up to @end instead of the oldest: what was read ahead for that is not wanted. */
static void begin_stream(struct pack_pages *pack, int fd, uint64_t end)
{
	uint32_t i = __atomic_add_fetch(&pack->newest, 1, __ATOMIC_RELAXED) % STREAMS;
	uint64_t last = __atomic_exchange_n(&pack->stream[i].last, end, __ATOMIC_RELAXED);
	uint64_t ahead = __atomic_exchange_n(&pack->stream[i].ahead, 0, __ATOMIC_RELAXED);

	if (ahead > last)
		drop_pages(fd, last, ahead - last);
}

/*
 * Let the kernel begin to read what follows a frame, when the one before it has been read lately;
 * not what was used before.
 */
static void read_ahead(struct pack_pages *pack, int fd, uint64_t off, uint32_t size)
{
	struct stream *stream = stream_at(pack, off);
	uint64_t end = off + size + AHEAD;
	uint64_t pos;

	if (!stream) {
		begin_stream(pack, fd, off + size);
		return;
	}
	__atomic_store_n(&stream->last, off + size, __ATOMIC_RELAXED);
	pos = __atomic_load_n(&stream->ahead, __ATOMIC_RELAXED);
	if (pos < off + size || pos > end)
		pos = off + size;
	if (end > pack->size)
		end = pack->size;
	/* In pieces of some size. */
	if (pos >= end || end - pos < AHEAD / 4)
		return;
	__atomic_store_n(&stream->ahead, end, __ATOMIC_RELAXED);
	for (; pos < end; pos += STEP) {
		uint64_t n = end - pos < STEP ? end - pos : STEP;
		uint64_t i = pos / BLOCK;

		if (!is_used_up(pack, i, __atomic_load_n(&pack->used[i], __ATOMIC_RELAXED)))
			(void)posix_fadvise(fd, (off_t)pos, (off_t)n, POSIX_FADV_WILLNEED);
	}
}

/* Drop the blocks of a frame that are used up: their folios may reach beyond it. */
static void drop_blocks(struct pack_pages *pack, int fd, uint64_t off, uint32_t size)
{
	const uint64_t end = off + size < pack->size ? off + size : pack->size;

	for (uint64_t i = off / BLOCK; i * BLOCK < end; i++) {
		uint64_t start = off > i * BLOCK ? off : i * BLOCK;
		uint64_t stop = end < (i + 1) * BLOCK ? end : (i + 1) * BLOCK;
		uint32_t used = __atomic_add_fetch(&pack->used[i], (uint32_t)(stop - start),
		                                   __ATOMIC_RELAXED);

		if (is_used_up(pack, i, used))
			drop_pages(fd, i * BLOCK, BLOCK);
	}
}

int image_pack_read(const struct image *img, uint32_t i, const struct chunk_reader *reader,
                    const struct chunk *chunk, struct err *err)
{
	struct pack_fd *slot = &img->packs[i].fd;
	struct pack_pages *pages = pages_of(img, i);
	char hex[DIGEST_HEX_SIZE];
	int fd = pack_fd_get(slot, layout_blobs(img->layout),
	                     digest_hex(&img->manifest.packs[i].digest, hex));
	int r;

	if (fd < 0)
		return err_set(err, fd, "not in '%s': %s", layout_path(img->layout),
		               strerrordesc_np(-fd));
	if (pages)
		read_ahead(pages, fd, chunk->frame_off, chunk->frame_size);
	r = image_read_frame(fd, reader, chunk->frame_off, chunk->frame_size, err);
	if (r == 0 && pages)
		drop_blocks(pages, fd, chunk->frame_off, chunk->frame_size);
	pack_fd_put(slot);
	return r;
}
