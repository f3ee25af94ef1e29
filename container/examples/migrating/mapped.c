/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After: the assets are files below /game-assets, and a server maps those that it uses.
 *
 * usage: mapped FILE...
 *        mapped --scribble FILE
 *
 * Maps the files, prints "bytes=N sum=N", and stays until standard input ends. With --scribble it
 * tries to write into the file, as a server with a bug.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(const char *what)
{
	(void)fprintf(stderr, "mapped: %s: %s\n", what, strerrordesc_np(errno));
	return 1;
}

/* The bytes of a file; NULL when it has none, or on failure. The mapping outlives the descriptor. */
static const unsigned char *map_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *at = MAP_FAILED;
	struct stat st;

	*size = 0;
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
		*size = (size_t)st.st_size;
	}
	(void)close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static int scribble(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return failed(path);
	return write(fd, "x", 1) == 1 ? 0 : failed(path);
}

int main(int argc, char *argv[])
{
	uint64_t sum = 0, total = 0;
	char byte;

	if (argc == 3 && strcmp(argv[1], "--scribble") == 0)
		return scribble(argv[2]);
	if (argc < 2) {
		(void)fputs("usage: mapped FILE... | mapped --scribble FILE\n", stderr);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		size_t size;
		const unsigned char *bytes = map_file(argv[i], &size);

		if (!bytes)
			return failed(argv[i]);
		for (size_t k = 0; k < size; k++)
			sum += bytes[k];
		total += size;
	}
	(void)printf("bytes=%llu sum=%llu\n", (unsigned long long)total, (unsigned long long)sum);
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
