/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"

enum { PIN_TEXT_MAX = 32 };

#define PIN_FILE "pin"

bool node_mount_parse(const char *dir, const struct mount_point *point, struct node_mount *ret)
{
	struct node_mount mount = { .point = point };
	size_t len = strlen(dir);
	struct digest digest;
	const char *hex;
	const char *platform;
	const char *leaf;

	if (strncmp(point->path, dir, len) != 0 || point->path[len] != '/')
		return false;
	hex = point->path + len + 1;
	if (digest_parse(hex, strcspn(hex, "/"), &digest) < 0)
		return false;
	platform = hex + DIGEST_HEX_SIZE - 1;
	leaf = strrchr(platform, '/');
	if (!leaf || leaf - platform < 2 || leaf - platform > (ptrdiff_t)PLATFORM_SIZE)
		return false;
	(void)digest_hex(&digest, mount.image.digest);
	memcpy(mount.image.platform, platform + 1, (size_t)(leaf - platform - 1));
	*ret = mount;
	return true;
}

bool node_mount_of(const struct mount_points *points, const char *dir, dev_t device,
                   struct node_mount *ret)
{
	for (size_t i = 0; i < points->n; i++) {
		if (points->point[i].device == device &&
		    node_mount_parse(dir, &points->point[i], ret))
			return true;
	}
	return false;
}

bool node_mount_served(const struct mount_points *points, const char *dir,
                       const struct served *image, const json_t *status, struct node_mount *ret)
{
	for (size_t i = points->n; i-- > 0;) {
		struct node_mount mount;

		if (!node_mount_parse(dir, &points->point[i], &mount) ||
		    strcmp(mount.image.digest, image->digest) != 0 ||
		    strcmp(mount.image.platform, image->platform) != 0 ||
		    !status_serves(status, points->point[i].device, NULL))
			continue;
		*ret = mount;
		return true;
	}
	return false;
}

bool mount_is_topmost(const struct mount_points *points, const struct mount_point *point)
{
	return mount_points_at(points, point->path) == point;
}

bool mount_has_volumes(const struct mount_points *points, const char *dir, dev_t device)
{
	for (size_t i = 0; i < points->n; i++) {
		const struct mount_point *point = &points->point[i];
		struct node_mount mount;

		if (point->device == device && mount_is_topmost(points, point) &&
		    !node_mount_parse(dir, point, &mount))
			return true;
	}
	return false;
}

/* The directory of @image below @dir, with @leaf in it. The caller frees it; NULL without memory. */
static char *place(const char *dir, const struct served *image, const char *leaf)
{
	char *path;

	return asprintf(&path, "%s/%s/%s/%s", dir, image->digest, image->platform, leaf) < 0 ? NULL
	                                                                                     : path;
}

/*
 * Take the detached mount @mount out of the peer group of the one that it is a copy of: what is
 * mounted over one volume some day would appear in all others.
 */
static int make_private(int mount)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };

	return mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

int node_mount_attach(const char *dir, const struct served *image, dev_t device, int mount,
                      struct err *err)
{
	CLEANUP(free) char *path = NULL;
	char leaf[32];
	int r;

