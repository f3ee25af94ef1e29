/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "control.h"
#include "layout.h"
#include "mountinfo.h"
#include "notify.h"
#include "oci/reference.h"
#include "store.h"

enum {
	/* The daemon that has the store may be about to end, or not yet listening. */
	CALLS = 500,
	PAUSE_NS = 20000000,
	LOG_TAIL = 512,
};

const char *default_store(void)
{
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *store = getenv("ASSETFS_STORE");

	return store && store[0] != '\0' ? store : STORE_DEFAULT;
}

/* Add the last line of the log to @err: it says why the daemon ended. */
static int explain(int log_fd, const char *store, struct err *err)
{
	char tail[LOG_TAIL + 1];
	off_t end = lseek(log_fd, 0, SEEK_END);
	off_t start = end > LOG_TAIL ? end - LOG_TAIL : 0;
	ssize_t n = pread(log_fd, tail, LOG_TAIL, start);
	char *line;

	if (n <= 1)
		return err->code;
	tail[tail[n - 1] == '\n' ? n - 1 : n] = '\0';
	line = strrchr(tail, '\n');
	return err_set(err, err->code, "no daemon could be started for the store '%s': %s", store,
	               line ? line + 1 : tail);
}

static int start_daemon(const char *store, struct err *err)
{
	CLEANUP(free) char *absolute = NULL;
	CLEANUP(free) char *log_path = NULL;
	CLEANUP(close) int log_fd = -1;
	char program[] = "assetfs";
	char command[] = "keeper";
	char store_option[] = "--store";
	char auto_exit[] = "--auto-exit";
	int r = io_make_dirs(store, err);

	if (r < 0)
		return r;
	absolute = realpath(store, NULL);
	if (!absolute)
		return err_set_errno(err, "store '%s'", store);
	if (asprintf(&log_path, "%s/assetfs.log", absolute) < 0) {
		log_path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	log_fd = open(log_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (log_fd < 0)
		return err_set_errno(err, "'%s'", log_path);
	r = notify_spawn((char *[]){ program, command, store_option, absolute, auto_exit, NULL },
	                 log_fd, err);
	return r < 0 ? explain(log_fd, absolute, err) : 0;
}

int client_call_or_start(const char *store, const json_t *request, int pass_fd, json_t **ret,
                         int *ret_fd, struct err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct err start_err = ERR_INIT;
	int started = 0;
	int r = 0;

	for (int i = 0; i < CALLS; i++) {
		r = control_call_with(store, request, pass_fd, ret, ret_fd, err);
		/* A daemon that has died while it was asked may have a keeper: ask the next one. */
		if (r == -ECONNRESET || r == -EPIPE) {
			(void)nanosleep(&pause, NULL);
			continue;
		}
		if (r != -ENOTCONN)
			return r;
		if (started < 0 && started != -EBUSY)
			return err_set(err, started, "%s", start_err.msg);
		if (started == -EBUSY)
			(void)nanosleep(&pause, NULL);
		/* It fails when another one was faster, whose daemon then answers. */
		started = start_daemon(store, &start_err);
	}
	return r;
}

/* A name in a registry, with what is left out of it. */
static int remote_name(const char *text, char **ret, struct err *err)
{
	CLEANUP(reference_release) struct reference ref = REFERENCE_INIT;
	char hex[DIGEST_HEX_SIZE];
	int r = reference_parse(text, &ref, err);

	if (r < 0)
		return r;
	if (asprintf(ret, "%s/%s%s%s%s%s", ref.host, ref.repository, ref.tag ? ":" : "",
	             ref.tag ? ref.tag : "", ref.pinned ? "@sha256:" : "",
	             ref.pinned ? digest_hex(&ref.digest, hex) : "") < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

int client_image_name(const char *text, char **ret, struct err *err)
{
	bool is_layout = text[0] == '/' || text[0] == '.' ||
	                 strncmp(text, "oci:", strlen("oci:")) == 0;
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	CLEANUP(free) char *layout = NULL;
	int r = is_layout ? image_ref_parse(text, &ref, err) : 0;

	if (!is_layout)
		return remote_name(text, ret, err);
	if (r < 0)
		return r;
	layout = realpath(ref.layout, NULL);
	if (!layout)
		return err_set_errno(err, "image '%s'", text);
	if (asprintf(ret, "%s:%s", layout, ref.tag) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* The path of what has the last name of @path in its parent directory, which is resolved. */
static char *resolve_parent(const char *path)
{
	CLEANUP(free) char *copy = strdup(path);
	CLEANUP(free) char *parent = NULL;
	char *resolved = NULL;
	size_t len = copy ? strlen(copy) : 0;
	char *slash;

	if (!copy)
		return NULL;
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (parent && asprintf(&resolved, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent,
	                       slash ? slash + 1 : copy) < 0)
		resolved = NULL;
	return resolved;
}

int client_directory(const char *path, char **ret, struct err *err)
{
	char *resolved = realpath(path, NULL);

	if (!resolved && (errno == ENOTCONN || errno == ECONNABORTED))
		resolved = resolve_parent(path);
	if (!resolved)
		return err_set_errno(err, "directory '%s'", path);
	*ret = resolved;
	return 0;
}

/* Whether this process sees a mount of ours at @path. */
static bool is_mount_point(const char *path)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	return mount_points_load(&points, NULL) == 0 && mount_points_at(&points, path);
}

char *client_target(const char *target)
{
	CLEANUP(free) char *directory = NULL;
	char *image = NULL;

	if (client_directory(target, &directory, NULL) == 0 && is_mount_point(directory))
		return TAKE_PTR(directory);
	if (client_image_name(target, &image, NULL) == 0)
		return image;
	return directory ? TAKE_PTR(directory) : strdup(target);
}

int client_open_trace(const char *path, struct err *err)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "trace '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "trace '%s' is not a regular file", path);
	return TAKE_FD(fd);
}

const char *client_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

const char *client_duration(uint64_t seconds, char buf[static DURATION_MAX])
{
	unsigned days = (unsigned)(seconds / 86400);
	unsigned hours = (unsigned)(seconds / 3600 % 24);
	unsigned minutes = (unsigned)(seconds / 60 % 60);

	if (days > 0)
		(void)snprintf(buf, DURATION_MAX, "%ud %02u:%02u:%02u", days, hours, minutes,
		               (unsigned)(seconds % 60));
	else
		(void)snprintf(buf, DURATION_MAX, "%02u:%02u:%02u", hours, minutes,
		               (unsigned)(seconds % 60));
	return buf;
}
