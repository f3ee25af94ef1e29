/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write many small files, or one large one, fast; always the same bytes.
 *
 * usage: make_tree tree DIR FILES [MIN MAX]
 *        make_tree file PATH BYTES
 *
 * tree: FILES files of MIN (100) to MAX (4000) bytes, 1000 in each subdirectory of DIR, which must
 * exist.
 * file: one file without holes.
 * Half of all bytes are random; the other half are words, which compress well. No two
 * stretches are equal.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
	FILES_IN_DIR = 1000,
	MIN_SIZE = 100,
	MAX_SIZE = 4000,
	RUN = 512, /* random bytes and words take turns */
	BUFFER = 1 << 20,
};

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Eight bytes that are one of 16 words. */
static uint64_t word(uint64_t random)
{
	static const char words[16][9] = {
		"texture ", "normal  ", "vertex  ", "<model/>", "scale=1 ", "0.00000 ",
		"1.00000 ", "-0.5000 ", "material", "sound   ", "effect  ", "\n\t\t\t\t\t\t\t",
		"radius= ", "colour= ", "#ffffff ", "include ",
	};
	uint64_t w;

	memcpy(&w, words[random % 16], sizeof(w));
	return w;
}

/* @size is a multiple of 8. */
static void fill(unsigned char *buffer, size_t size, uint64_t *state)
{
	size_t at;
	uint64_t w;

	for (at = 0; at < size; at += sizeof(w)) {
		w = next(state);
		if (at / RUN % 2)
			w = word(w >> 32);
		memcpy(buffer + at, &w, sizeof(w));
	}
}

static int write_all(int fd, const unsigned char *p, size_t size)
{
	ssize_t n;

	while (size > 0) {
		n = write(fd, p, size);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

static int make_file(const char *path, uint64_t size, uint64_t seed)
{
	static unsigned char buffer[BUFFER];
	CLEANUP(close) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	size_t n;
	int r;

	if (fd < 0)
		return -errno;
	while (size > 0) {
		n = size < sizeof(buffer) ? (size_t)size : sizeof(buffer);
		fill(buffer, (n + 7) / 8 * 8, &seed);
		r = write_all(fd, buffer, n);
		if (r < 0)
			return r;
		size -= n;
	}
	return 0;
}

static int make_tree(const char *dir, uint64_t files, uint64_t min, uint64_t max)
{
	char path[4096];
	uint64_t i, seed;
	int r;

	for (i = 0; i < files; i++) {
		if (i % FILES_IN_DIR == 0) {
			(void)snprintf(path, sizeof(path), "%s/%04" PRIu64, dir, i / FILES_IN_DIR);
			if (mkdir(path, 0755) < 0)
				return -errno;
		}
		seed = i << 32;
		(void)snprintf(path, sizeof(path), "%s/%04" PRIu64 "/%03" PRIu64 ".dat", dir,
		               i / FILES_IN_DIR, i % FILES_IN_DIR);
		r = make_file(path, min + next(&seed) % (max - min + 1), seed);
		if (r < 0)
			return r;
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool sizes = argc == 6 && strcmp(argv[1], "tree") == 0;
	uint64_t number = argc == 4 || sizes ? strtoull(argv[3], NULL, 10) : 0;
	uint64_t min = sizes ? strtoull(argv[4], NULL, 10) : MIN_SIZE;
	uint64_t max = sizes ? strtoull(argv[5], NULL, 10) : MAX_SIZE;
	int r;

	if (number > 0 && min <= max && strcmp(argv[1], "tree") == 0) {
		r = make_tree(argv[2], number, min, max);
	} else if (number > 0 && strcmp(argv[1], "file") == 0) {
		r = make_file(argv[2], number, 1);
	} else {
		(void)fprintf(
			stderr,
			"usage: make_tree tree DIR FILES [MIN MAX]\n       make_tree file PATH BYTES\n");
		return 2;
	}
	if (r < 0) {
		errno = -r;
		(void)fprintf(stderr, "make_tree: cannot write in '%s': %m\n", argv[2]);
		return 1;
	}
	return 0;
}
