/* SPDX-License-Identifier: Apache-2.0 */
/* Judgements: functions of the facts alone. What each line means: docs/operations.md. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "doctor.h"
#include "process_limits.h"
#include "session.h"

/* Memory of the daemon besides the region, bytes: docs/operations.md. */
#define OVERHEAD ((uint64_t)128 << 20)

#define ROOM_LITTLE ((uint64_t)1 << 30)
#define ROOM_NONE   ((uint64_t)64 << 20)

enum {
	INODES_FEW = 1000,
	READ_AHEAD_KIB = 1024,
	FUSE_PAGES = 256,
	MAP_COUNT = 65530,  /* the kernel's default */
	WAKE_SLOW = 15000,  /* ns; a round trip to the daemon is shorter */
	HALT_POLL = 200000, /* ns; the kernel's default */
};

static void say(struct finding *ret, enum doctor_level level, const char *fmt, ...)
	PRINTF_FMT(3, 4);
static void advise(struct finding *ret, const char *fmt, ...) PRINTF_FMT(2, 3);

static void say(struct finding *ret, enum doctor_level level, const char *fmt, ...)
{
	va_list ap;

	ret->level = level;
	ret->advice[0] = '\0';
	va_start(ap, fmt);
	(void)vsnprintf(ret->found, sizeof(ret->found), fmt, ap);
	va_end(ap);
}

static void advise(struct finding *ret, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(ret->advice, sizeof(ret->advice), fmt, ap);
	va_end(ap);
}

static bool is_before(const struct doctor_facts *f, unsigned major, unsigned minor)
{
	return f->major < major || (f->major == major && f->minor < minor);
}

static void judge_kernel(const struct doctor_facts *f, struct finding *ret)
{
	if (is_before(f, 5, 3)) {
		say(ret, DOCTOR_FAIL, "Linux %s cannot make detached mounts", f->kernel);
		advise(ret, "use Linux 5.3 or later, better 6.9");
	} else if (is_before(f, 6, 9)) {
		say(ret, DOCTOR_WARN, "Linux %s has no FUSE passthrough", f->kernel);
		advise(ret, "use Linux 6.9 or later: reads then bypass the daemon");
	} else {
		say(ret, DOCTOR_OK, "Linux %s", f->kernel);
	}
}

static void judge_fuse(const struct doctor_facts *f, struct finding *ret)
{
	if (f->fuse_device == 0) {
		say(ret, DOCTOR_OK, "/dev/fuse opens");
	} else if (!f->fuse_known) {
		say(ret, DOCTOR_FAIL, "the kernel has no FUSE");
		advise(ret, "load it by 'modprobe fuse', at boot by /etc/modules-load.d");
	} else if (f->fuse_device == -ENOENT) {
		say(ret, DOCTOR_FAIL, "/dev/fuse is missing");
		advise(ret, "give the container the device, or 'mknod /dev/fuse c 10 229'");
	} else if (!f->root) {
		say(ret, DOCTOR_WARN, "/dev/fuse: %s", strerrordesc_np(-f->fuse_device));
		advise(ret, "run the doctor as root");
	} else {
		say(ret, DOCTOR_FAIL, "/dev/fuse: %s", strerrordesc_np(-f->fuse_device));
		advise(ret, "allow the device in the container's or the service's device policy");
	}
}

static void judge_privilege(const struct doctor_facts *f, struct finding *ret)
{
	if (!f->root || !f->sys_admin) {
		say(ret, DOCTOR_FAIL, f->root ? "CAP_SYS_ADMIN is missing" : "not root");
		advise(ret, "mounting needs root with CAP_SYS_ADMIN; in a pod, privileged: true");
	} else if (!f->initial_userns) {
		say(ret, DOCTOR_WARN, "root of a user namespace only");
		advise(ret, "FUSE passthrough needs CAP_SYS_ADMIN outside: hostUsers: true");
	} else {
		say(ret, DOCTOR_OK, "CAP_SYS_ADMIN in the initial user namespace");
	}
}

