/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "control.h"
#include "doctor.h"
#include "doctor_mounts.h"
#include "memory_limit.h"
#include "mountinfo.h"
#include "region.h"
#include "report.h"

enum {
	SMALL_FILE_MAX = 1 << 20,
	MOUNTINFO_MAX = 64 << 20,
	CAP_BIT_SYS_ADMIN = 21,
	ANSWER_SECONDS = 5,
	ANSWER_MAX = 64 << 20,
};

/* The text of the file that @fmt names, for the caller to free; NULL when it cannot be read. */
static char *read_text(const char *fmt, ...) PRINTF_FMT(1, 2);

static char *read_text(const char *fmt, ...)
{
	CLEANUP(free) char *path = NULL;
	char *text = NULL;
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	if (vasprintf(&path, fmt, ap) < 0)
		path = NULL;
	va_end(ap);
	if (!path || io_read_file(-1, path, SMALL_FILE_MAX, &text, &len, NULL) < 0)
		return NULL;
	return text;
}

/* The number that the file @path begins with; 0 when there is none. */
static uint64_t read_number(const char *path)
{
	CLEANUP(free) char *text = read_text("%s", path);

	return text ? strtoull(text, NULL, 10) : 0;
}

/* The number after @key in @text, 0 when there is none. */
static uint64_t number_after(const char *text, const char *key, int base)
{
	const char *at = text ? strstr(text, key) : NULL;

	return at ? strtoull(at + strlen(key), NULL, base) : 0;
}

static void gather_kernel(struct doctor_facts *f)
{
	CLEANUP(free) char *types = read_text("/proc/filesystems");
	struct utsname name;
	char *minor = NULL;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	f->fuse_device = fd < 0 ? -errno : 0;
	if (fd >= 0)
		(void)close(fd);
	f->fuse_known = types && strstr(types, "\tfuse\n");
	if (uname(&name) < 0)
		return;
	(void)snprintf(f->kernel, sizeof(f->kernel), "%.60s", name.release);
	f->major = (unsigned)strtoul(name.release, &minor, 10);
	f->minor = *minor == '.' ? (unsigned)strtoul(minor + 1, NULL, 10) : 0;
}

static void gather_waking(struct doctor_facts *f)
{
	static const char longest[] = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";

	f->halt_poll_known = access(longest, F_OK) == 0;
	f->halt_poll_max = read_number(longest);
	f->wake = doctor_try_waking();
}

static void gather_privilege(struct doctor_facts *f)
{
	CLEANUP(free) char *status = read_text("/proc/self/status");
	CLEANUP(free) char *map = read_text("/proc/self/uid_map");
	uint64_t inside = 1, outside = 1, count = 0;
	char *end;

	f->root = geteuid() == 0;
	f->sys_admin = number_after(status, "CapEff:", 16) >> CAP_BIT_SYS_ADMIN & 1;
	if (!map)
		return;
	inside = strtoull(map, &end, 10);
	outside = strtoull(end, &end, 10);
	count = strtoull(end, NULL, 10);
	f->initial_userns = inside == 0 && outside == 0 && count == UINT32_MAX;
}

/* The word in brackets, as in "always [madvise] never". */
static void gather_huge(struct doctor_facts *f)
{
	CLEANUP(free)
	char *text = read_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	const char *at = text ? strchr(text, '[') : NULL;

	if (at)
		(void)snprintf(f->shmem_enabled, sizeof(f->shmem_enabled), "%.*s",
		               (int)strcspn(at + 1, "]"), at + 1);
}

/* Ask the daemon for @command, and not wait for long. */
static int ask(const char *store, const char *command, json_t **ret)
{
	struct timeval patience = { .tv_sec = ANSWER_SECONDS };
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", command);
	CLEANUP(close) int fd = control_connect(store, NULL);
	int r = fd < 0 ? fd : 0;

	if (r == 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	               setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0))
		r = -errno;
	if (r == 0)
		r = control_send(fd, request, -1);
	if (r == 0)
		r = control_receive(fd, ANSWER_MAX, ret, NULL, NULL);
	if (r == 0 && !json_is_true(json_object_get(*ret, "ok")))
		r = -(int)json_integer_value(json_object_get(*ret, "code"));
	return r;
}

static void gather_daemon(const struct doctor_options *options, json_t **ret_status,
                          struct doctor_facts *f)
{
	CLEANUP(json_decref) json_t *stats = NULL;
	const char *version;
	char link[32];
	char program[PATH_MAX];
	ssize_t n;

