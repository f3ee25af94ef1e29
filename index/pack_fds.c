/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock is held for changes of lists and counts; files are opened and closed without it. It
 * is taken twice for each chunk, whose decompression takes a thousand times as long.
 */
#include "pack_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/cleanup.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* under lock */
static struct pack_fd *oldest, *newest; /* open, without readers */
static size_t n_open;
static size_t limit = 256;

/* With the lock held. */
static void unlink_idle(struct pack_fd *file)
{
	*(file->older ? &file->older->newer : &oldest) = file->newer;
	*(file->newer ? &file->newer->older : &newest) = file->older;
	file->older = file->newer = NULL;
}

/* With the lock held. */
static void link_newest(struct pack_fd *file)
{
	file->older = newest;
	file->newer = NULL;
	*(newest ? &newest->newer : &oldest) = file;
	newest = file;
}

/* With the lock held: take the descriptor out of @file, which has no readers. */
static int take_idle(struct pack_fd *file)
{
	unlink_idle(file);
	n_open--;
	return TAKE_FD(file->fd);
}

/* With the lock held: a descriptor too many, for the caller to close, or -1. */
static int take_surplus(void)
{
	return n_open > limit && oldest ? take_idle(oldest) : -1;
}

/* Without the lock. @fd may be -1. */
static void close_surplus(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

void pack_fds_limit(size_t n)
{
	(void)pthread_mutex_lock(&lock);
	limit = n;
	(void)pthread_mutex_unlock(&lock);
}

size_t pack_fds_open(void)
{
	size_t n;

	(void)pthread_mutex_lock(&lock);
	n = n_open;
	(void)pthread_mutex_unlock(&lock);
	return n;
}

/* Become a reader of @file if it is open. Returns its descriptor or -1. */
static int join(struct pack_fd *file)
{
	int fd;

	(void)pthread_mutex_lock(&lock);
	fd = file->fd;
	if (fd >= 0 && file->readers++ == 0)
		unlink_idle(file);
	(void)pthread_mutex_unlock(&lock);
	return fd;
}

/* Become a reader of @file, which @fd was opened for. Takes @fd; returns the file's descriptor. */
static int enter(struct pack_fd *file, int fd)
{
	int surplus = -1;

	(void)pthread_mutex_lock(&lock);
	if (file->fd < 0) {
		file->fd = fd;
		n_open++;
		surplus = take_surplus();
	} else { /* another thread was faster */
		surplus = fd;
		if (file->readers == 0)
			unlink_idle(file);
	}
	file->readers++;
	fd = file->fd;
	(void)pthread_mutex_unlock(&lock);
	close_surplus(surplus);
	return fd;
}

int pack_fd_get(struct pack_fd *file, int dirfd, const char *name)
{
	int fd = join(file);

	if (fd >= 0)
		return fd;
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	/* The readers know better what to read ahead. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	return enter(file, fd);
}

void pack_fd_put(struct pack_fd *file)
{
	int surplus = -1;

	(void)pthread_mutex_lock(&lock);
	file->was_read = true;
	if (--file->readers == 0) {
		link_newest(file);
		surplus = take_surplus();
	}
	(void)pthread_mutex_unlock(&lock);
	close_surplus(surplus);
}

void pack_fds_trim(void)
{
	(void)pthread_mutex_lock(&lock);
	for (struct pack_fd *file = oldest; file; file = file->newer) {
		if (file->was_read)
			(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
		file->was_read = false;
	}
	(void)pthread_mutex_unlock(&lock);
}

void pack_fd_close(struct pack_fd *file)
{
	int fd = -1;

	(void)pthread_mutex_lock(&lock);
	if (file->fd >= 0)
		fd = take_idle(file);
	(void)pthread_mutex_unlock(&lock);
	close_surplus(fd);
}
