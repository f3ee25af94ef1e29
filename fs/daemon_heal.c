/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last resort: daemon and keeper are both gone, and their connections with them. Each session
 * leaves a note in the store; the next daemon mounts those images again, on top of the dead mounts.
 *
 * On top, for then the new mount propagates to wherever the dead one had, into containers that
 * have it as a slave. In place of the dead one, it would reach none of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "control.h"
#include "daemon_internal.h"
#include "mountinfo.h"

enum {
	NOTE_MAX = 16 << 10,
	NAME_MAX_NOTE = 32,
	BOOT_ID_SIZE = 37, /* of a UUID as text */
};

/* A note. Strings are borrowed from json. */
struct note {
	json_t *json; /* owned */
	struct digest manifest;
	const char *image;
	const char *platform;
	bool small_files;
	bool has_credentials; /* had: nobody has them now */
};

static void note_name(dev_t device, char ret[static NAME_MAX_NOTE])
{
	(void)snprintf(ret, NAME_MAX_NOTE, "%u:%u", major(device), minor(device));
}

/* Which boot of the machine this is: device numbers mean nothing in another one. */
static void read_boot_id(char ret[static BOOT_ID_SIZE])
{
	CLEANUP(close) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, BOOT_ID_SIZE - 1);

	ret[n > 0 ? n : 0] = '\0';
}

int daemon_write_note(int dir, const char *name, const json_t *note)
{
	CLEANUP(free) char *text = json_dumps(note, JSON_COMPACT);
	char unfinished[NAME_MAX_NOTE + 8];
	CLEANUP(close) int fd = -1;

	(void)snprintf(unfinished, sizeof(unfinished), "%s.new", name);
	fd = openat(dir, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!text || fd < 0 || io_write(fd, text, strlen(text)) < 0 ||
	    renameat(dir, unfinished, dir, name) < 0)
		return -EIO;
	return 0;
}

void daemon_note_session(struct daemon *d, const struct session *s)
{
	const struct manifest *m = image_manifest(session_image(s));
	char boot_id[BOOT_ID_SIZE];
	char digest[DIGEST_HEX_SIZE];
	char name[NAME_MAX_NOTE];
	CLEANUP(json_decref) json_t *note = NULL;

	read_boot_id(boot_id);
	note_name(session_device(s), name);
	note = json_pack("{ss ss ss ss sb sb}", "boot_id", boot_id, "image", session_name(s),
	                 "manifest", digest_hex(&m->self.digest, digest), "platform",
	                 m->platform.name, "small_files", session_small_files(s), "credentials",
	                 session_has_credentials(s));
	if (!note || daemon_write_note(store_mounts(d->store), name, note) < 0)
		log_warn(
			"%s: should daemon and keeper die, it has to be mounted again by hand: the store "
			"could not be written",
			session_name(s));
}

void daemon_forget_session(struct daemon *d, const struct session *s)
{
	char name[NAME_MAX_NOTE];

	note_name(session_device(s), name);
	(void)unlinkat(store_mounts(d->store), name, 0);
}

static void note_release_cleanup(struct note *note)
{
	json_decref(note->json);
}

/* Read the note @name. Returns 0, or -EBADMSG also for one of another boot. */
static int read_note(int dir, const char *name, struct note *ret)
{
	CLEANUP(free) char *text = NULL;
	char boot_id[BOOT_ID_SIZE];
	const char *noted;
	const char *digest;
	size_t len;
	int small_files;

	read_boot_id(boot_id);
	if (io_read_file(dir, name, NOTE_MAX, &text, &len, NULL) < 0)
		return -EBADMSG;
	ret->json = json_loadb(text, len, 0, NULL);
	if (json_unpack(ret->json, "{ss ss ss ss sb}", "boot_id", &noted, "image", &ret->image,
	                "manifest", &digest, "platform", &ret->platform, "small_files",
	                &small_files) < 0 ||
	    strcmp(noted, boot_id) != 0 || digest_parse(digest, strlen(digest), &ret->manifest) < 0)
		return -EBADMSG;
	ret->small_files = small_files != 0;
	ret->has_credentials = json_is_true(json_object_get(ret->json, "credentials"));
	return 0;
}