static void judge_passthrough(const struct doctor_facts *f, struct finding *ret)
{
	static const char *const steps[] = {
		[STEP_MOUNT] = "no scratch mount could be made",
		[STEP_OFFER] = "the kernel does not offer it",
		[STEP_BACKING] = "the kernel refused a file of the region",
		[STEP_READ] = "a read through it failed",
	};

	if (f->passthrough == DOCTOR_NOT_TRIED) {
		say(ret, DOCTOR_WARN, "not tried");
		advise(ret, "run the doctor as root, where /dev/fuse can be opened");
		return;
	}
	if (f->passthrough == 0) {
		say(ret, DOCTOR_OK, "a scratch file was read without its server");
		return;
	}
	say(ret, DOCTOR_WARN, "%s: %s", steps[f->passthrough_step],
	    strerrordesc_np(-f->passthrough));
	if (f->passthrough_step == STEP_BACKING && f->passthrough == -ELOOP)
		advise(ret, "put the region on a file system that is not stacked: no overlayfs");
	else if (f->passthrough_step == STEP_BACKING && f->passthrough == -EPERM)
		advise(ret, "it needs CAP_SYS_ADMIN in the initial user namespace");
	else if (f->passthrough_step == STEP_OFFER)
		advise(ret, "it needs Linux 6.9 with CONFIG_FUSE_PASSTHROUGH=y; without it each "
		            "read asks the daemon");
	else
		advise(ret, "reads are slower without it; look at the kernel's log");
}

static void judge_huge(const struct doctor_facts *f, struct finding *ret)
{
	if (f->huge == 0) {
		say(ret, DOCTOR_OK, "a tmpfs like the region's has them");
		return;
	}
	say(ret, DOCTOR_WARN, "the region gets small pages only (%s)",
	    f->huge == DOCTOR_NOT_TRIED ? "not tried" : strerrordesc_np(-f->huge));
	if (f->huge == DOCTOR_NOT_TRIED)
		advise(ret, "run the doctor as root");
	else if (f->shmem_enabled[0] == '\0' || f->huge == -EINVAL)
		advise(ret, "the kernel needs CONFIG_TRANSPARENT_HUGEPAGE=y; mapping files is "
		            "slower without");
	else if (strcmp(f->shmem_enabled, "deny") == 0)
		advise(ret, "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled");
	else
		advise(ret, "memory may be fragmented: echo 1 > /proc/sys/vm/compact_memory");
}

static void judge_memory(const struct doctor_facts *f, struct finding *ret)
{
	char limit[TEXT_SIZE_MAX], region[TEXT_SIZE_MAX];

	(void)text_size(f->memory_limit, limit);
	(void)text_size(f->region_size, region);
	if (f->memory_limit == DOCTOR_UNLIMITED) {
		say(ret, DOCTOR_OK, "no limit for the daemon; the region takes up to %s", region);
		return;
	}
	say(ret, DOCTOR_OK, "%s for the daemon, up to %s of it for the region", limit, region);
	if (f->memory_limit < f->region_size)
		ret->level = DOCTOR_FAIL;
	else if (f->memory_limit - f->region_size < OVERHEAD)
		ret->level = DOCTOR_WARN;
	if (ret->level != DOCTOR_OK)
		advise(ret, "lower --region-size, or raise MemoryMax= to the region's size and "
		            "128 MiB");
}

static void judge_cgroup(const struct doctor_facts *f, struct finding *ret)
{
	if (f->daemon_pid == 0) {
		say(ret, DOCTOR_OK, "no daemon runs, nothing to look at");
	} else if (f->n_neighbours > 0) {
		say(ret, DOCTOR_WARN, "the daemon shares its cgroup with %llu other processes",
		    (unsigned long long)f->n_neighbours);
		advise(ret, "run it as a service or pod of its own: what ends or limits them hits "
		            "every mount");
	} else if (f->oom_score_adj > -500) {
		say(ret, DOCTOR_WARN, "the daemon's oom_score_adj is %d", f->oom_score_adj);
		advise(ret, "set OOMScoreAdjust=-900: killing it cuts off all mounts");
	} else {
		say(ret, DOCTOR_OK, "the daemon has one of its own, oom_score_adj %d",
		    f->oom_score_adj);
	}
}

static void judge_swap(const struct doctor_facts *f, struct finding *ret)
{
	char size[TEXT_SIZE_MAX];

	if (f->swap == 0 || f->region.path[0] != '\0') {
		say(ret, DOCTOR_OK, "the region is never swapped out");
		return;
	}
	say(ret, DOCTOR_WARN, "the region may be swapped out, to %s", text_size(f->swap, size));
	advise(ret, "set MemorySwapMax=0 for the service, or --region to a directory on disk");
}

