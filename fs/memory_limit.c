/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory a process may have: the machine's, or less when one of
 * its cgroups has a limit. In a container the file system shows the
 * container's own group at the root of the hierarchy while /proc/self/cgroup
 * may still name the full path, so that both places are looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/io.h"
#include "base/text.h"
#include "memory_limit.h"
#include "region.h"

enum { CGROUP_FILE_MAX = 1 << 16 };

/* Lower *@limit to the number in @dir/@path/@name, if there is one. */
static void apply_limit(const char *dir, const char *path, const char *name, uint64_t *limit)
{
	CLEANUP(free) char *file = NULL;
	CLEANUP(free) char *text = NULL;
	uint64_t value;
	size_t len;

	if (asprintf(&file, "%s%s/%s", dir, path, name) < 0) {
		file = NULL;
		return;
	}
	if (io_read_file(-1, file, CGROUP_FILE_MAX, &text, &len, NULL) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	if (text_parse_uint(text, INT64_MAX, &value) == 0 && value < *limit)
		*limit = value;
}

/* Apply the limits of @path and of every group above it, up to the hierarchy's root. */
static void apply_limits(const char *dir, char *path, const char *name, uint64_t *limit)
{
	for (;;) {
		char *slash = strrchr(path, '/');

		apply_limit(dir, path, name, limit);
		if (!slash)
			return;
		*slash = '\0';
	}
}

/* A line of /proc/self/cgroup: "0::/path" (v2) or "9:memory:/path" (v1). */
static void apply_line(char *line, uint64_t *limit)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return;
	*path++ = '\0';
	controllers++;
	if (*controllers == '\0')
		apply_limits("/sys/fs/cgroup", path, "memory.max", limit);
	else if (strcmp(controllers, "memory") == 0)
		apply_limits("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", limit);
}

uint64_t memory_of_machine(void)
{
	struct sysinfo info = { 0 };

	(void)sysinfo(&info);
	return (uint64_t)info.totalram * info.mem_unit;
}

uint64_t memory_limit_of(int pid)
{
	CLEANUP(free) char *groups = NULL;
	uint64_t limit = memory_of_machine();
	char path[32] = "/proc/self/cgroup";
	char *save = NULL;
	size_t len;

	if (pid > 0)
		(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (io_read_file(-1, path, CGROUP_FILE_MAX, &groups, &len, NULL) == 0) {
		for (char *line = strtok_r(groups, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			apply_line(line, &limit);
	}
	return limit;
}

uint64_t region_default_size(void)
{
	return memory_limit_of(0) / 2;
}