	f->region_size = region_default_size();
	f->daemon = ask(options->store, "status", ret_status);
	if (f->daemon < 0)
		return;
	f->daemon_pid = (int)json_integer_value(json_object_get(*ret_status, "pid"));
	version = json_string_value(json_object_get(*ret_status, "program_version"));
	(void)snprintf(f->daemon_version, sizeof(f->daemon_version), "%s",
	               version ? version : "unknown");
	(void)snprintf(link, sizeof(link), "/proc/%d/exe", f->daemon_pid);
	n = readlink(link, program, sizeof(program) - 1);
	program[n > 0 ? n : 0] = '\0';
	f->daemon_replaced = strstr(program, " (deleted)") != NULL;
	if (ask(options->store, "stats", &stats) == 0)
		f->region_size = (uint64_t)json_integer_value(
			json_object_get(json_object_get(stats, "region"), "size_bytes"));
}

/* Read @file of the cgroup in which the daemon's memory counts: version 2, else 1. */
static char *read_cgroup(int pid, const char *file)
{
	CLEANUP(free) char *groups = read_text("/proc/%d/cgroup", pid);
	const char *line = groups ? strstr(groups, ":memory:") : NULL;
	int skip = (int)strlen(":memory:");
	const char *root = "/sys/fs/cgroup/memory";

	if (!line) {
		line = groups ? strstr(groups, "0::") : NULL;
		skip = (int)strlen("0::");
		root = "/sys/fs/cgroup";
	}
	if (!line)
		return NULL;
	line += skip;
	return read_text("%s%.*s/%s", root, (int)strcspn(line, "\n"), line, file);
}

