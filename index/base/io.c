/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_PREFIX ".tmp-"

enum { TEMP_DIGITS = 16 }; /* behind the prefix */

int io_pread(int fd, void *buf, size_t len, uint64_t off)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int io_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int io_write(int fd, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Read to the end of @fd into *@buf of *@cap bytes, growing it, and stop once @max is passed. */
static ssize_t read_to_end(int fd, char **buf, size_t cap, size_t max)
{
	size_t used = 0;

	for (;;) {
		char *grown = realloc(*buf, cap + 1);
		ssize_t n;

		if (!grown)
			return -ENOMEM;
		*buf = grown;
		n = read(fd, grown + used, cap - used);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 || used > max)
			return (ssize_t)used;
		used += n > 0 ? (size_t)n : 0;
		if (used == cap)
			cap *= 2;
	}
}

int io_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len,
                 struct err *err)
{
	CLEANUP(close) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	CLEANUP(free) char *buf = NULL;
	struct stat st;
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "'%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "'%s' is not a regular file", path);
	if ((uint64_t)st.st_size > max)
		return err_set(err, -EFBIG, "'%s' has more than %zu bytes", path, max);
	/* Files of /proc have no size: it is only a first guess, one byte more to see the end. */
	len = read_to_end(fd, &buf, st.st_size > 0 ? (size_t)st.st_size + 1 : 4096, max);
	if (len < 0)
		return err_set(err, (int)len, "'%s' could not be read: %s", path,
		               strerrordesc_np((int)-len));
	if ((size_t)len > max)
		return err_set(err, -EFBIG, "'%s' has more than %zu bytes", path, max);
	buf[len] = '\0';
	*ret = TAKE_PTR(buf);
	*ret_len = (size_t)len;
	return 0;
}

int io_make_dirs(const char *path, struct err *err)
{
	CLEANUP(free) char *copy = strdup(path);

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	for (char *slash = copy;; slash++) {
		slash = strchrnul(slash, '/');
		if (slash != copy) {
			char end = *slash;

			*slash = '\0';
			if (mkdir(copy, 0755) < 0 && errno != EEXIST)
				return err_set_errno(err, "directory '%s' could not be made", copy);
			*slash = end;
		}
		if (*slash == '\0')
			return 0;
	}
}

int io_temp_open(struct io_temp *tmp, int dirfd, struct err *err)
{
	struct io_temp t = IO_TEMP_INIT;
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_set_errno(err, "no random bytes");
	(void)snprintf(t.name, sizeof(t.name), TEMP_PREFIX "%0*llx", TEMP_DIGITS,
	               (unsigned long long)random);
	t.dirfd = dirfd;
	t.fd = openat(dirfd, t.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (t.fd < 0)
		return err_set_errno(err, "temporary file '%s' could not be made", t.name);
	*tmp = t;
	return 0;
}

int io_temp_place(struct io_temp *tmp, const char *name, unsigned mode, struct err *err)
{
	if (fchmod(tmp->fd, mode) < 0 || fsync(tmp->fd) < 0)
		return err_set_errno(err, "'%s' could not be written", name);
	if (renameat(tmp->dirfd, tmp->name, tmp->dirfd, name) < 0)
		return err_set_errno(err, "'%s' could not be put in place", name);
	tmp->name[0] = '\0';
	return 0;
}

int io_temp_publish(struct io_temp *tmp, const char *name, unsigned mode, struct err *err)
{
	int r = io_temp_place(tmp, name, mode, err);

	if (r == 0 && fsync(tmp->dirfd) < 0)
		return err_set_errno(err, "directory of '%s' could not be written", name);
	return r;
}

void io_temp_release(struct io_temp *tmp)
{
	if (tmp->fd >= 0)
		(void)close(tmp->fd);
	if (tmp->name[0] != '\0')
		(void)unlinkat(tmp->dirfd, tmp->name, 0);
	*tmp = IO_TEMP_INIT;
}

int io_publish_bytes(int dirfd, const char *name, const void *data, size_t len, unsigned mode,
                     struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	int r = io_temp_open(&tmp, dirfd, err);

	if (r < 0)
		return r;
	r = io_write(tmp.fd, data, len);
	if (r < 0)
		return err_set(err, r, "'%s' could not be written: %s", name, strerrordesc_np(-r));
	return io_temp_publish(&tmp, name, mode, err);
}

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

bool io_is_temp_name(const char *name)
{
	const char *digits = name + strlen(TEMP_PREFIX);

	return strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) == 0 &&
	       strlen(digits) == TEMP_DIGITS && strspn(digits, "0123456789abcdef") == TEMP_DIGITS;
}

/* Go through the directory; @sweep: remove unfinished files. As io_sweep() otherwise. */
static int look_through(int dirfd, bool sweep, struct err *err)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(closedir) DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int empty = 1;

	if (!dir) {
		int r = err_set_errno(err, "directory could not be read");

		if (copy >= 0)
			(void)close(copy);
		return r;
	}
	/* The stream is this function's own. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (!io_is_temp_name(entry->d_name))
			empty = 0;
		else if (sweep && unlinkat(dirfd, entry->d_name, 0) < 0)
			return err_set_errno(err, "'%s' could not be removed", entry->d_name);
	}
	return empty;
}

int io_is_unused(int dirfd, struct err *err)
{
	return look_through(dirfd, /* sweep= */ false, err);
}

int io_sweep(int dirfd, struct err *err)
{
	int r = look_through(dirfd, /* sweep= */ true, err);

	return r < 0 ? r : 0;
}
