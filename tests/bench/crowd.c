/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cold reads of a file.
 *
 * usage: crowd read|touch N FILE
 *        crowd bytes FILE OFFSET...
 *
 * read: N processes, which are started before, open FILE at once and read it whole, in
 * pieces of 128 KiB; prints the seconds until the last one is done.
 * touch: the same, but each reads a byte of each MiB: what they wait for is decompression, little is
 * copied.
 * bytes: open FILE, then read one byte at each OFFSET; prints microseconds of each step.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
	READ_SIZE = 128 << 10,
	TOUCH_STEP = 1 << 20,
	READERS_MAX = 1024,
};

static double now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* In a child: wait until @start is closed by the parent, read. Returns the exit status. */
static int read_whole(const char *path, int start)
{
	static char buf[READ_SIZE];
	CLEANUP(close) int fd = -1;
	off_t bytes = 0;
	struct stat st;
	ssize_t n;

	(void)!read(start, buf, 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return 1;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		bytes += n;
	return n == 0 && bytes == st.st_size ? 0 : 1;
}

/* As read_whole(), a byte of each step. */
static int touch(const char *path, int start)
{
	CLEANUP(close) int fd = -1;
	struct stat st;
	char byte;

	(void)!read(start, &byte, 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return 1;
	for (off_t off = 0; off < st.st_size; off += TOUCH_STEP) {
		if (pread(fd, &byte, 1, off) != 1)
			return 1;
	}
	return 0;
}

static int crowd(int (*work)(const char *path, int start), int n, const char *path)
{
	int start[2], ready[2];
	int status = 0;
	double begin;
	char byte;

	if (pipe(start) < 0 || pipe(ready) < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (pid == 0) {
			(void)close(start[1]);
			(void)!write(ready[1], "r", 1);
			_exit(work(path, start[0]));
		}
	}
	for (int i = 0; i < n; i++)
		(void)!read(ready[0], &byte, 1);
	begin = now();
	(void)close(start[1]);
	for (int i = 0; i < n; i++) {
		int one;

		if (wait(&one) < 0 || one != 0)
			status = -EIO;
	}
	printf("%.4f\n", now() - begin);
	return status;
}

static int crowd_bytes(const char *path, char *const offsets[], int n)
{
	CLEANUP(close) int fd = -1;
	double begin = now();
	char byte;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	printf("%.0f", (now() - begin) * 1e6);
	for (int i = 0; i < n; i++) {
		begin = now();
		if (pread(fd, &byte, 1, (off_t)strtoull(offsets[i], NULL, 10)) != 1)
			return -EIO;
		printf(" %.0f", (now() - begin) * 1e6);
	}
	(void)puts("");
	return 0;
}

int main(int argc, char *argv[])
{
	bool reads = argc == 4 && strcmp(argv[1], "read") == 0;
	bool touches = argc == 4 && strcmp(argv[1], "touch") == 0;
	int n = reads || touches ? (int)strtol(argv[2], NULL, 10) : 0;
	int r;

	if (n > 0 && n <= READERS_MAX) {
		r = crowd(reads ? read_whole : touch, n, argv[3]);
	} else if (argc > 3 && strcmp(argv[1], "bytes") == 0) {
		r = crowd_bytes(argv[2], argv + 3, argc - 3);
	} else {
		(void)fputs("usage: crowd read|touch N FILE | crowd bytes FILE OFFSET...\n",
		            stderr);
		return 2;
	}
	if (r < 0)
		(void)fprintf(stderr, "crowd: '%s': %s\n", argv[n > 0 ? 3 : 2],
		              strerrordesc_np(-r));
	return r < 0 ? 1 : 0;
}
