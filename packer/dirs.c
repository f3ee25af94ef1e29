/* SPDX-License-Identifier: Apache-2.0 */
#include "dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include <linux/openat2.h>

enum { DIR_FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

const char *path_split(const char *path, size_t *ret_len)
{
	const char *slash = strrchr(path, '/');

	*ret_len = slash ? (size_t)(slash - path) : 0;
	return slash ? slash + 1 : path;
}

void dirs_release(struct dirs *d)
{
	if (d->fd >= 0)
		(void)close(d->fd);
	free(d->path);
	*d = DIRS_INIT(d->root);
}

/* Whether the open directory is @path or lies on the way to it. */
static bool on_the_way(const struct dirs *d, const char *path, size_t len)
{
	size_t have = d->path ? strlen(d->path) : 0;

	return have > 0 && have <= len && memcmp(d->path, path, have) == 0 &&
	       (have == len || path[have] == '/');
}

/*
 * As descend(), in one system call. What it cannot do, as on a kernel or in a sandbox without
 * openat2(), descend() does, or says why it cannot be done.
 */
static bool descend_at_once(int root, int *fd, const char *path)
{
	const struct open_how how = {
		.flags = DIR_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long next = syscall(SYS_openat2, *fd >= 0 ? *fd : root, path, &how, sizeof(how));

	if (next < 0)
		return false;
	if (*fd >= 0)
		(void)close(*fd);
	*fd = (int)next;
	return true;
}

/* Open the components of @path from *@fd, which is owned, one after another. */
static int descend(int root, int *fd, char *path)
{
	char *rest = path;

	for (const char *name = strsep(&rest, "/"); name; name = strsep(&rest, "/")) {
		int next = openat(*fd >= 0 ? *fd : root, name, DIR_FLAGS);

		if (next < 0)
			return -errno;
		if (*fd >= 0)
			(void)close(*fd);
		*fd = next;
	}
	return 0;
}

int dirs_open(struct dirs *d, const char *path, size_t len)
{
	CLEANUP(free) char *whole = NULL;
	CLEANUP(free) char *rest = NULL;
	size_t have;
	int r;

	if (len == 0)
		return d->root;
	if (!on_the_way(d, path, len))
		dirs_release(d);
	have = d->path ? strlen(d->path) : 0;
	if (have == len)
		return d->fd;
	whole = strndup(path, len);
	rest = whole ? strdup(whole + have + (have > 0)) : NULL;
	if (!rest)
		return -ENOMEM;
	r = descend_at_once(d->root, &d->fd, rest) ? 0 : descend(d->root, &d->fd, rest);
	if (r < 0) {
		dirs_release(d);
		return r;
	}
	free(d->path);
	d->path = TAKE_PTR(whole);
	return d->fd;
}