static void judge_propagation(const struct doctor_facts *f, struct finding *ret)
{
	if (!f->target_known) {
		say(ret, DOCTOR_WARN, "'%s' is on no mount that shows here", f->target);
		advise(ret, "run the doctor in the mount namespace that mounts");
	} else if (!f->target_shared) {
		say(ret, DOCTOR_WARN, "'%s' is on a private mount", f->target);
		advise(ret, "containers that run already see no new mounts there: mount "
		            "--make-rshared, and HostToContainer");
	} else {
		say(ret, DOCTOR_OK, "'%s' is on a shared mount", f->target);
	}
}

static bool is_one_of(const char *word, const char *const *list)
{
	for (; *list; list++) {
		if (strcmp(word, *list) == 0)
			return true;
	}
	return false;
}

/* Room and kind of @disk, for what @use says. */
static void judge_disk(const struct doctor_disk *disk, const char *use, struct finding *ret)
{
	static const char *const network[] = { "nfs", "nfs4",   "cifs",     "smb3", "ceph",
		                               "9p",  "lustre", "virtiofs", NULL };
	static const char *const memory[] = { "tmpfs", "ramfs", NULL };
	char room[TEXT_SIZE_MAX];

	if (is_one_of(disk->type, network) || strncmp(disk->type, "fuse", 4) == 0) {
		say(ret, DOCTOR_WARN, "'%s' is on %s", disk->path, disk->type);
		advise(ret, "put it on a local disk: %s waits for it", use);
		return;
	}
	if (!disk->looked) {
		say(ret, DOCTOR_WARN, "'%s' could not be looked at", disk->path);
		advise(ret, "make the directory, or run the doctor as root");
		return;
	}
	say(ret, DOCTOR_OK, "%s free on %s", text_size(disk->bytes, room), disk->type);
	if (disk->bytes < ROOM_NONE || (disk->n_inodes > 0 && disk->inodes == 0))
		ret->level = DOCTOR_FAIL;
	else if (disk->bytes < ROOM_LITTLE || (disk->n_inodes > 0 && disk->inodes < INODES_FEW))
		ret->level = DOCTOR_WARN;
	if (ret->level != DOCTOR_OK) {
		say(ret, ret->level, "%s and %llu inodes free on %s", room,
		    (unsigned long long)disk->inodes, disk->type);
		advise(ret, "make room below '%s'", disk->path);
	} else if (is_one_of(disk->type, memory)) {
		ret->level = DOCTOR_WARN;
		advise(ret, "put '%s' on a disk: on %s it takes memory", disk->path, disk->type);
	}
}

static void judge_store(const struct doctor_facts *f, struct finding *ret)
{
	judge_disk(&f->store, "every mount", ret);
}

static void judge_region(const struct doctor_facts *f, struct finding *ret)
{
	char size[TEXT_SIZE_MAX];

	if (f->region.path[0] == '\0') {
		say(ret, DOCTOR_OK, "memory, up to %s", text_size(f->region_size, size));
		return;
	}
	judge_disk(&f->region, "every read", ret);
	if (strcmp(f->region.type, "overlay") == 0) {
		say(ret, DOCTOR_WARN, "'%s' is on overlayfs", f->region.path);
		advise(ret, "give the container a volume for it: the kernel refuses passthrough");
	}
}

static void judge_files(const struct doctor_facts *f, struct finding *ret)
{
	uint64_t needed = limits_needed(LIMITS_SESSIONS, SESSION_THREADS);

	if (f->files_max < needed) {
		say(ret, DOCTOR_WARN, "%llu open files allowed, %d mounts may need %llu",
		    (unsigned long long)f->files_max, LIMITS_SESSIONS, (unsigned long long)needed);
		advise(ret, "set LimitNOFILE=65536 for the service");
	} else if (f->machine_files > f->machine_files_max / 10 * 8) {
		say(ret, DOCTOR_WARN, "%llu of %llu open files of the machine are in use",
		    (unsigned long long)f->machine_files, (unsigned long long)f->machine_files_max);
		advise(ret, "raise sysctl fs.file-max");
	} else {
		say(ret, DOCTOR_OK, "%llu open files allowed", (unsigned long long)f->files_max);
	}
}

static void judge_maps(const struct doctor_facts *f, struct finding *ret)
{
	if (f->map_count_max > 0 && f->map_count_max < MAP_COUNT) {
		say(ret, DOCTOR_WARN, "vm.max_map_count is %llu",
		    (unsigned long long)f->map_count_max);
		advise(ret, "sysctl vm.max_map_count=%d", MAP_COUNT);
	} else {
		say(ret, DOCTOR_OK, "vm.max_map_count is %llu",
		    (unsigned long long)f->map_count_max);
	}
}

