/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/io.h"
#include "format.h"
#include "names.h"

DEFINE_CLEANUP(json_t *, json_decref)

enum {
	DIGEST_TEXT_SIZE = sizeof("sha256:") + DIGEST_HEX_SIZE,
	FILE_MODE = 0644,
};

/* Open the directory of @path, and set *@ret_name to the name in it. Returns a descriptor or -errno. */
static int open_dir(const char *path, const char **ret_name, struct err *err)
{
	CLEANUP(free) char *dir = strdup(path);
	char *slash;
	int fd;

	*ret_name = path;
	if (!dir)
		return err_set(err, -ENOMEM, "out of memory");
	slash = strrchr(dir, '/');
	if (slash)
		*ret_name = path + (slash - dir) + 1;
	if ((*ret_name)[0] == '\0')
		return err_set(err, -EISDIR, "'%s' is no file name", path);
	if (slash)
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_set_errno(err, "'%s'", path) : fd;
}

int metadata_check(const char *path, struct err *err)
{
	const char *name;
	CLEANUP(close) int fd = open_dir(path, &name, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0)
		return err_set_errno(err, "'%s'", path);
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "'%s' is not a regular file", path);
	return 0;
}

static const char *digest_text(const struct digest *d, char buf[static DIGEST_TEXT_SIZE])
{
	char hex[DIGEST_HEX_SIZE];

	(void)snprintf(buf, DIGEST_TEXT_SIZE, "sha256:%s", digest_hex(d, hex));
	return buf;
}

static json_t *descriptor_json(const char *type, const struct descriptor *d)
{
	char text[DIGEST_TEXT_SIZE];

	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest",
	                 digest_text(&d->digest, text), "size", (json_int_t)d->size);
}

/* How many times the bytes that are left fit into all bytes; 1 for none. */
static double ratio(uint64_t all, uint64_t left)
{
	return left > 0 ? (double)all / (double)left : 1;
}

static json_t *platform_json(const struct platform_report *p)
{
	return json_pack("{s:s, s:o, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
	                 "platform", p->platform.name, "descriptor",
	                 descriptor_json(FORMAT_TYPE_OCI_IMAGE, &p->manifest), "files",
	                 (json_int_t)p->files, "input_bytes", (json_int_t)p->bytes, "unique_bytes",
	                 (json_int_t)p->unique_bytes, "dedup_ratio",
	                 ratio(p->bytes, p->unique_bytes), "chunks", (json_int_t)p->chunks,
	                 "new_chunks", (json_int_t)p->new_chunks, "reused_chunks",
	                 (json_int_t)p->reused_chunks, "stored_bytes", (json_int_t)p->stored_bytes,
	                 "shared_bytes", (json_int_t)p->shared_bytes, "update_bytes",
	                 (json_int_t)p->update_bytes, "delta_bytes", (json_int_t)p->delta_bytes);
}

static json_t *platforms_json(const struct report *report)
{
	CLEANUP(json_decref) json_t *list = json_array();

	for (unsigned i = 0; i < report->n_platforms; i++) {
		if (json_array_append_new(list, platform_json(&report->platforms[i])) < 0)
			return NULL;
	}
	return TAKE_PTR(list);
}

static json_t *stats_json(const struct report *report)
{
	CLEANUP(json_decref) json_t *stats = NULL;
	char text[DIGEST_TEXT_SIZE];

	stats = json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
	                  "input_bytes", (json_int_t)report->input_bytes, "unique_bytes",
	                  (json_int_t)report->unique_bytes, "stored_bytes",
	                  (json_int_t)report->stored_bytes, "shared_bytes",
	                  (json_int_t)report->shared_bytes, "separate_bytes",
	                  (json_int_t)report->separate_bytes, "dedup_ratio",
	                  ratio(report->input_bytes, report->unique_bytes), "chunks",
	                  (json_int_t)report->chunks, "new_chunks", (json_int_t)report->new_chunks,
	                  "reused_chunks", (json_int_t)report->reused_chunks, "upload_bytes",
	                  (json_int_t)report->upload_bytes, "update_bytes",
	                  (json_int_t)report->update_bytes, "delta_bytes",
	                  (json_int_t)report->delta_bytes, "duration_ms",
	                  (json_int_t)report->duration_ms, "platforms", platforms_json(report));
	if (stats && report->has_base &&
	    json_object_set_new(stats, "base",
	                        json_string(digest_text(&report->base.digest, text))) < 0)
		return NULL;
	return TAKE_PTR(stats);
}

/* A name as JSON has it: UTF-8. */
static json_t *name_json(const char *name)
{
	char shown[NAME_SHOWN_MAX];
	json_t *text = json_string(name);

	return text ? text : json_string(name_shown(name, shown));
}

/* Returns NULL when memory runs out. */
static char *metadata_text(const struct report *report, const char *name)
{
	CLEANUP(json_decref) json_t *root = NULL;
	CLEANUP(free) char *json = NULL;
	char text[DIGEST_TEXT_SIZE];
	char *line;

	root = json_pack("{s:s, s:o, s:o, s:o}", "containerimage.digest",
	                 digest_text(&report->image.digest, text), "containerimage.descriptor",
	                 descriptor_json(FORMAT_TYPE_OCI_INDEX, &report->image), "image.name",
	                 name_json(name), "assetpack.stats", stats_json(report));
	if (root)
		json = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	return json && asprintf(&line, "%s\n", json) >= 0 ? line : NULL;
}

int metadata_write(const char *path, const struct report *report, const char *name, struct err *err)
{
	CLEANUP(free) char *text = metadata_text(report, name);
	const char *file;
	CLEANUP(close) int fd = open_dir(path, &file, err);
	int r;

	if (fd < 0)
		return fd;
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_publish_bytes(fd, file, text, strlen(text), FILE_MODE, err);
	return r < 0 ? err_wrap(err, r, "metadata") : 0;
}