/* Mount what @mount has, from @root on, on top of @path. */
static int mount_over(int mount, const char *root, const char *path)
{
	CLEANUP(close)
	int copy = open_tree(mount, root[1] == '\0' ? "" : root + 1,
	                     AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return copy < 0 || move_mount(copy, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0
	               ? -errno
	               : 0;
}

/*
 * A mount of @device that nothing covers, or NULL. What is mounted on a slave, such as those of the host in
 * a pod, helps nobody but this process: who made it has to mount again.
 */
static const struct mount_point *uncovered(const struct mount_points *points, dev_t device)
{
	for (size_t i = 0; i < points->n; i++) {
		const struct mount_point *point = &points->point[i];

		if (point->device == device && !point->is_slave &&
		    mount_points_at(points, point->path) == point)
			return point;
	}
	return NULL;
}

/*
 * Put @mount over a dead mount of @device. Returns whether there may be more: each is looked for
 * anew, for mounts that are peers get what is mounted over one of them.
 */
static bool cover_one(const struct note *note, int mount, dev_t device)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	const struct mount_point *point;
	int r;

	if (mount_points_load(&points, NULL) < 0)
		return false;
	point = uncovered(&points, device);
	if (!point)
		return false;
	r = mount_over(mount, point->root, point->path);
	if (r < 0)
		log_err("the dead mounts of %s stay, such as '%s': %s", note->image, point->path,
		        strerrordesc_np(-r));
	else
		log_warn("%s is mounted again over the dead mount at '%s'", note->image,
		         point->path);
	return r == 0;
}

/* Serve the image of @note again, over the dead mounts of @device. */
static int mount_again(struct daemon *d, const struct note *note, dev_t device, struct err *err)
{
	const struct mount_request request = { .image = note->image,
		                               .platform = note->platform,
		                               .small_files = note->small_files ? "on" : "off" };
	CLEANUP(close) int mount = daemon_mount_digest(d, &request, &note->manifest, err);

	if (mount < 0)
		return mount;
	while (cover_one(note, mount, device))
		;
	if (note->has_credentials)
		log_warn("%s has lost the credentials that it was mounted with: mount it again "
		         "elsewhere to give it some; until then there is what the store has",
		         note->image);
	return 0;
}

/* Whether a mount of @device is to be seen, and asks for a daemon that is no more. */
static bool has_dead_mount(dev_t device)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	const struct mount_point *point;

	if (mount_points_load(&points, NULL) < 0)
		return false;
	point = uncovered(&points, device);
	return point && mount_is_dead(point->path);
}

/* The device that a note is named by. Returns false when @name is no such name. */
static bool parse_note_name(const char *name, dev_t *ret)
{
	char again[NAME_MAX_NOTE];
	char *colon;
	unsigned long maj = strtoul(name, &colon, 10);

	*ret = makedev((unsigned)maj, *colon == ':' ? (unsigned)strtoul(colon + 1, NULL, 10) : 0);
	note_name(*ret, again);
	return strcmp(name, again) == 0;
}

/* Do what the note @name, of an earlier daemon, asks for. */
static void heal(struct daemon *d, const char *name)
{
	CLEANUP(note_release) struct note note = { .json = NULL };
	struct err err = ERR_INIT;
	dev_t device;

	if (!parse_note_name(name, &device) || read_note(store_mounts(d->store), name, &note) < 0 ||
	    !has_dead_mount(device))
		return;
	if (mount_again(d, &note, device, &err) < 0)
		log_err("the dead mounts of %s stay: %s", note.image, err.msg);
}

static bool is_served(struct daemon *d, const char *name)
{
	char served[NAME_MAX_NOTE];
	bool found = false;

	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions && !found; i++) {
		note_name(session_device(d->sessions[i]), served);
		found = strcmp(served, name) == 0;
	}
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return found;
}

void daemon_heal(struct daemon *d)
{
	int fd = openat(store_mounts(d->store), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((e = readdir(dir)) != NULL) {
		/* Sessions that were taken over, or made for a note that came before. */
		if (e->d_name[0] == '.' || is_served(d, e->d_name))
			continue;
		heal(d, e->d_name);
		(void)unlinkat(fd, e->d_name, 0);
	}
	(void)closedir(dir);
}
