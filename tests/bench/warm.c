/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One warm measurement of a file or a tree, in a process of its own.
 *
 * usage: warm read|pread|touch [--wait] FILE
 *        warm tree|open|list DIR
 *
 * read: read(2) from front to back in pieces of 128 KiB; prints MB/s.
 * pread: pread(2) of 4 KiB at 262144 random offsets that are multiples of that; prints ns for each.
 * touch: map the file shared and read one byte of each page, in random order,
 * page faults and mmap(2) included; prints ns for each page, and how many KiB of
 * the mapping lie on huge pages (from smaps).
 * tree: all files of a tree, as read; prints MB/s, opens included.
 * open: open, read and close each file of a tree that has at most 64 KiB, in random order; prints
 * ns for each. The names are listed before.
 * list: what find -ls does: list all directories and stat every entry; prints ns for each.
 * --wait: print "opened" after open(2) and wait for a line on standard input.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
	PAGE = 4096,
	READ_SIZE = 128 << 10,
	SMALL_MAX = 64 << 10,
	PREADS = 262144,
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int measure_read(int fd)
{
	static unsigned char buf[READ_SIZE];
	uint64_t start = now_ns();
	uint64_t bytes = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		bytes += (uint64_t)n;
	if (n < 0)
		return -errno;
	printf("%.0f\n", (double)bytes * 1000.0 / (double)(now_ns() - start));
	return 0;
}

static uint64_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* Indices of @n things in an order that is random, and the same each time. */
static uint32_t *random_order(size_t n)
{
	uint32_t *order = calloc(n + 1, sizeof(*order));
	uint64_t state = 1;

	if (!order)
		return NULL;
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (size_t i = n; i > 1; i--) {
		uint32_t last = order[i - 1];
		size_t j = (size_t)random_next(&state) % i;

		order[i - 1] = order[j];
		order[j] = last;
	}
	return order;
}

static void fclose_it(FILE *f)
{
	(void)fclose(f);
}
DEFINE_CLEANUP(FILE *, fclose_it)

/* KiB of the mapping at @addr that are mapped by huge pages, of tmpfs and of other files. */
static int huge_kib(const void *addr, uint64_t *shmem, uint64_t *file)
{
	CLEANUP(fclose_it) FILE *f = fopen("/proc/self/smaps", "re");
	char prefix[32];
	char line[512];
	bool inside = false;

	if (!f)
		return -errno;
	(void)snprintf(prefix, sizeof(prefix), "%" PRIxPTR "-", (uintptr_t)addr);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, prefix, strlen(prefix)) == 0)
			inside = true;
		else if (inside && strncmp(line, "ShmemPmdMapped:", 15) == 0)
			*shmem = strtoull(line + 15, NULL, 10);
		else if (inside && strncmp(line, "FilePmdMapped:", 14) == 0)
			*file = strtoull(line + 14, NULL, 10);
		else if (strncmp(line, "VmFlags:", 8) == 0)
			inside = false;
	}
	return 0;
}

static int measure_touch(int fd, size_t size)
{
	size_t n = size / PAGE;
	CLEANUP(free) uint32_t *order = random_order(n);
	const volatile unsigned char *map;
	uint64_t shmem = 0;
	uint64_t file = 0;
	uint64_t start, ns;
	unsigned sum = 0;
	void *addr;
	int r;

	if (!order || n == 0)
		return -EINVAL;
	start = now_ns();
	addr = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return -errno;
	map = addr;
	for (size_t i = 0; i < n; i++)
		sum += map[(size_t)order[i] * PAGE];
	ns = now_ns() - start;
	r = huge_kib(addr, &shmem, &file);
	if (r < 0)
		return r;
	printf("%.1f shmem_pmd_kib=%" PRIu64 " file_pmd_kib=%" PRIu64 " sum=%u\n",
	       (double)ns / (double)n, shmem, file, sum);
	return munmap(addr, size) < 0 ? -errno : 0;
}

static int measure_pread(int fd, size_t size)
{
	unsigned char buf[PAGE];
	uint64_t state = 1;
	uint64_t start;

	if (size < PAGE)
		return -EINVAL;
	start = now_ns();
	for (int i = 0; i < PREADS; i++) {
		off_t off = (off_t)(random_next(&state) % (size / PAGE) * PAGE);

		if (pread(fd, buf, sizeof(buf), off) != (ssize_t)sizeof(buf))
			return errno ? -errno : -EIO;
	}
	printf("%.0f\n", (double)(now_ns() - start) / PREADS);
	return 0;
}

/* Paths of files of a tree. */
struct paths {
	char **path; /* owned, and each */
	size_t n, cap;
	off_t max; /* larger files are left out */
};

static void paths_release_cleanup(struct paths *paths)
{
	for (size_t i = 0; i < paths->n; i++)
		free(paths->path[i]);
	free(paths->path);
}

