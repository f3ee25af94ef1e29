/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files: whole reads and writes, and publication that leaves nothing half
 * written. Every function retries after EINTR and short transfers. All are
 * safe from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/*
 * Read exactly @len bytes at @off. Returns 0, -ENODATA when the file ends
 * earlier, or -errno. Does not fill an err: the caller knows the file's name.
 */
MUST_CHECK int io_pread(int fd, void *buf, size_t len, uint64_t off);

/* Write exactly @len bytes at @off. Returns 0 or -errno. */
MUST_CHECK int io_pwrite(int fd, const void *buf, size_t len, uint64_t off);

/* Write exactly @len bytes at the file's position. Returns 0 or -errno. */
MUST_CHECK int io_write(int fd, const void *buf, size_t len);

/*
 * Read a whole regular file below @dirfd into new memory with a NUL after it.
 * Returns 0 and sets *@ret, which the caller frees, and *@ret_len; -EFBIG when
 * it has more than @max bytes; or -errno. Files of /proc, which have no size,
 * are read to their end.
 */
MUST_CHECK int io_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len,
                            struct err *err);

/* Create directory @path and its missing parents, mode 0755. Existing ones are fine. */
MUST_CHECK int io_make_dirs(const char *path, struct err *err);

/* A file that appears under its name only when it is complete. */
struct io_temp {
	int dirfd;     /* borrowed; outlives the io_temp */
	int fd;        /* owned; open for reading and writing */
	char name[64]; /* of the unfinished file, within dirfd */
};

#define IO_TEMP_INIT ((struct io_temp){ .dirfd = -1, .fd = -1, .name = "" })

/* Create an unfinished file in @dirfd. Returns 0 or -errno. */
MUST_CHECK int io_temp_open(struct io_temp *tmp, int dirfd, struct err *err);

/*
 * Make the file durable and give it the name @name in its directory, replacing
 * what has that name: fsync, mode @mode, rename, fsync of the directory.
 * Returns 0, or -errno with the unfinished file still owned by @tmp.
 */
MUST_CHECK int io_temp_publish(struct io_temp *tmp, const char *name, unsigned mode,
                               struct err *err);

/*
 * As io_temp_publish(), but for the fsync of the directory: many names are made durable at once
 * by one, which is the caller's to make before anything refers to them.
 */
MUST_CHECK int io_temp_place(struct io_temp *tmp, const char *name, unsigned mode, struct err *err);

/* Close, and remove the file unless it was published. */
void io_temp_release(struct io_temp *tmp);

static inline void io_temp_release_cleanup(struct io_temp *tmp)
{
	io_temp_release(tmp);
}

/* Publish the @len bytes at @data as file @name in @dirfd, as io_temp_publish() does. */
MUST_CHECK int io_publish_bytes(int dirfd, const char *name, const void *data, size_t len,
                                unsigned mode, struct err *err);

/* Whether @name is one that io_temp_open() gives: others may have files that only begin like it. */
bool io_is_temp_name(const char *name);

/*
 * Whether directory @dirfd holds nothing but unfinished files. Returns 1 when so, 0 when
 * something else is in it, or -errno. Removes nothing: it may be anybody's directory.
 */
MUST_CHECK int io_is_unused(int dirfd, struct err *err);

/*
 * Remove the unfinished files that writers before us have left in directory
 * @dirfd; the caller knows that it is ours and that nobody else is writing
 * there. Returns 0 or -errno.
 */
MUST_CHECK int io_sweep(int dirfd, struct err *err);
