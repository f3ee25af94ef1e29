/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One warm measurement of a file, in a process of its own.
 *
 * usage: warm read|touch [--wait] FILE
 *
 * read: read(2) from front to back in pieces of 128 KiB; prints MB/s.
 * touch: map the file shared and read one byte of each page, in random order,
 * page faults and mmap(2) included; prints ns for each page, and how many KiB of
 * the mapping lie on huge pages (from smaps).
 * --wait: print "opened" after open(2) and wait for a line on standard input.
 */
#include <errno.h>
#include <fcntl.h>
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

/* Indices of @n pages in an order that is random, and the same each time. */
static uint32_t *random_order(size_t n)
{
	uint32_t *order = calloc(n, sizeof(*order));
	uint64_t state = 1;

	if (!order)
		return NULL;
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (size_t i = n; i > 1; i--) {
		uint32_t last = order[i - 1];
		size_t j;

		state = state * 6364136223846793005u + 1442695040888963407u;
		j = (size_t)(state >> 33) % i;
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

static void wait_for_line(void)
{
	char byte;

	(void)puts("opened");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0 && byte != '\n')
		;
}

int main(int argc, char *argv[])
{
	bool wait = argc == 4 && strcmp(argv[2], "--wait") == 0;
	CLEANUP(close) int fd = -1;
	struct stat st;
	int r;

	if ((argc != 3 && !wait) ||
	    (strcmp(argv[1], "read") != 0 && strcmp(argv[1], "touch") != 0)) {
		(void)fputs("usage: warm read|touch [--wait] FILE\n", stderr);
		return 2;
	}
	fd = open(argv[argc - 1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(argv[argc - 1]);
		return 1;
	}
	if (wait)
		wait_for_line();
	r = strcmp(argv[1], "read") == 0 ? measure_read(fd) : measure_touch(fd, (size_t)st.st_size);
	if (r < 0) {
		(void)fprintf(stderr, "warm: '%s': %s\n", argv[argc - 1], strerrordesc_np(-r));
		return 1;
	}
	return 0;
}
