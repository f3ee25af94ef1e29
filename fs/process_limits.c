/* SPDX-License-Identifier: Apache-2.0 */
#include "process_limits.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "pack_fds.h"

enum {
	FILES_WANTED = 65536,
	PACKS_MIN = 16,
	PACKS_MAX = 4096,
	ARENAS_MIN = 2,
	MMAP_THRESHOLD = 2 << 20, /* above what a READ asks for, below the buffers of a fill */
};

uint64_t limits_needed(uint64_t sessions, uint64_t threads)
{
	return sessions * LIMITS_FDS_PER_SESSION + threads * LIMITS_FDS_PER_THREAD + PACKS_MIN;
}

uint64_t limits_packs(uint64_t files)
{
	uint64_t share = files / 4;

	if (share < PACKS_MIN)
		return PACKS_MIN;
	return share < PACKS_MAX ? share : PACKS_MAX;
}

/* Returns the limit of open files, after raising it as far as this process may. */
static uint64_t raise_files(void)
{
	struct rlimit limit = { 0 };
	struct rlimit more;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_max < FILES_WANTED) {
		more = (struct rlimit){ .rlim_cur = FILES_WANTED, .rlim_max = FILES_WANTED };
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return FILES_WANTED;
	}
	more = (struct rlimit){ .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
	return setrlimit(RLIMIT_NOFILE, &more) == 0 ? limit.rlim_max : limit.rlim_cur;
}

/*
 * The allocator keeps a heap for each thread that finds the others busy, and what was freed in
 * each: a few heaps do for threads that spend their time on decompression.
 */
static void bound_heaps(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	/* Before threads start. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)mallopt(M_ARENA_MAX, cores > ARENAS_MIN ? (int)cores : ARENAS_MIN);
	/* As above. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
}

void limits_apply(uint64_t threads)
{
	uint64_t files = raise_files();
	uint64_t needed = limits_needed(LIMITS_SESSIONS, threads);

	bound_heaps();
	pack_fds_limit((size_t)limits_packs(files));
	if (files < needed)
		log_warn("only %llu open files are allowed, %d mounts may need %llu; raise "
		         "LimitNOFILE= of the service or 'ulimit -n'",
		         (unsigned long long)files, LIMITS_SESSIONS, (unsigned long long)needed);
	else
		log_debug("%llu open files are allowed", (unsigned long long)files);
}

void limits_trim(void)
{
	(void)malloc_trim(0);
}