/* The program of @pid, "" for a thread of the kernel. */
static const char *program_of(int pid, char buf[static PATH_MAX])
{
	char link[32];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	n = readlink(link, buf, PATH_MAX - 1);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static uint64_t count_neighbours(int pid)
{
	CLEANUP(free) char *list = read_cgroup(pid, "cgroup.procs");
	char own[PATH_MAX], other[PATH_MAX];
	char *save = NULL;
	uint64_t n = 0;

	(void)program_of(pid, own);
	for (char *line = list ? strtok_r(list, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		(void)program_of((int)strtol(line, NULL, 10), other);
		n += other[0] != '\0' && strcmp(own, other) != 0;
	}
	return n;
}

static void gather_memory(struct doctor_facts *f)
{
	CLEANUP(free) char *meminfo = read_text("/proc/meminfo");
	CLEANUP(free) char *score = NULL;
	CLEANUP(free) char *swap_max = NULL;

	f->memory_limit = memory_limit_of(f->daemon_pid);
	if (f->memory_limit >= memory_of_machine())
		f->memory_limit = DOCTOR_UNLIMITED;
	f->swap = number_after(meminfo, "SwapTotal:", 10) * 1024;
	if (f->daemon_pid == 0)
		return;
	f->n_neighbours = count_neighbours(f->daemon_pid);
	score = read_text("/proc/%d/oom_score_adj", f->daemon_pid);
	f->oom_score_adj = score ? (int)strtol(score, NULL, 10) : 0;
	swap_max = read_cgroup(f->daemon_pid, "memory.swap.max");
	if (swap_max && strcmp(swap_max, "0\n") == 0)
		f->swap = 0;
}

static void gather_limits(struct doctor_facts *f)
{
	CLEANUP(free)
	char *limits = f->daemon_pid > 0 ? read_text("/proc/%d/limits", f->daemon_pid) : NULL;
	CLEANUP(free) char *files = read_text("/proc/sys/fs/file-nr");
	struct rlimit own = { 0 };

	(void)getrlimit(RLIMIT_NOFILE, &own);
	f->files_max = limits ? number_after(limits, "Max open files", 10) : own.rlim_max;
	f->machine_files = files ? strtoull(files, NULL, 10) : 0;
	f->machine_files_max = read_number("/proc/sys/fs/file-max");
	f->map_count_max = read_number("/proc/sys/vm/max_map_count");
	f->fuse_pages_max = read_number("/proc/sys/fs/fuse/max_pages_limit");
}

static void make_absolute(const char *path, char ret[static PATH_MAX])
{
	char cwd[PATH_MAX];

	if (path[0] == '/' || !getcwd(cwd, sizeof(cwd)))
		(void)snprintf(ret, PATH_MAX, "%s", path);
	else if (snprintf(ret, PATH_MAX, "%s/%s", cwd, path) >= PATH_MAX)
		ret[0] = '\0';
}

/* A directory that does not exist yet will be where its parent is. */
static void gather_disk(const char *path, const char *mountinfo, struct doctor_disk *ret)
{
	struct mount_place place;
	struct statvfs st;
	char at[PATH_MAX];
	char *slash;
	int r;

	make_absolute(path, ret->path);
	if (mount_place_find(mountinfo, ret->path, &place))
		(void)snprintf(ret->type, sizeof(ret->type), "%s", place.type);
	/* A server that is away would keep us waiting. */
	if (strncmp(ret->type, "fuse", 4) == 0 || strncmp(ret->type, "nfs", 3) == 0)
		return;
	memcpy(at, ret->path, sizeof(at));
	while ((r = statvfs(at, &st)) < 0 && errno == ENOENT && (slash = strrchr(at, '/')) != at &&
	       slash)
		*slash = '\0';
	if (r < 0 && statvfs("/", &st) < 0)
		return;
	ret->looked = true;
	ret->bytes = (uint64_t)st.f_bavail * st.f_frsize;
	ret->inodes = st.f_favail;
	ret->n_inodes = st.f_files;
}

/* Whether @pid is a program "assetfs" with /dev/fuse open. */
static bool is_server(int pid)
{
	char path[PATH_MAX + 32], target[PATH_MAX];
	const char *name;
	bool found = false;
	struct dirent *e;
	DIR *dir;

	(void)program_of(pid, target);
	name = strrchr(target, '/');
	if (!name || strncmp(name, "/assetfs", strlen("/assetfs")) != 0)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (dir && !found && (e = readdir(dir)) != NULL) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		found = strcmp(target, "/dev/fuse") == 0;
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

/* Whether a daemon other than @daemon serves something. Who cannot see must assume so. */
static bool has_other_server(int daemon, bool root)
{
	DIR *proc = root ? opendir("/proc") : NULL;
	bool found = !proc;
	struct dirent *e;

	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (proc && !found && (e = readdir(proc)) != NULL) {
		int pid = (int)strtol(e->d_name, NULL, 10);

		found = pid > 0 && pid != daemon && pid != getpid() && is_server(pid);
	}
	if (proc)
		(void)closedir(proc);
	return found;
}

static bool is_served(const json_t *status, dev_t device)
{
	const json_t *mount;
	char text[32];
	size_t i;

	(void)device_text(device, text);
	json_array_foreach(json_object_get(status, "mounts"), i, mount) {
		const char *served = json_string_value(json_object_get(mount, "device"));

		if (served && strcmp(served, text) == 0)
			return true;
	}
	return false;
}

static void gather_mounts(const json_t *status, struct doctor_facts *f)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	uint64_t n_unserved = 0;

	if (mount_points_load(&points, NULL) < 0)
		return;
	f->n_mounts = points.n;
	for (size_t i = 0; i < points.n; i++) {
		const struct mount_point *point = &points.point[i];
		char path[64];
		uint64_t kib;

		if (!is_served(status, point->device)) {
			if (n_unserved++ == 0)
				(void)snprintf(f->first_dead, sizeof(f->first_dead), "%s",
				               point->path);
			continue;
		}
		(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		               major(point->device), minor(point->device));
		kib = read_number(path);
		if (f->read_ahead_kib == 0 || kib < f->read_ahead_kib)
			f->read_ahead_kib = kib;
	}
	if (n_unserved > 0 && has_other_server(f->daemon_pid, f->root))
		f->n_strange = n_unserved;
	else
		f->n_dead = n_unserved;
}

static void gather_places(const struct doctor_options *options, struct doctor_facts *f)
{
	CLEANUP(free) char *mountinfo = NULL;
	struct mount_place place;
	size_t len;

	if (io_read_file(-1, "/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, &len, NULL) < 0)
		return;
	make_absolute(options->target, f->target);
	f->target_known = mount_place_find(mountinfo, f->target, &place);
	f->target_shared = f->target_known && place.shared;
	gather_disk(options->store, mountinfo, &f->store);
	if (options->region)
		gather_disk(options->region, mountinfo, &f->region);
}

void doctor_gather(const struct doctor_options *options, struct doctor_facts *ret)
{
	CLEANUP(json_decref) json_t *status = NULL;

	gather_kernel(ret);
	gather_privilege(ret);
	gather_huge(ret);
	gather_waking(ret);
	gather_daemon(options, &status, ret);
	gather_memory(ret);
	gather_limits(ret);
	gather_places(options, ret);
	gather_mounts(status, ret);
	doctor_try_huge(ret);
	doctor_try_passthrough(options->region, ret);
}
