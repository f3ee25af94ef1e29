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

/* In the directory of a region on disk that was closed: the boot id of the kernel at that time. */
#define CLEAN_FILE "clean"

enum { BOOT_ID_SIZE = 37 };

/* Returns whether it could be read. */
static bool read_text(int dirfd, const char *path, char ret[static BOOT_ID_SIZE])
{
	CLEANUP(close) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, BOOT_ID_SIZE - 1);

	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static bool read_boot_id(char ret[static BOOT_ID_SIZE])
{
	return read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", ret);
}

void region_root_set_clean(int root)
{
	char boot[BOOT_ID_SIZE];
	CLEANUP(close)
	int fd = openat(root, CLEAN_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
	                0600);

	/* What is written by halves is another boot id. */
	if (fd >= 0 && read_boot_id(boot))
		(void)!io_write(fd, boot, strlen(boot));
}

/* Whether the region was closed since the kernel was started. */
static bool was_clean(int root)
{
	char now[BOOT_ID_SIZE];
	char then[BOOT_ID_SIZE];

	return read_boot_id(now) && read_text(root, CLEAN_FILE, then) && strcmp(now, then) == 0;
}

int region_root_on_disk(const char *directory, bool *ret_clean, struct err *err)
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
	*ret_clean = was_clean(root);
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
static int visit_file(int dirfd, const char *name, region_file_fn fn, void *arg, struct err *err)
{
	struct digest digest;
	struct stat st;
	int r;

	/* The region is open from now on. */
	if (strcmp(name, CLEAN_FILE) == 0)
		return unlinkat(dirfd, name, 0) < 0 ? err_set_errno(err, "the region's '%s'", name)
		                                    : 0;
	if (digest_parse(name, strlen(name), &digest) < 0 ||
	    fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, -ENOTEMPTY,
		               "the region's directory holds '%s', which is no object: give it a "
		               "directory of its own",
		               name);
	if (st.st_size == 0)
		r = unlinkat(dirfd, name, 0) < 0 ? -errno : 0;
	else
		r = fn(arg, &digest, (uint64_t)st.st_size, (st.st_mode & 07777) == MODE_WHOLE);
	return r < 0 ? err_set(err, r, "the region's '%s': %s", name, strerrordesc_np(-r)) : 0;
}

int region_root_objects(int root, region_file_fn fn, void *arg, struct err *err)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		r = err_set_errno(err, "the region's directory");
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (r == 0 && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = visit_file(fd, e->d_name, fn, arg, err);
	}
	(void)closedir(dir);
	return r;
}

void region_root_usage(int root, uint64_t *ret_size, uint64_t *ret_used)
{
	struct statfs st = { 0 };

	(void)fstatfs(root, &st);
	*ret_size = (uint64_t)st.f_blocks * (uint64_t)st.f_bsize;
	*ret_used = (uint64_t)(st.f_blocks - st.f_bfree) * (uint64_t)st.f_bsize;
}
