/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assetfs mount and umount. The daemon makes the mount; this process attaches
 * it, so that it appears in the caller's mount namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "client.h"
#include "commands.h"
#include "control.h"
#include "mountinfo.h"
#include "oci/credentials_text.h"

enum { FILE_MAX = 256 << 10 }; /* of credentials, or of a key */

static const char mount_help[] =
	"Usage: assetfs mount [OPTION]... IMAGE DIR\n"
	"Mount IMAGE, a LAYOUT[:TAG] or a HOST/REPOSITORY[:TAG][@DIGEST] in a registry, at\n"
	"the directory DIR. Starts a daemon when none\n"
	"runs; such a daemon ends with its last mount.\n\n"
	"      --platform OS/ARCH  choose an image (default: of this machine)\n"
	"      --small-files=WHEN  auto, on or off: let the kernel open files by itself, which\n"
	"                          is fast but has no passthrough (default: auto, if nearly\n"
	"                          all bytes are in files up to 1 MiB)\n"
	"      --prefetch[=TRACE]  fill what is going to be read, in the background: along\n"
	"                          the trace that the image carries or the file TRACE, or\n"
	"                          \"all\"\n"
	"      --auth-file FILE    credentials for the registry, as in docker's config.json, for\n"
	"                          this mount only; they come before the daemon's own\n"
	"      --verify-key FILE   only if the owner of this public key has signed the image\n"
	"      --store DIR         the daemon's store (default $ASSETFS_STORE, else\n"
	"                          /var/lib/assetfs)\n"
	"  -h, --help              show this help\n";

static const char umount_help[] =
	"Usage: assetfs umount [OPTION]... DIR\n"
	"Unmount what assetfs has mounted at DIR.\n\n"
	"  -l, --lazy       detach it although it is in use\n"
	"      --store DIR  the daemon's store (default $ASSETFS_STORE, else\n"
	"                   /var/lib/assetfs)\n"
	"  -h, --help       show this help\n";

static const struct option options[] = {
	{ "platform", required_argument, NULL, 'p' },
	{ "auth-file", required_argument, NULL, 'A' },
	{ "verify-key", required_argument, NULL, 'k' },
	{ "prefetch", optional_argument, NULL, 'P' },
	{ "small-files", required_argument, NULL, 'f' },
	{ "store", required_argument, NULL, 's' },
	{ "lazy", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct mount_args {
	const char *store;
	const char *platform;    /* NULL: of this machine */
	const char *small_files; /* "auto", "on" or "off"; NULL: auto */
	const char *prefetch;    /* source of a prefetch (control.h), or NULL */
	const char *trace;       /* file, when that is the source */
	const char *auth_file;   /* or NULL */
	const char *key_file;    /* or NULL */
	bool lazy;
	char **operand; /* in argv */
};

/* Apply an option of mount alone. Returns whether it is one. */
static bool apply_mount_option(int option, struct mount_args *ret)
{
	switch (option) {
	case 'p':
		ret->platform = optarg;
		return true;
	case 'f':
		ret->small_files = optarg;
		return true;
	case 'P':
		ret->prefetch = prefetch_source_name(ret->trace = optarg);
		return true;
	case 'A':
		ret->auth_file = optarg;
		return true;
	case 'k':
		ret->key_file = optarg;
		return true;
	default:
		return false;
	}
}

/* Parse the options and @n operands. Returns -1 to go on, or an exit status. */
static int parse(int argc, char *argv[], const char *help, int n, struct mount_args *ret)
{
	bool is_mount = n == 2;
	int option;

	ret->store = default_store();
	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, is_mount ? "h" : "lh", options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(help, stdout);
			return STATUS_OK;
		}
		if (option == 's')
			ret->store = optarg;
		else if (option == 'l' && !is_mount)
			ret->lazy = true;
		else if (option == '?')
			return STATUS_USAGE;
		else if (!is_mount || !apply_mount_option(option, ret))
			optind = argc; /* an option of the other command: show the usage */
	}
	if (argc - optind != n) {
		(void)fprintf(stderr, "assetfs: usage: assetfs %s\n",
		              is_mount ? "mount [OPTION]... IMAGE DIR"
		                       : "umount [--lazy] [--store DIR] DIR");
		return STATUS_USAGE;
	}
	ret->operand = argv + optind;
	return -1;
}

/* Make sure that @dir can be mounted on, and detach the mounts of a dead daemon from it. */
static int clear_directory(const char *dir, struct err *err)
{
	struct stat st;

	for (;;) {
		CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
		int r = mount_points_load(&points, err);

		if (r < 0)
			return r;
		if (!mount_points_at(&points, dir))
			break;
		if (!mount_is_dead(dir))
			return err_set(err, -EBUSY,
			               "'%s' has an assetfs mount already; unmount it first", dir);
		if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return err_set_errno(err, "the dead mount at '%s' could not be detached",
			                     dir);
		(void)fprintf(stderr,
		              "assetfs mount: detached the mount of a dead daemon from '%s'\n",
		              dir);
	}
	if (stat(dir, &st) < 0)
		return err_set_errno(err, "directory '%s'", dir);
	return S_ISDIR(st.st_mode) ? 0 : err_set(err, -ENOTDIR, "'%s' is not a directory", dir);
}

/* Add the text of the file @path to @request as @key, unless @path is NULL. */
static int add_file(json_t *request, const char *key, const char *path, struct err *err)
{
	CLEANUP(credentials_secret_free) char *text = NULL;
	size_t len = 0;
	int r = path ? io_read_file(AT_FDCWD, path, FILE_MAX, &text, &len, err) : 0;

	if (r < 0)
		return err_set(err, r, "'%s': %s", path, strerrordesc_np(-r));
	if (path && json_object_set_new(request, key, json_stringn(text, len)) < 0)
		return err_set(err, -EINVAL, "'%s' is no text in UTF-8", path);
	return 0;
}

