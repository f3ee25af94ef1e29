/* SPDX-License-Identifier: Apache-2.0 */
/* Where the files of a region live. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/io.h"
#include "region_internal.h"

/* A tmpfs that is attached to no directory: nobody can reach it but through our descriptor. */
int region_root_in_memory(uint64_t size, struct err *err)
{
	CLEANUP(close) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char text[32];
	int root;

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", text, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0)
		return err_set_errno(err, "no tmpfs for the region");
	/* A kernel without transparent huge pages refuses the option: pages of 4 KiB do, only slower. */
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "huge", "within_size", 0);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set_errno(err, "no tmpfs for the region");
	root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (root < 0)
		return err_set_errno(err, "the region's tmpfs could not be mounted");
	return root;
}

/* Remove the files of an earlier region; anything else means that the directory is not ours. */
static int empty(int dirfd, const char *path, struct err *err)
{
	int fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		r = err_set_errno(err, "region '%s'", path);
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (r == 0 && (e = readdir(dir)) != NULL) {
		struct digest digest;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (digest_parse(e->d_name, strlen(e->d_name), &digest) < 0)
			r = err_set(err, -ENOTEMPTY,
			            "region '%s' holds '%s', which is no object: give it a "
			            "directory of its own",
			            path, e->d_name);
		else if (unlinkat(dirfd, e->d_name, 0) < 0)
			r = err_set_errno(err, "region '%s': '%s'", path, e->d_name);
	}
	(void)closedir(dir);
	return r;
}

int region_root_on_disk(const char *directory, struct err *err)
{
	CLEANUP(close) int root = -1;
	int r = io_make_dirs(directory, err);

	if (r < 0)
		return r;
	root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_set_errno(err, "region '%s'", directory);
	if (flock(root, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(err, -EBUSY, "another daemon has the region '%s'",
			               directory);
		return err_set_errno(err, "region '%s'", directory);
	}
	r = empty(root, directory, err);
	if (r < 0)
		return r;
	if (fchmod(root, 0700) < 0)
		return err_set_errno(err, "region '%s'", directory);
	return TAKE_FD(root);
}

int region_root_resize(int root, uint64_t size)
{
	CLEANUP(close) int fs = fspick(root, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
	char text[32];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", text, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return -errno;
	return 0;
}

/* Modes of objects' files: the mark is one that every file system keeps. */
enum { MODE_WHOLE = 0700 };

void region_root_set_complete(int root, const struct digest *digest)
{
	char name[DIGEST_HEX_SIZE];

	(void)!fchmodat(root, digest_hex(digest, name), MODE_WHOLE, 0);
}

/* One file of an earlier daemon's region. */
static int adopt_file(int dirfd, const char *name, region_file_fn fn, void *arg)
{
	struct digest digest;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (digest_parse(name, strlen(name), &digest) == 0 && S_ISREG(st.st_mode) &&
	    (st.st_mode & 07777) == MODE_WHOLE && st.st_size > 0)
		return fn(arg, &digest, (uint64_t)st.st_size);
	return unlinkat(dirfd, name, 0) < 0 ? -errno : 0;
}

int region_root_objects(int root, region_file_fn fn, void *arg, struct err *err)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		r = err_set_errno(err, "the region that was kept");
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (r == 0 && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = adopt_file(fd, e->d_name, fn, arg);
	}
	(void)closedir(dir);
	return r < 0 ? err_set(err, r, "the region that was kept: %s", strerrordesc_np(-r)) : 0;
}

void region_root_usage(int root, uint64_t *ret_size, uint64_t *ret_used)
{
	struct statfs st = { 0 };

	(void)fstatfs(root, &st);
	*ret_size = (uint64_t)st.f_blocks * (uint64_t)st.f_bsize;
	*ret_used = (uint64_t)(st.f_blocks - st.f_bfree) * (uint64_t)st.f_bsize;
}
