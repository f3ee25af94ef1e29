/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "doctor.h"
#include "doctor_mounts.h"
#include "process_limits.h"

#define GIB ((uint64_t)1 << 30)

/* A machine on which nothing is wrong. */
static struct doctor_facts healthy(void)
{
	struct doctor_facts f = {
		.kernel = "6.12.1",
		.major = 6,
		.minor = 12,
		.fuse_known = true,
		.root = true,
		.sys_admin = true,
		.initial_userns = true,
		.shmem_enabled = "never",
		.daemon_pid = 77,
		.daemon_version = ASSETFS_VERSION,
		.region_size = 4 * GIB,
		.memory_limit = 8 * GIB,
		.oom_score_adj = -900,
		.files_max = 65536,
		.machine_files_max = 1000000,
		.machine_files = 1000,
		.map_count_max = 65530,
		.fuse_pages_max = 256,
		.wake = 3000,
		.target = "/game-assets",
		.target_known = true,
		.target_shared = true,
		.n_mounts = 2,
		.read_ahead_kib = 1024,
		.store = { .path = "/var/lib/assetfs",
		           .type = "ext4",
		           .looked = true,
		           .bytes = 100 * GIB,
		           .inodes = 1000000,
		           .n_inodes = 2000000 },
	};

	return f;
}

static struct finding judge(const char *name, const struct doctor_facts *f)
{
	struct finding finding = { .level = DOCTOR_FAIL, .found = "", .advice = "" };
	size_t i = 0;

	while (i < n_doctor_checks && strcmp(doctor_checks[i].name, name) != 0)
		i++;
	cr_assert_lt(i, n_doctor_checks, "there is no check '%s'", name);
	doctor_checks[i].judge(f, &finding);
	return finding;
}

/* Check @name gives @level, with @advice in what it says to do. */
static void expect(const struct doctor_facts *f, const char *name, enum doctor_level level,
                   const char *advice)
{
	struct finding finding = judge(name, f);

	cr_expect_eq(finding.level, level, "%s: '%s'", name, finding.found);
	cr_expect_not_null(strstr(finding.advice, advice), "%s: '%s'", name, finding.advice);
	cr_expect_eq(finding.advice[0] == '\0', level == DOCTOR_OK, "%s: '%s'", name,
	             finding.advice);
	cr_expect_neq(finding.found[0], '\0', "%s finds nothing", name);
}

Test(doctor, has_nothing_to_say_of_a_healthy_machine)
{
	struct doctor_facts f = healthy();

	for (size_t i = 0; i < n_doctor_checks; i++)
		expect(&f, doctor_checks[i].name, DOCTOR_OK, "");
}

Test(doctor, names_are_lines_of_their_own)
{
	for (size_t i = 0; i < n_doctor_checks; i++) {
		for (size_t k = 0; k < i; k++)
			cr_expect_neq(strcmp(doctor_checks[i].name, doctor_checks[k].name), 0);
	}
}

Test(doctor, old_kernels)
{
	struct doctor_facts f = healthy();

	f.minor = 8;
	expect(&f, "kernel", DOCTOR_WARN, "6.9");
	f.minor = 9;
	expect(&f, "kernel", DOCTOR_OK, "");
	f.major = 7;
	f.minor = 0;
	expect(&f, "kernel", DOCTOR_OK, "");
	f.major = 5;
	f.minor = 2;
	expect(&f, "kernel", DOCTOR_FAIL, "5.3");
}

Test(doctor, no_fuse)
{
	struct doctor_facts f = healthy();

	f.fuse_device = -ENOENT;
	expect(&f, "fuse", DOCTOR_FAIL, "mknod");
	f.fuse_known = false;
	expect(&f, "fuse", DOCTOR_FAIL, "modprobe fuse");
	f.fuse_known = true;
	f.fuse_device = -EPERM;
	expect(&f, "fuse", DOCTOR_FAIL, "device policy");
	f.root = false;
	expect(&f, "fuse", DOCTOR_WARN, "as root");
}

Test(doctor, privilege)
{
	struct doctor_facts f = healthy();

	f.initial_userns = false;
	expect(&f, "privilege", DOCTOR_WARN, "hostUsers");
	f.sys_admin = false;
	expect(&f, "privilege", DOCTOR_FAIL, "CAP_SYS_ADMIN");
	f.root = false;
	expect(&f, "privilege", DOCTOR_FAIL, "root");
}