static int request_mount(const struct mount_args *args, const char *image, const char *dir,
                         int *ret_mount, struct err *err)
{
	CLEANUP(json_decref) json_t *request = NULL;
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(close) int trace = -1;
	int r;

	if (args->prefetch && strcmp(args->prefetch, "file") == 0) {
		trace = client_open_trace(args->trace, err);
		if (trace < 0)
			return trace;
	}
	request = json_pack("{si ss ss ss ss* ss* ss*}", "version", CONTROL_VERSION, "command",
	                    "mount", "image", image, "directory", dir, "platform", args->platform,
	                    "small_files", args->small_files, "prefetch", args->prefetch);
	if (!request)
		return err_set(err, -EINVAL, "image and directory must be named in UTF-8");
	r = add_file(request, "auth", args->auth_file, err);
	if (r == 0)
		r = add_file(request, "verify_key", args->key_file, err);
	if (r < 0)
		return r;
	r = client_call_or_start(args->store, request, trace, &answer, ret_mount, err);
	if (r == 0 && *ret_mount < 0)
		return err_set(err, -EPROTO, "the daemon sent no mount");
	if (r == 0 && args->key_file && !json_is_true(json_object_get(answer, "signed")))
		return err_set(err, -EPROTO,
		               "the daemon does not know signatures; upgrade it, or mount without "
		               "--verify-key");
	return r;
}

static int do_mount(const struct mount_args *args, struct err *err)
{
	CLEANUP(free) char *image = NULL;
	CLEANUP(free) char *dir = NULL;
	CLEANUP(close) int mount = -1;
	int r = client_image_name(args->operand[0], &image, err);

	if (r == 0)
		r = client_directory(args->operand[1], &dir, err);
	if (r == 0)
		r = clear_directory(dir, err);
	if (r == 0)
		r = request_mount(args, image, dir, &mount, err);
	if (r < 0)
		return r;
	if (move_mount(mount, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set_errno(err, "mounting at '%s'", dir);
	return 0;
}

int cmd_mount(int argc, char *argv[])
{
	struct mount_args args = { 0 };
	struct err err = ERR_INIT;
	int status = parse(argc, argv, mount_help, 2, &args);

	if (status >= 0)
		return status;
	if (geteuid() != 0) {
		(void)fprintf(stderr, "assetfs mount: needs root\n");
		return STATUS_FAILED;
	}
	return do_mount(&args, &err) < 0 ? fail("mount", &err) : STATUS_OK;
}

/* Whether the daemon still serves @device. No daemon serves nothing. */
static bool is_served(const char *store, dev_t device)
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", "status");
	CLEANUP(json_decref) json_t *answer = NULL;
	const json_t *mount;
	char text[32];
	size_t i;

	if (!request || control_call(store, request, &answer, NULL, NULL) < 0)
		return false;
	(void)device_text(device, text);
	json_array_foreach(json_object_get(answer, "mounts"), i, mount) {
		const char *served = json_string_value(json_object_get(mount, "device"));

		if (served && strcmp(served, text) == 0)
			return true;
	}
	return false;
}

/*
 * Wait until the daemon has let go of a session whose last mount is gone. Not
 * for long: another mount namespace may still have one.
 */
static void settle(const char *store, dev_t device)
{
	enum { TRIES = 100 };
	struct timespec pause = { .tv_nsec = 20000000 };
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	if (mount_points_load(&points, NULL) < 0 || mount_points_of(&points, device))
		return;
	for (int i = 0; i < TRIES && is_served(store, device); i++)
		(void)nanosleep(&pause, NULL);
}

/* Somebody who only looks, such as the daemon that copies the mount, keeps it busy for a moment. */
static int unmount(const char *dir, bool lazy)
{
	enum { TRIES = 10 };
	struct timespec pause = { .tv_nsec = 20000000 };
	int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);
	int r = umount2(dir, flags);

	for (int i = 1; r < 0 && errno == EBUSY && i < TRIES; i++) {
		(void)nanosleep(&pause, NULL);
		r = umount2(dir, flags);
	}
	return r;
}

/* Detach dead mounts that a mount at @dir has covered. */
static void clear_below(const char *dir)
{
	for (;;) {
		CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

		if (mount_points_load(&points, NULL) < 0 || !mount_points_at(&points, dir) ||
		    !mount_is_dead(dir) || umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return;
	}
}

static int do_umount(const struct mount_args *args, struct err *err)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *dir = NULL;
	const struct mount_point *point;
	int r = client_directory(args->operand[0], &dir, err);

	if (r == 0)
		r = mount_points_load(&points, err);
	if (r < 0)
		return r;
	point = mount_points_at(&points, dir);
	if (!point)
		return err_set(err, -EINVAL, "'%s' is no mount point of assetfs", dir);
	if (unmount(dir, args->lazy) < 0)
		return err_set_errno(err, "'%s'", dir);
	clear_below(dir);
	if (!args->lazy)
		settle(args->store, point->device);
	return 0;
}

int cmd_umount(int argc, char *argv[])
{
	struct mount_args args = { 0 };
	struct err err = ERR_INIT;
	int status = parse(argc, argv, umount_help, 1, &args);

	if (status >= 0)
		return status;
	return do_umount(&args, &err) < 0 ? fail("umount", &err) : STATUS_OK;
}