	(void)snprintf(leaf, sizeof(leaf), "%u:%u", major(device), minor(device));
	path = place(dir, image, leaf);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	if (!volume_path_ok(path))
		return err_set(err, -EPROTO, "the daemon serves a platform '%s'", image->platform);
	r = io_make_dirs(path, err);
	if (r < 0)
		return r;
	if (make_private(mount) < 0 ||
	    move_mount(mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set_errno(err, "mounting at '%s'", path);
	return 0;
}

void node_mount_detach(const char *dir, const struct node_mount *mount)
{
	CLEANUP(free) char *path = strdup(mount->point->path);
	int r = umount2(mount->point->path, MNT_DETACH | UMOUNT_NOFOLLOW);

	if (r < 0)
		log_warn("the mount at '%s' could not be detached: %s", mount->point->path,
		         strerrordesc_np(errno));
	/* Up to the first directory that something else is in. */
	while (path && strlen(path) > strlen(dir) && rmdir(path) == 0)
		*strrchr(path, '/') = '\0';
}

/* openat2(2), which glibc has no function for. */
static int open_in_image(int image, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
		                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
		                           RESOLVE_NO_XDEV };

	return (int)syscall(SYS_openat2, image, path, &how, sizeof(how));
}

/* Where @fd is, below @base. The caller frees it; NULL when that cannot be told. */
static char *path_below(int fd, const char *base)
{
	char link[64];
	char path[PATH_MAX];
	size_t len = strlen(base);
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < (ssize_t)len)
		return NULL;
	path[n] = '\0';
	if (strncmp(path, base, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return strdup(path[len] == '\0' ? "/" : path + len);
}

int node_mount_open(const struct node_mount *mount, const char *path, char **ret_root,
                    struct err *err)
{
	CLEANUP(close)
	int image = open(mount->point->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP(close) int fd = -1;
	struct stat st;
	char *root;

	if (image < 0)
		return err_set_errno(err, "'%s'", mount->point->path);
	fd = open_in_image(image, path[0] == '\0' ? "." : path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "directory '%s' of image '%s'", path,
		                     mount->point->source);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "'%s' of image '%s' is not a directory", path,
		               mount->point->source);
	root = path_below(fd, mount->point->path);
	if (!root)
		return err_set(err, -EIO, "directory '%s' of image '%s' is not where it was", path,
		               mount->point->source);
	*ret_root = root;
	return TAKE_FD(fd);
}

int node_bind(int fd, const char *target, struct err *err)
{
	CLEANUP(close)
	int tree = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | (unsigned)OPEN_TREE_CLOEXEC);
	CLEANUP(close) int at = open(target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (tree < 0 || make_private(tree) < 0)
		return err_set_errno(err, "the volume for '%s'", target);
	if (at < 0)
		return err_set_errno(err, "target path '%s'", target);
	if (move_mount(tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_set_errno(err, "mounting at '%s'", target);
	return 0;
}

bool node_pin_get(const char *dir, const struct served *image, uint64_t *ret_floor)
{
	CLEANUP(free) char *path = place(dir, image, PIN_FILE);
	CLEANUP(free) char *text = NULL;
	size_t len;

	return path && io_read_file(-1, path, PIN_TEXT_MAX, &text, &len, NULL) == 0 &&
	       text_parse_uint(text, INT64_MAX, ret_floor) == 0;
}

int node_pin_set(const char *dir, const struct served *image, uint64_t floor, struct err *err)
{
	CLEANUP(free) char *path = place(dir, image, "");
	CLEANUP(close) int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	char text[PIN_TEXT_MAX];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)floor);

	if (fd < 0)
		return err_set_errno(err, "the note of a pin");
	return io_publish_bytes(fd, PIN_FILE, text, (size_t)n, 0600, err);
}

void node_pin_clear(const char *dir, const struct served *image)
{
	CLEANUP(free) char *path = place(dir, image, PIN_FILE);

	if (path)
		(void)unlink(path);
}

/* For nftw(3): remove a directory or a note, but for the first directory. */
static int remove_left(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type == FTW_DP && ftw->level > 0)
		(void)rmdir(path);
	if (type == FTW_F && strcmp(path + ftw->base, PIN_FILE) == 0)
		(void)unlink(path);
	return 0;
}

void node_mounts_tidy(const char *dir)
{
	enum { DEPTH = 8 }; /* descriptors; a platform has three parts at most */
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	size_t len = strlen(dir);

	if (mount_points_load(&points, NULL) < 0)
		return;
	for (size_t i = 0; i < points.n; i++) {
		if (strncmp(points.point[i].path, dir, len) == 0)
			return;
	}
	/* One thread yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)nftw(dir, remove_left, DEPTH, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
