/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keep whole trees mapped.
 *
 * usage: hold DIR...
 *
 * Maps every regular file below each DIR, reads one byte of every page, prints "done
 * files=N bytes=N", and keeps all mappings until standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fts.h>

#include "base/cleanup.h"

enum { PAGE = 4096 };

struct totals {
	uint64_t files, bytes;
	unsigned sum; /* of the bytes that were read, so that they are */
};

/* Returns 0 or -errno. The mapping stays. */
static int hold_file(const char *path, struct totals *totals)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	const volatile unsigned char *map;
	struct stat st;
	void *addr;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	totals->files++;
	if (st.st_size == 0)
		return 0;
	addr = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return -errno;
	map = addr;
	for (size_t off = 0; off < (size_t)st.st_size; off += PAGE)
		totals->sum += map[off];
	totals->bytes += (uint64_t)st.st_size;
	return 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void fts_close_it(FTS *fts)
{
	(void)fts_close(fts);
}
DEFINE_CLEANUP(FTS *, fts_close_it)

static int hold_trees(char *const dirs[], struct totals *totals)
{
	CLEANUP(fts_close_it) FTS *fts = fts_open(dirs, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	FTSENT *e;

	if (!fts)
		return -errno;
	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((e = fts_read(fts)) != NULL) {
		int r = 0;

		if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS)
			r = -e->fts_errno;
		else if (e->fts_info == FTS_F)
			r = hold_file(e->fts_path, totals);
		if (r < 0) {
			(void)fprintf(stderr, "hold: '%s': %s\n", e->fts_path, strerrordesc_np(-r));
			return r;
		}
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct totals totals = { 0 };
	char byte;

	if (argc < 2) {
		(void)fputs("usage: hold DIR...\n", stderr);
		return 2;
	}
	if (hold_trees(argv + 1, &totals) < 0)
		return 1;
	printf("done files=%" PRIu64 " bytes=%" PRIu64 " sum=%u\n", totals.files, totals.bytes,
	       totals.sum);
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
