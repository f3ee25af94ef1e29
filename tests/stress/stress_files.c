/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads read packs of which few may stay open, so that descriptors are closed and opened all the
 * time: each must be the pack's that was asked for. Then files are fed and left half way.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/feed.h"
#include "pack_fds.h"

enum {
	PACKS = 32,
	LIMIT = 5,
	THREADS = 8,
	READS = 4000,
	FEEDS = 40,
	FEED_BLOCKS = 24,
};

static struct pack_fd packs[PACKS];
static int dir = -1;
static int n_wrong; /* atomic */

static void wrong(const char *what, unsigned i)
{
	(void)fprintf(stderr, "stress_files: %s %u\n", what, i);
	(void)__atomic_fetch_add(&n_wrong, 1, __ATOMIC_RELAXED);
}

static void *read_packs(void *arg)
{
	unsigned seed = *(const unsigned *)arg;

	for (unsigned i = 0; i < READS; i++) {
		unsigned pack = (seed = seed * 1103515245u + 12345u) >> 16 & (PACKS - 1);
		unsigned found = PACKS;
		char name[16];
		int fd;

		(void)snprintf(name, sizeof(name), "%u", pack);
		fd = pack_fd_get(&packs[pack], dir, name);
		if (fd < 0) {
			wrong("not opened: pack", pack);
			continue;
		}
		if (pread(fd, &found, sizeof(found), 0) != (ssize_t)sizeof(found) || found != pack)
			wrong("other bytes than those of pack", pack);
		pack_fd_put(&packs[pack]);
	}
	return NULL;
}

static void make_packs(const char *path)
{
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < PACKS; i++) {
		char name[16];
		CLEANUP(close) int fd = -1;

		(void)snprintf(name, sizeof(name), "%u", i);
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (write(fd, &i, sizeof(i)) != (ssize_t)sizeof(i))
			wrong("not written: pack", i);
		packs[i] = PACK_FD_INIT;
	}
}

static void remove_packs(const char *path)
{
	for (unsigned i = 0; i < PACKS; i++) {
		char name[16];

		pack_fd_close(&packs[i]);
		(void)snprintf(name, sizeof(name), "%u", i);
		(void)unlinkat(dir, name, 0);
	}
	(void)close(dir);
	(void)rmdir(path);
}

static void race_for_packs(void)
{
	char path[] = "/tmp/stress_files.XXXXXX";
	pthread_t threads[THREADS];
	unsigned seeds[THREADS];

	if (!mkdtemp(path)) {
		wrong("no directory for packs:", PACKS);
		return;
	}
	make_packs(path);
	pack_fds_limit(LIMIT);
	for (unsigned i = 0; i < THREADS; i++) {
		seeds[i] = i + 1;
		if (pthread_create(&threads[i], NULL, read_packs, &seeds[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	if (pack_fds_open() != LIMIT)
		wrong("left open:", (unsigned)pack_fds_open());
	remove_packs(path);
}

static void add_up(void *arg, const void *data, size_t len)
{
	uint64_t *sum = arg;

	*sum += len + *(const uint8_t *)data;
}

static void leave_feeds(void)
{
	CLEANUP(close) int fd = memfd_create("feed", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, FEED_BLOCKS * (off_t)FEED_BLOCK) < 0)
		wrong("no file of blocks:", FEED_BLOCKS);
	for (unsigned i = 0; i < FEEDS; i++) {
		CLEANUP(feed_free) struct feed *feed = NULL;
		uint64_t sum = 0;
		const void *data;
		size_t len;

		if (feed_open(fd, FEED_BLOCKS * FEED_BLOCK, add_up, &sum, &feed) < 0)
			abort();
		for (unsigned k = 0; k < i % (FEED_BLOCKS + 1); k++) {
			if (feed_next(feed, &data, &len) != 1 || len != FEED_BLOCK)
				wrong("no block", k);
		}
	}
}

int main(void)
{
	race_for_packs();
	leave_feeds();
	return n_wrong > 0;
}
