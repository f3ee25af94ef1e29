/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `assetfs doctor`: what of this machine is in the way of assetfs, and what to do about it.
 *
 * Facts are gathered first, all of them; then each check judges them without looking at the
 * machine, so that tests can feed it any. Nothing here touches an assetfs mount: one that
 * hangs would take the doctor with it. One thread.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCTOR_UNLIMITED UINT64_MAX

/* Results of trials are 0, or what went wrong as -errno; NOT_TRIED: this process may not. */
enum { DOCTOR_NOT_TRIED = 1 };

/* How far the trial of FUSE passthrough came. */
enum doctor_step {
	STEP_MOUNT,   /* a superblock */
	STEP_OFFER,   /* the kernel's INIT offers passthrough */
	STEP_BACKING, /* the kernel takes a backing file */
	STEP_READ,    /* a reader gets its bytes, and the server is not asked */
};

struct doctor_disk {
	char path[PATH_MAX];
	char type[32];     /* of the file system, as in mountinfo; "" when unknown */
	bool looked;       /* the rest is known */
	uint64_t bytes;    /* free for others than root */
	uint64_t inodes;   /* free */
	uint64_t n_inodes; /* 0: the file system does not count */
};

struct doctor_facts {
	char kernel[64]; /* release */
	unsigned major, minor;

	int fuse_device; /* opening /dev/fuse: 0 or -errno */
	bool fuse_known; /* /proc/filesystems has it */

	bool root;
	bool sys_admin;
	bool initial_userns;

	int passthrough; /* trial */
	enum doctor_step passthrough_step;

	char shmem_enabled[16]; /* the word in brackets; "" when the file is missing */
	int huge;               /* trial; -ENOTSUP: pages came, but small ones */

	int daemon;     /* 0: it answers; -ENOTCONN: none runs; -errno */
	int daemon_pid; /* 0: none */
	char daemon_version[32];
	bool daemon_replaced; /* its program file is gone */

	/* of the daemon, or of this process when none runs */
	uint64_t region_size;
	uint64_t memory_limit; /* of its cgroups, bytes */
	uint64_t n_neighbours; /* processes of other programs in its cgroup */
	int oom_score_adj;
	uint64_t files_max; /* RLIMIT_NOFILE */

	uint64_t swap; /* bytes of swap that its memory may go to */

	uint64_t machine_files_max; /* fs.file-max */
	uint64_t machine_files;     /* in use */
	uint64_t map_count_max;     /* vm.max_map_count; 0: unknown */
	uint64_t fuse_pages_max;    /* fs.fuse.max_pages_limit; 0: the kernel has none */

	uint64_t wake;          /* trial: ns until a processor that sleeps goes on; 0: unknown */
	bool halt_poll_known;   /* this is a guest whose processors may wait before they halt */
	uint64_t halt_poll_max; /* ns that they do at most */

	char target[PATH_MAX]; /* where mounts are to be made */
	bool target_known;
	bool target_shared;

	uint64_t n_mounts;  /* of assetfs, in this mount namespace */
	uint64_t n_dead;    /* of them, that no process serves */
	uint64_t n_strange; /* that the daemon does not serve, but another process may */
	char first_dead[PATH_MAX];
	uint64_t read_ahead_kib; /* the least of all mounts; 0: there is none */

	struct doctor_disk store;
	struct doctor_disk region; /* path "": the region is memory */
};

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct finding {
	enum doctor_level level;
	char found[320];
	char advice[320]; /* "" when there is nothing to do */
};

struct doctor_check {
	const char *name;
	void (*judge)(const struct doctor_facts *facts, struct finding *ret); /* pure */
};

extern const struct doctor_check doctor_checks[];
extern const size_t n_doctor_checks;

struct doctor_options {
	const char *store;
	const char *region; /* NULL: memory */
	const char *target;
};

/* Gather all facts. Never fails: what cannot be learnt is said to be unknown. */
void doctor_gather(const struct doctor_options *options, struct doctor_facts *ret);

/* Serve a scratch mount for a moment and read through it. Ends after some seconds at the latest. */
void doctor_try_passthrough(const char *region, struct doctor_facts *facts);

/* How long a thread that sleeps takes to go on, in nanoseconds; 0 when that could not be tried. */
uint64_t doctor_try_waking(void);

/* Write a huge page's worth to a tmpfs as the region's, and see what the kernel gives. */
void doctor_try_huge(struct doctor_facts *facts);