static void judge_requests(const struct doctor_facts *f, struct finding *ret)
{
	if (f->fuse_pages_max > 0 && f->fuse_pages_max < FUSE_PAGES) {
		say(ret, DOCTOR_WARN, "fs.fuse.max_pages_limit is %llu",
		    (unsigned long long)f->fuse_pages_max);
		advise(ret, "sysctl fs.fuse.max_pages_limit=%d: cold reads are cut small",
		       FUSE_PAGES);
	} else if (f->n_mounts > 0 && f->read_ahead_kib < READ_AHEAD_KIB) {
		say(ret, DOCTOR_WARN, "a mount reads only %llu KiB ahead",
		    (unsigned long long)f->read_ahead_kib);
		advise(ret, "let the daemon write to /sys/class/bdi: cold reads are cut small");
	} else {
		say(ret, DOCTOR_OK, "requests of up to 1 MiB");
	}
}

static void judge_waking(const struct doctor_facts *f, struct finding *ret)
{
	if (f->wake == 0) {
		say(ret, DOCTOR_OK, "how long a processor that sleeps takes is not known");
		return;
	}
	say(ret, f->wake > WAKE_SLOW ? DOCTOR_WARN : DOCTOR_OK,
	    "a processor that sleeps goes on after %.1f us", (double)f->wake / 1000);
	if (f->wake <= WAKE_SLOW)
		return;
	if (f->halt_poll_known && f->halt_poll_max < HALT_POLL)
		advise(ret,
		       "files open in half the time: echo %d >/sys/module/haltpoll/parameters/"
		       "guest_halt_poll_ns",
		       HALT_POLL);
	else
		advise(ret, "opens wait for that when nothing else runs: on virtual machines see "
		            "cpuidle_haltpoll, on others a tuned profile for low latency");
}

static void judge_daemon(const struct doctor_facts *f, struct finding *ret)
{
	if (f->daemon == -ENOTCONN) {
		say(ret, DOCTOR_OK, "none serves '%s'; the first mount starts one", f->store.path);
	} else if (f->daemon < 0) {
		bool refused = f->daemon == -EPERM || f->daemon == -EACCES;

		say(ret, refused ? DOCTOR_WARN : DOCTOR_FAIL, "no answer: %s",
		    strerrordesc_np(-f->daemon));
		advise(ret, refused ? "run the doctor as root" : "look at its log; restart it");
	} else if (f->daemon_replaced || strcmp(f->daemon_version, ASSETFS_VERSION) != 0) {
		say(ret, DOCTOR_WARN, "pid %d is version %s%s, this is %s", f->daemon_pid,
		    f->daemon_version, f->daemon_replaced ? " of a program that was replaced" : "",
		    ASSETFS_VERSION);
		advise(ret, "restart it when no mount is in use");
	} else {
		say(ret, DOCTOR_OK, "pid %d answers, version %s", f->daemon_pid, f->daemon_version);
	}
}

static void judge_mounts(const struct doctor_facts *f, struct finding *ret)
{
	if (f->n_dead > 0) {
		say(ret, DOCTOR_FAIL, "%llu of %llu mounts have lost their daemon",
		    (unsigned long long)f->n_dead, (unsigned long long)f->n_mounts);
		advise(ret, "umount -l '%s', and mount again", f->first_dead);
	} else if (f->n_strange > 0) {
		say(ret, DOCTOR_WARN, "%llu of %llu mounts are not this daemon's",
		    (unsigned long long)f->n_strange, (unsigned long long)f->n_mounts);
		advise(ret,
		       "name their daemon's store by --store; 'Transport endpoint is not "
		       "connected': umount -l '%s'",
		       f->first_dead);
	} else {
		say(ret, DOCTOR_OK, "%llu, all served", (unsigned long long)f->n_mounts);
	}
}

const struct doctor_check doctor_checks[] = {
	{ "kernel", judge_kernel },
	{ "fuse", judge_fuse },
	{ "privilege", judge_privilege },
	{ "passthrough", judge_passthrough },
	{ "huge pages", judge_huge },
	{ "memory", judge_memory },
	{ "cgroup", judge_cgroup },
	{ "swap", judge_swap },
	{ "propagation", judge_propagation },
	{ "store", judge_store },
	{ "region", judge_region },
	{ "open files", judge_files },
	{ "maps", judge_maps },
	{ "requests", judge_requests },
	{ "waking", judge_waking },
	{ "daemon", judge_daemon },
	{ "mounts", judge_mounts },
};
const size_t n_doctor_checks = sizeof(doctor_checks) / sizeof(doctor_checks[0]);
