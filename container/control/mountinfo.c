/* SPDX-License-Identifier: Apache-2.0 */
#include "mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/grow.h"
#include "base/io.h"

enum { MOUNTINFO_MAX = 64 << 20 }; /* 100,000 mounts of 600 bytes */

#define FS_TYPE "fuse.assetfs"

static void mount_point_release(struct mount_point *point)
{
	free(point->path);
	free(point->root);
	free(point->source);
}

void mount_points_release(struct mount_points *points)
{
	for (size_t i = 0; i < points->n; i++)
		mount_point_release(&points->point[i]);
	free(points->point);
	*points = MOUNT_POINTS_INIT;
}

static int is_octal(char c)
{
	return c >= '0' && c <= '7';
}

void mount_text_unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p != '\0'; out++) {
		if (p[0] == '\\' && is_octal(p[1]) && is_octal(p[2]) && is_octal(p[3])) {
			*out = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 4;
		} else {
			*out = *p++;
		}
	}
	*out = '\0';
}

/* Takes what @point has, unless it fails. */
static int add(struct mount_points *points, const struct mount_point *point)
{
	struct mount_point *grown;

	if (!point->path || !point->root || !point->source)
		return -ENOMEM;
	grown = array_grow(points->point, points->n, &points->cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	points->point = grown;
	grown[points->n++] = *point;
	return 0;
}

static char *unescaped_copy(char *text)
{
	mount_text_unescape(text);
	return strdup(text);
}

/* "id parent major:minor root mountpoint options [optional...] - type source superoptions" */
static int parse_line(char *line, struct mount_points *points)
{
	struct mount_point point;
	char *save = NULL;
	char *field[5] = { NULL };
	char *type = strstr(line, " - ");
	char *source;
	const char *rest;
	unsigned maj;
	unsigned min;
	char *end;

	if (!type || strncmp(type + 3, FS_TYPE " ", sizeof(FS_TYPE)) != 0)
		return 0;
	*type = '\0';
	source = type + 3 + sizeof(FS_TYPE);
	source[strcspn(source, " ")] = '\0';
	for (size_t i = 0; i < 5; i++) {
		field[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (!field[i])
			return 0;
	}
	rest = strtok_r(NULL, "", &save);
	maj = (unsigned)strtoul(field[2], &end, 10);
	min = *end == ':' ? (unsigned)strtoul(end + 1, NULL, 10) : 0;
	point = (struct mount_point){ .path = unescaped_copy(field[4]),
		                      .root = unescaped_copy(field[3]),
		                      .source = unescaped_copy(source),
		                      .device = makedev(maj, min),
		                      .is_slave = rest && strstr(rest, " master:") &&
		                                  !strstr(rest, " shared:") };
	if (add(points, &point) == 0)
		return 0;
	mount_point_release(&point);
	return -ENOMEM;
}

int mount_points_parse(char *text, struct mount_points *ret)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (parse_line(line, &points) < 0)
			return -ENOMEM;
	}
	*ret = points;
	points = MOUNT_POINTS_INIT;
	return 0;
}

int mount_points_load(struct mount_points *ret, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len;
	int r = io_read_file(-1, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = mount_points_parse(text, ret);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

const struct mount_point *mount_points_at(const struct mount_points *points, const char *path)
{
	for (size_t i = points->n; i-- > 0;) {
		if (strcmp(points->point[i].path, path) == 0)
			return &points->point[i];
	}
	return NULL;
}

const struct mount_point *mount_points_of(const struct mount_points *points, dev_t device)
{
	for (size_t i = 0; i < points->n; i++) {
		if (points->point[i].device == device)
			return &points->point[i];
	}
	return NULL;
}

const struct mount_point *mount_points_whole(const struct mount_points *points, dev_t device)
{
	for (size_t i = 0; i < points->n; i++) {
		if (points->point[i].device == device && strcmp(points->point[i].root, "/") == 0)
			return &points->point[i];
	}
	return NULL;
}

bool mount_is_dead(const char *path)
{
	struct statfs fs;

	/* Unlike stat(2), statfs(2) always asks the daemon. */
	return statfs(path, &fs) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

const char *device_text(dev_t device, char buf[static 32])
{
	(void)snprintf(buf, 32, "%u:%u", major(device), minor(device));
	return buf;
}
