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
#include <sys/stat.h>

#include "base/io.h"
#include "image_internal.h"

enum {
	PAGE = 4096,
	BLOCK = 2 << 20,  /* the largest folio there is, aligned as folios are */
	AHEAD = 1 << 20,  /* bytes that are read ahead */
	NEAR = 512 << 10, /* threads that share a file take its frames nearly in order */
	STEP = 128
	       << 10, /* of a request to read ahead: the kernel cuts off what it finds too much */
};

struct pack_file {
	/* constant */
	int fd; /* owned */
	uint64_t size;

	/* atomic; guesses that races between readers may spoil */
	uint64_t last;   /* end of the frame read last */
	uint64_t ahead;  /* end of what has been read ahead */
	uint32_t used[]; /* bytes of each block that were read */
};

void pack_file_close(struct pack_file *pack)
{
	if (!pack)
		return;
	(void)close(pack->fd);
	free(pack);
}

/* Takes @fd, also when it fails. */
static struct pack_file *pack_file_new(int fd)
{
	struct pack_file *pack = NULL;
	struct stat st;

	if (fstat(fd, &st) == 0)
		pack = calloc(1, sizeof(*pack) +
		                         ((size_t)st.st_size / BLOCK + 1) * sizeof(pack->used[0]));
	if (!pack) {
		(void)close(fd);
		return NULL;
	}
	pack->fd = fd;
	pack->size = (uint64_t)st.st_size;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	return pack;
}

struct pack_file *image_pack_file(const struct image *img, uint32_t i, struct err *err)
{
	struct pack_file **slot = &img->packs[i];
	struct pack_file *pack = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	struct pack_file *first = NULL;
	char hex[DIGEST_HEX_SIZE];
	int fd;

	if (pack)
		return pack;
	fd = openat(layout_blobs(img->layout), digest_hex(&img->manifest.packs[i].digest, hex),
	            O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		(void)err_set_errno(err, "not in '%s'", layout_path(img->layout));
		return NULL;
	}
	pack = pack_file_new(fd);
	if (!pack) {
		(void)err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (!__atomic_compare_exchange_n(slot, &first, pack, /* weak= */ false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_ACQUIRE)) {
		pack_file_close(pack);
		pack = first;
	}
	return pack;
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

/* Let the kernel begin to read what follows a frame, when the one before it has been read just now. */
static void read_ahead(struct pack_file *pack, uint64_t off, uint32_t size)
{
	uint64_t last = __atomic_exchange_n(&pack->last, off + size, __ATOMIC_RELAXED);
	uint64_t pos = __atomic_load_n(&pack->ahead, __ATOMIC_RELAXED);
	uint64_t end = off + size + AHEAD;

	if (off + NEAR < last || off > last + NEAR)
		return;
	if (pos < off + size || pos > end)
		pos = off + size;
	if (end > pack->size)
		end = pack->size;
	/* In pieces of some size. */
	if (pos >= end || end - pos < AHEAD / 4)
		return;
	__atomic_store_n(&pack->ahead, end, __ATOMIC_RELAXED);
	for (; pos < end; pos += STEP) {
		uint64_t n = end - pos < STEP ? end - pos : STEP;

		(void)posix_fadvise(pack->fd, (off_t)pos, (off_t)n, POSIX_FADV_WILLNEED);
	}
}

/* Whether all of block @i is used, but for the table at the pack's end. */
static bool is_used_up(const struct pack_file *pack, uint64_t i, uint32_t used)
{
	uint64_t left = pack->size - i * BLOCK;

	return left < BLOCK ? used >= left / 8 * 7 : used >= BLOCK;
}

/* Drop the blocks of a frame that are used up: their folios may reach beyond it. */
static void drop_blocks(struct pack_file *pack, uint64_t off, uint32_t size)
{
	const uint64_t end = off + size < pack->size ? off + size : pack->size;

	for (uint64_t i = off / BLOCK; i * BLOCK < end; i++) {
		uint64_t start = off > i * BLOCK ? off : i * BLOCK;
		uint64_t stop = end < (i + 1) * BLOCK ? end : (i + 1) * BLOCK;
		uint32_t used = __atomic_add_fetch(&pack->used[i], (uint32_t)(stop - start),
		                                   __ATOMIC_RELAXED);

		if (is_used_up(pack, i, used))
			drop_pages(pack->fd, i * BLOCK, BLOCK);
	}
}

int pack_file_read(struct pack_file *pack, const struct chunk_reader *reader, uint64_t off,
                   uint32_t size, struct err *err)
{
	int r;

	read_ahead(pack, off, size);
	r = image_read_frame(pack->fd, reader, off, size, err);
	if (r == 0)
		drop_blocks(pack, off, size);
	return r;
}
