/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"

#define PAGE_MAGIC "AFSSTATS"

enum {
	PAGE_VERSION = 1,
	PAGE_MAX = 1 << 20,
	LINE_BYTES = 64,
};

_Static_assert(sizeof(struct stats_slot) == LINE_BYTES, "a counter fills a cache line");
_Static_assert(offsetof(struct stats, counter) == LINE_BYTES, "the header fills a cache line");

#define COUNTER_INFO(constant, object, name, metric, help) \
	[constant] = { object, name, metric, help },
const struct stat_info stat_counters[STAT_COUNTERS] = { STATS_COUNTERS(COUNTER_INFO) };

#define LATENCY_INFO(constant, name, metric, help) [constant] = { NULL, name, metric, help },
const struct stat_info stat_latencies[STAT_LATENCIES] = { STATS_LATENCIES(LATENCY_INFO) };

uint64_t stats_clock(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned stats_bucket(uint64_t ns)
{
	uint64_t v = ns > 0 ? ns - 1 : 0; /* limits belong to the bucket below them */
	unsigned bits;

	if (v >> LATENCY_MIN_BITS == 0)
		return 0;
	if (v >> LATENCY_MAX_BITS != 0)
		return LATENCY_BUCKETS - 1;
	bits = 63 - (unsigned)__builtin_clzll(v);
	return 1 + ((bits - LATENCY_MIN_BITS) << LATENCY_SUB_BITS) +
	       (unsigned)(v >> (bits - LATENCY_SUB_BITS) & ((1u << LATENCY_SUB_BITS) - 1));
}

uint64_t stats_bucket_limit(unsigned i)
{
	unsigned sub;
	unsigned shift;

	if (i == 0)
		return (uint64_t)1 << LATENCY_MIN_BITS;
	if (i >= LATENCY_BUCKETS - 1)
		return UINT64_MAX;
	sub = (i - 1) & ((1u << LATENCY_SUB_BITS) - 1);
	shift = LATENCY_MIN_BITS + ((i - 1) >> LATENCY_SUB_BITS) - LATENCY_SUB_BITS;
	return (((uint64_t)1 << LATENCY_SUB_BITS) + sub + 1) << shift;
}

void stats_took(struct stats *s, enum stat_latency which, uint64_t start)
{
	struct stats_latency *latency = &s->latency[which];
	uint64_t ns = stats_clock() - start;

	(void)__atomic_fetch_add(&latency->sum_ns, ns, __ATOMIC_RELAXED);
	(void)__atomic_fetch_add(&latency->bucket[stats_bucket(ns)], 1, __ATOMIC_RELAXED);
}

static void put_name(char slot[static STATS_NAME_MAX], const char *name)
{
	(void)snprintf(slot, STATS_NAME_MAX, "%s", name);
}

static void init_page(struct stats *s)
{
	*s = (struct stats){
		.version = PAGE_VERSION,
		.size = sizeof(*s),
		.n_counters = STAT_COUNTERS,
		.n_latencies = STAT_LATENCIES,
		.n_buckets = LATENCY_BUCKETS,
		.pid = (int32_t)getpid(),
		.started = (uint64_t)time(NULL),
	};
	s->since = s->started;
	memcpy(s->magic, PAGE_MAGIC, sizeof(s->magic));
	for (unsigned i = 0; i < STAT_COUNTERS; i++)
		put_name(s->counter[i].name, stat_counters[i].name);
	for (unsigned i = 0; i < STAT_LATENCIES; i++)
		put_name(s->latency[i].name, stat_latencies[i].name);
}

/* The index of @name in @infos, or -1. */
static int find(const struct stat_info *infos, int n, const char name[static STATS_NAME_MAX])
{
	for (int i = 0; i < n; i++) {
		if (strncmp(infos[i].name, name, STATS_NAME_MAX) == 0)
			return i;
	}
	return -1;
}

/* Whether a page of @len bytes with the header @head holds what it says. */
static bool is_page(const struct stats *head, size_t len)
{
	return memcmp(head->magic, PAGE_MAGIC, sizeof(head->magic)) == 0 &&
	       head->version == PAGE_VERSION && head->n_buckets == LATENCY_BUCKETS &&
	       head->n_counters <= PAGE_MAX && head->n_latencies <= PAGE_MAX &&
	       len >= offsetof(struct stats, counter) +
	                       head->n_counters * sizeof(struct stats_slot) +
	                       head->n_latencies * sizeof(struct stats_latency);
}

int stats_parse(const void *bytes, size_t len, struct stats *ret)
{
	const uint8_t *at = (const uint8_t *)bytes + offsetof(struct stats, counter);
	struct stats_latency latency;
	struct stats_slot slot;
	struct stats head;

	if (len < offsetof(struct stats, counter))
		return -EBADMSG;
	memcpy(&head, bytes, offsetof(struct stats, counter));
	if (!is_page(&head, len))
		return -EBADMSG;
	init_page(ret);
	ret->pid = head.pid;
	ret->started = head.started;
	ret->since = head.since;
	for (uint32_t i = 0; i < head.n_counters; i++, at += sizeof(slot)) {
		int k;

		memcpy(&slot, at, sizeof(slot));
		k = find(stat_counters, STAT_COUNTERS, slot.name);
		if (k >= 0)
			ret->counter[k].value = slot.value;
	}
	for (uint32_t i = 0; i < head.n_latencies; i++, at += sizeof(latency)) {
		int k;

		memcpy(&latency, at, sizeof(latency));
		k = find(stat_latencies, STAT_LATENCIES, latency.name);
		if (k >= 0)
			ret->latency[k] = latency;
	}
	return 0;
}

int stats_read(int dirfd, struct stats *ret, struct err *err)
{
	CLEANUP(free) char *bytes = NULL;
	size_t len;
	int r = io_read_file(dirfd, STATS_FILE, PAGE_MAX, &bytes, &len, err);

	if (r < 0)
		return r;
	if (stats_parse(bytes, len, ret) < 0)
		return err_set(err, -EBADMSG, "'" STATS_FILE "' is no page of counters");
	return 0;
}

/* Counting must not need room on the disk, where being refused it is a SIGBUS: write in place. */
static void write_in_place(int fd)
{
	int flags = FS_NOCOW_FL;

	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

int stats_open(int dirfd, struct stats **ret, struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	CLEANUP(free) struct stats *page = malloc(sizeof(*page));
	struct err unread = ERR_INIT;
	void *map;
	int r;

	if (!page)
		return err_set(err, -ENOMEM, "out of memory");
	if (stats_read(dirfd, page, &unread) < 0)
		init_page(page);
	page->pid = (int32_t)getpid();
	page->started = (uint64_t)time(NULL);
	r = io_sweep(dirfd, err);
	if (r == 0)
		r = io_temp_open(&tmp, dirfd, err);
	if (r < 0)
		return r;
	write_in_place(tmp.fd);
	r = io_pwrite(tmp.fd, page, sizeof(*page), 0);
	if (r < 0)
		return err_set(err, r, "'" STATS_FILE "': %s", strerrordesc_np(-r));
	map = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, tmp.fd, 0);
	if (map == MAP_FAILED)
		return err_set_errno(err, "'" STATS_FILE "'");
	r = io_temp_publish(&tmp, STATS_FILE, 0640, err);
	if (r < 0) {
		(void)munmap(map, sizeof(*page));
		return r;
	}
	*ret = map;
	return 0;
}

struct stats *stats_private(void)
{
	void *map = mmap(NULL, sizeof(struct stats), PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	init_page(map);
	return map;
}

void stats_close(struct stats *s)
{
	if (s)
		(void)munmap(s, sizeof(*s));
}