Test(doctor, passthrough_that_is_refused)
{
	struct doctor_facts f = healthy();

	f.passthrough = DOCTOR_NOT_TRIED;
	expect(&f, "passthrough", DOCTOR_WARN, "as root");
	f.passthrough = -EOPNOTSUPP;
	f.passthrough_step = STEP_OFFER;
	expect(&f, "passthrough", DOCTOR_WARN, "CONFIG_FUSE_PASSTHROUGH");
	f.passthrough_step = STEP_BACKING;
	f.passthrough = -EPERM;
	expect(&f, "passthrough", DOCTOR_WARN, "CAP_SYS_ADMIN");
	f.passthrough = -ELOOP;
	expect(&f, "passthrough", DOCTOR_WARN, "overlayfs");
	f.passthrough_step = STEP_READ;
	f.passthrough = -ETIMEDOUT;
	expect(&f, "passthrough", DOCTOR_WARN, "log");
}

Test(doctor, small_pages)
{
	struct doctor_facts f = healthy();

	f.huge = -ENOTSUP;
	expect(&f, "huge pages", DOCTOR_WARN, "compact_memory");
	(void)strcpy(f.shmem_enabled, "deny");
	expect(&f, "huge pages", DOCTOR_WARN, "shmem_enabled");
	f.shmem_enabled[0] = '\0';
	expect(&f, "huge pages", DOCTOR_WARN, "CONFIG_TRANSPARENT_HUGEPAGE");
	f.huge = DOCTOR_NOT_TRIED;
	expect(&f, "huge pages", DOCTOR_WARN, "as root");
}

Test(doctor, memory_that_does_not_hold_the_region)
{
	struct doctor_facts f = healthy();

	f.memory_limit = f.region_size + (100 << 20);
	expect(&f, "memory", DOCTOR_WARN, "--region-size");
	f.memory_limit = f.region_size - 1;
	expect(&f, "memory", DOCTOR_FAIL, "--region-size");
	f.memory_limit = DOCTOR_UNLIMITED;
	expect(&f, "memory", DOCTOR_OK, "");
}

Test(doctor, company_in_the_cgroup)
{
	struct doctor_facts f = healthy();

	f.oom_score_adj = 0;
	expect(&f, "cgroup", DOCTOR_WARN, "OOMScoreAdjust");
	f.n_neighbours = 3;
	expect(&f, "cgroup", DOCTOR_WARN, "of its own");
	f.daemon_pid = 0;
	expect(&f, "cgroup", DOCTOR_OK, "");
}

Test(doctor, swap_concerns_memory_only)
{
	struct doctor_facts f = healthy();

	f.swap = GIB;
	expect(&f, "swap", DOCTOR_WARN, "MemorySwapMax");
	f.region = f.store;
	expect(&f, "swap", DOCTOR_OK, "");
}

Test(doctor, private_mounts)
{
	struct doctor_facts f = healthy();

	f.target_shared = false;
	expect(&f, "propagation", DOCTOR_WARN, "make-rshared");
	f.target_known = false;
	expect(&f, "propagation", DOCTOR_WARN, "namespace");
}

Test(doctor, disks)
{
	struct doctor_facts f = healthy();

	f.store.inodes = 10;
	expect(&f, "store", DOCTOR_WARN, "room");
	f.store.inodes = 0;
	expect(&f, "store", DOCTOR_FAIL, "room");
	f.store.n_inodes = 0; /* btrfs */
	expect(&f, "store", DOCTOR_OK, "");
	f.store.bytes = GIB / 2;
	expect(&f, "store", DOCTOR_WARN, "room");
	f.store.bytes = 1 << 20;
	expect(&f, "store", DOCTOR_FAIL, "room");
	f = healthy();
	(void)strcpy(f.store.type, "tmpfs");
	expect(&f, "store", DOCTOR_WARN, "memory");
	f.store.looked = false;
	(void)strcpy(f.store.type, "nfs4");
	expect(&f, "store", DOCTOR_WARN, "local disk");
	(void)strcpy(f.store.type, "");
	expect(&f, "store", DOCTOR_WARN, "directory");
}

Test(doctor, a_region_that_cannot_be_passed_through)
{
	struct doctor_facts f = healthy();

	f.region = f.store;
	expect(&f, "region", DOCTOR_OK, "");
	(void)strcpy(f.region.type, "overlay");
	expect(&f, "region", DOCTOR_WARN, "volume");
}

Test(doctor, limits_of_open_files)
{
	struct doctor_facts f = healthy();

	f.machine_files = 900000;
	expect(&f, "open files", DOCTOR_WARN, "fs.file-max");
	f.files_max = 256;
	expect(&f, "open files", DOCTOR_WARN, "LimitNOFILE");
	f.machine_files = 0;
	f.machine_files_max = UINT64_MAX;
	f.files_max = UINT64_MAX;
	expect(&f, "open files", DOCTOR_OK, "");
}

Test(doctor, small_requests)
{
	struct doctor_facts f = healthy();

	f.read_ahead_kib = 128;
	expect(&f, "requests", DOCTOR_WARN, "bdi");
	f.n_mounts = 0;
	f.read_ahead_kib = 0;
	expect(&f, "requests", DOCTOR_OK, "");
	f.fuse_pages_max = 32;
	expect(&f, "requests", DOCTOR_WARN, "max_pages_limit");
	f.fuse_pages_max = 0; /* older kernels */
	expect(&f, "requests", DOCTOR_OK, "");
	f.map_count_max = 1000;
	expect(&f, "maps", DOCTOR_WARN, "max_map_count");
}

