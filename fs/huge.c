/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpfs counts pages, not huge ones. But a huge page is mapped as such by the
 * first fault on it, and /proc/self/pagemap tells then. Only pages that hold data
 * are asked for: a hole would be given memory.
 */
#include "huge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE  ((uint64_t)2 << 20)
#define SMALL_PAGE ((size_t)4096)

/* PAGEMAP_SCAN of linux/fs.h, which Debian 12 does not have yet. */
struct scan {
	uint64_t size, flags;
	uint64_t start, end, walk_end; /* addresses */
	uint64_t vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct scan_range {
	uint64_t start, end, categories;
};
#define SCAN         _IOWR('f', 16, struct scan)
#define SCAN_IS_HUGE ((uint64_t)1 << 6)

/* Address space for @size bytes that begins on a huge page; *@ret_all is to be unmapped. */
static uint8_t *reserve(size_t size, void **ret_all, size_t *ret_len)
{
	uintptr_t start;

	*ret_len = size + HUGE_PAGE;
	*ret_all =
		mmap(NULL, *ret_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*ret_all == MAP_FAILED)
		return NULL;
	start = (uintptr_t)*ret_all;
	return (uint8_t *)*ret_all + (-start & (HUGE_PAGE - 1));
}

/* Have the kernel map those pages of the file that could be huge and hold data. */
static void fault_in(int fd, uint8_t *map, uint64_t size)
{
	for (uint64_t off = 0; off < size; off += HUGE_PAGE) {
		if (lseek(fd, (off_t)off, SEEK_DATA) == (off_t)off)
			(void)madvise(map + off, SMALL_PAGE, MADV_POPULATE_READ);
	}
}

static int count_huge(const uint8_t *map, uint64_t len, uint64_t *ret)
{
	CLEANUP(close) int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct scan_range ranges[64];
	struct scan scan = { .size = sizeof(scan),
		             .start = (uintptr_t)map,
		             .end = (uintptr_t)map + len,
		             .vec = (uintptr_t)ranges,
		             .vec_len = sizeof(ranges) / sizeof(ranges[0]),
		             .category_mask = SCAN_IS_HUGE,
		             .return_mask = SCAN_IS_HUGE };

	*ret = 0;
	if (pagemap < 0)
		return -errno;
	while (scan.start < scan.end) {
		int n = ioctl(pagemap, SCAN, &scan);

		if (n < 0)
			return errno == EINVAL ? -ENOTTY : -errno;
		for (int i = 0; i < n; i++)
			*ret += ranges[i].end - ranges[i].start;
		scan.start = scan.walk_end;
	}
	return 0;
}

int huge_bytes_of_file(int fd, uint64_t size, uint64_t *ret)
{
	/* tmpfs uses a huge page for the last bytes, too, and maps it when the mapping has room. */
	uint64_t len = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	size_t reserved;
	void *all;
	uint8_t *map = reserve(len, &all, &reserved);
	int r;

	if (!map)
		return -errno;
	if (mmap(map, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		r = -errno;
	} else {
		fault_in(fd, map, size);
		r = count_huge(map, len, ret);
	}
	(void)munmap(all, reserved);
	return r;
}

struct sum {
	uint64_t bytes;
	int r; /* the first failure */
};

static void add_object(void *arg, struct object *obj)
{
	struct sum *sum = arg;
	CLEANUP(close) int fd = -1;
	uint64_t bytes = 0;
	int r;

	/* tmpfs puts no huge page into a file that is smaller than one. */
	if (object_size(obj) < HUGE_PAGE || sum->r < 0)
		return;
	fd = object_open(obj);
	if (fd < 0)
		return;
	r = huge_bytes_of_file(fd, object_size(obj), &bytes);
	if (r < 0)
		sum->r = r;
	else
		sum->bytes += bytes;
}

/* Grows with whatever puts bytes into the region. */
static uint64_t work_done(const struct stats *stats)
{
	return stats_get(stats, STAT_CHUNKS_DECOMPRESSED) + stats_get(stats, STAT_CHUNKS_COPIED);
}

int huge_bytes(struct region *region, const struct stats *stats, uint64_t *ret)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct sum last;
	static uint64_t last_work;
	static uint64_t last_used = UINT64_MAX;
	uint64_t work = work_done(stats);
	struct sum sum = { 0 };
	struct region_usage usage;
	bool known;
	int r;

	region_usage(region, &usage);
	(void)pthread_mutex_lock(&lock);
	known = work == last_work && usage.used == last_used;
	sum = known ? last : sum;
	(void)pthread_mutex_unlock(&lock);
	if (!known) {
		r = region_each(region, add_object, &sum);
		if (r < 0)
			return r;
		(void)pthread_mutex_lock(&lock);
		last = sum;
		last_work = work;
		last_used = usage.used;
		(void)pthread_mutex_unlock(&lock);
	}
	*ret = sum.bytes;
	return sum.r;
}