static int add_path(struct paths *paths, const char *path)
{
	if (paths->n == paths->cap) {
		size_t cap = paths->cap * 2 + 1024;
		char **grown = reallocarray(paths->path, cap, sizeof(char *));

		if (!grown)
			return -ENOMEM;
		paths->path = grown;
		paths->cap = cap;
	}
	paths->path[paths->n] = strdup(path);
	return paths->path[paths->n++] ? 0 : -ENOMEM;
}

static void fts_close_it(FTS *fts)
{
	(void)fts_close(fts);
}
DEFINE_CLEANUP(FTS *, fts_close_it)

/* Visit a tree, with stat(2) of every entry, and list its files in @paths unless that is NULL. */
static int walk(char *dir, struct paths *paths, uint64_t *ret_n)
{
	char *argv[] = { dir, NULL };
	CLEANUP(fts_close_it) FTS *fts = fts_open(argv, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *e;
	int r = 0;

	*ret_n = 0;
	while (fts && r == 0 && (errno = 0, e = fts_read(fts)) != NULL) {
		if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS)
			return -e->fts_errno;
		*ret_n += e->fts_info != FTS_DP;
		if (paths && e->fts_info == FTS_F && e->fts_statp->st_size <= paths->max)
			r = add_path(paths, e->fts_path);
	}
	return r < 0 ? r : -errno;
}

static int measure_list(char *dir)
{
	uint64_t start = now_ns();
	uint64_t n;
	int r = walk(dir, NULL, &n);

	if (r == 0)
		printf("%.0f\n", (double)(now_ns() - start) / (double)n);
	return r;
}

/* Open, read and close. Returns the number of bytes, or -errno. */
static int64_t read_file(const char *path)
{
	static unsigned char buf[READ_SIZE];
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	int64_t bytes = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0) {
		n = read(fd, buf, sizeof(buf));
		bytes += n;
		/* As who knows the size from stat(2) does: no further call to see the end. */
		if (n < READ_SIZE && n >= 0)
			return bytes;
	}
	return n < 0 ? -errno : bytes;
}

/* Read the files of up to @max bytes in @dir: ns for each, or MB/s. */
static int measure_files(char *dir, off_t max, bool shuffled)
{
	CLEANUP(paths_release) struct paths paths = { .max = max };
	CLEANUP(free) uint32_t *order = NULL;
	uint64_t n, start, ns;
	int64_t bytes = 0;
	int r = walk(dir, &paths, &n);

	order = random_order(paths.n);
	if (r < 0 || !order || paths.n == 0)
		return r < 0 ? r : -EINVAL;
	start = now_ns();
	for (size_t i = 0; i < paths.n; i++) {
		int64_t got = read_file(paths.path[shuffled ? order[i] : i]);

		if (got < 0)
			return (int)got;
		bytes += got;
	}
	ns = now_ns() - start;
	if (shuffled)
		printf("%.0f\n", (double)ns / (double)paths.n);
	else
		printf("%.0f\n", (double)bytes * 1000.0 / (double)ns);
	return 0;
}

static void wait_for_line(void)
{
	char byte;

	(void)puts("opened");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0 && byte != '\n')
		;
}

static int measure_file(const char *how, const char *path, bool wait)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (wait)
		wait_for_line();
	if (strcmp(how, "read") == 0)
		return measure_read(fd);
	return strcmp(how, "pread") == 0 ? measure_pread(fd, (size_t)st.st_size)
	                                 : measure_touch(fd, (size_t)st.st_size);
}

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(word, *words) != 0)
		words++;
	return *words != NULL;
}

int main(int argc, char *argv[])
{
	static const char *const of_file[] = { "read", "pread", "touch", NULL };
	static const char *const of_tree[] = { "tree", "open", "list", NULL };
	bool wait = argc == 4 && strcmp(argv[2], "--wait") == 0;
	bool tree = argc == 3 && is_one_of(argv[1], of_tree);
	int r;

	if (!tree && ((argc != 3 && !wait) || !is_one_of(argv[1], of_file))) {
		(void)fputs("usage: warm read|pread|touch [--wait] FILE\n"
		            "       warm tree|open|list DIR\n",
		            stderr);
		return 2;
	}
	if (!tree)
		r = measure_file(argv[1], argv[argc - 1], wait);
	else if (strcmp(argv[1], "list") == 0)
		r = measure_list(argv[2]);
	else if (strcmp(argv[1], "open") == 0)
		r = measure_files(argv[2], SMALL_MAX, /* shuffled= */ true);
	else
		r = measure_files(argv[2], INT64_MAX, /* shuffled= */ false);
	if (r < 0) {
		(void)fprintf(stderr, "warm: '%s': %s\n", argv[argc - 1], strerrordesc_np(-r));
		return 1;
	}
	return 0;
}