Test(doctor, daemons)
{
	struct doctor_facts f = healthy();

	(void)strcpy(f.daemon_version, "0.0.9");
	expect(&f, "daemon", DOCTOR_WARN, "restart");
	(void)strcpy(f.daemon_version, ASSETFS_VERSION);
	f.daemon_replaced = true;
	expect(&f, "daemon", DOCTOR_WARN, "restart");
	f.daemon = -EAGAIN;
	expect(&f, "daemon", DOCTOR_FAIL, "log");
	f.daemon = -EACCES;
	expect(&f, "daemon", DOCTOR_WARN, "as root");
	f.daemon = -ENOTCONN;
	expect(&f, "daemon", DOCTOR_OK, "");
}

Test(doctor, mounts_without_a_daemon)
{
	struct doctor_facts f = healthy();

	(void)strcpy(f.first_dead, "/game-assets");
	f.n_strange = 1;
	expect(&f, "mounts", DOCTOR_WARN, "--store");
	f.n_dead = 1;
	expect(&f, "mounts", DOCTOR_FAIL, "umount -l '/game-assets'");
}

Test(doctor, processors_that_wake_slowly)
{
	struct doctor_facts f = healthy();

	f.wake = 26000;
	expect(&f, "waking", DOCTOR_WARN, "cpuidle_haltpoll");
	f.halt_poll_known = true;
	expect(&f, "waking", DOCTOR_WARN, "guest_halt_poll_ns");
	f.halt_poll_max = 200000;
	expect(&f, "waking", DOCTOR_WARN, "cpuidle_haltpoll");
	f.wake = 0;
	expect(&f, "waking", DOCTOR_OK, "");
}

Test(doctor, the_longest_names_fit)
{
	struct doctor_facts f = healthy();

	(void)memset(f.target, 'x', sizeof(f.target) - 1);
	(void)memset(f.store.path, 'x', sizeof(f.store.path) - 1);
	(void)memset(f.first_dead, 'x', sizeof(f.first_dead) - 1);
	f.n_dead = UINT64_MAX;
	f.target_shared = false;
	f.store.looked = false;
	for (size_t i = 0; i < n_doctor_checks; i++) {
		struct finding finding = judge(doctor_checks[i].name, &f);

		cr_expect_lt(strlen(finding.found), sizeof(finding.found));
		cr_expect_lt(strlen(finding.advice), sizeof(finding.advice));
	}
}

static const char mountinfo[] =
	"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"22 21 0:21 / /proc rw - proc proc rw\n"
	"23 21 0:30 / /var/lib rw,relatime master:3 - xfs /dev/sdb rw\n"
	"24 23 0:31 / /var/lib/kube\\040let rw shared:5 master:3 - tmpfs tmpfs rw\n"
	"25 21 0:32 / /srv rw shared:9 - nfs4 host:/ rw\n"
	"26 25 0:33 / /srv rw - ext4 /dev/sdc rw\n";

Test(doctor, finds_the_mount_of_a_path)
{
	static const struct {
		const char *path;
		const char *type;
		bool shared;
	} cases[] = {
		{ "/", "ext4", true },
		{ "/home/x", "ext4", true },
		{ "/var/library", "ext4", true },
		{ "/var/lib", "xfs", false },
		{ "/var/lib/x", "xfs", false },
		{ "/var/lib/kube let/pods", "tmpfs", true },
		{ "/srv/x", "ext4", false }, /* the second one hides the first */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mount_place place;

		cr_assert(mount_place_find(mountinfo, cases[i].path, &place), "%s", cases[i].path);
		cr_expect_str_eq(place.type, cases[i].type, "%s: %s", cases[i].path, place.type);
		cr_expect_eq(place.shared, cases[i].shared, "%s", cases[i].path);
	}
}

Test(doctor, survives_mountinfo_that_is_cut_anywhere)
{
	for (size_t len = 0; len <= strlen(mountinfo); len++) {
		CLEANUP(free) char *copy = strndup(mountinfo, len);
		struct mount_place place;

		(void)mount_place_find(copy, "/var/lib/x", &place);
	}
}

Test(doctor, descriptors_are_shared_out)
{
	cr_expect_eq(limits_packs(0), limits_packs(16));
	cr_expect_eq(limits_packs(1024), 256);
	cr_expect_eq(limits_packs(UINT64_MAX), 4096);
	cr_expect_lt(limits_needed(1, 16), 128);
	cr_expect_lt(limits_needed(64, 16), 1024, "what most systems allow is enough");
}
