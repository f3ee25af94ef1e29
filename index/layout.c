/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a layout. Every blob is compared with the descriptor that named it
 * before a byte of it is interpreted, from the tag's image index down.
 */
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format.h"
#include "image_set.h"
#include "oci_json.h"
#include "plain.h"

static const char tag_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

enum { TAG_MAX = 128 }; /* as registries have it */

static bool is_tag(const char *tag)
{
	size_t len = strlen(tag);

	return len >= 1 && len <= TAG_MAX && strspn(tag, tag_chars) == len && tag[0] != '.' &&
	       tag[0] != '-';
}

int image_ref_parse(const char *text, struct image_ref *ret, struct err *err)
{
	CLEANUP(free) char *layout = NULL;
	CLEANUP(free) char *tag = NULL;
	bool scheme = strncmp(text, "oci:", strlen("oci:")) == 0;
	const char *path = scheme ? text + strlen("oci:") : text;
	const char *slash = strrchr(path, '/');
	const char *colon = strrchr(slash ? slash : path, ':');
	size_t len = colon ? (size_t)(colon - path) : strlen(path);

	if (!scheme && path[0] != '/' && path[0] != '.')
		return err_set(err, -EINVAL,
		               "'%s' is no path: write ./%s for an image in a directory", text,
		               text);
	if (len == 0)
		return err_set(err, -EINVAL, "'%s' names no layout directory", text);
	if (colon && !is_tag(colon + 1))
		return err_set(err, -EINVAL,
		               "'%s' is not a tag: use letters, digits, '_', '.' and '-'",
		               colon + 1);
	layout = strndup(path, len);
	tag = strdup(colon ? colon + 1 : "latest");
	if (!layout || !tag)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = (struct image_ref){ .layout = TAKE_PTR(layout), .tag = TAKE_PTR(tag) };
	return 0;
}

void image_ref_release(struct image_ref *ref)
{
	free(ref->layout);
	free(ref->tag);
	*ref = IMAGE_REF_INIT;
}

struct layout {
	char *path; /* owned */
	int dir;    /* owned */
	int blobs;  /* owned */
};

/* The marker file that makes a directory an OCI layout. */
static int check_marker(const struct layout *layout, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *root = NULL;
	const char *version;
	size_t len;
	int r = io_read_file(layout->dir, "oci-layout", FORMAT_JSON_MAX, &text, &len, err);

	if (r == -ENOENT)
		return err_set(err, -EBADMSG, "'%s' is no OCI layout: it has no file 'oci-layout'",
		               layout->path);
	if (r == 0)
		r = json_parse_object(text, len, "'oci-layout'", &root, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", layout->path);
	version = json_string_value(json_object_get(root, "imageLayoutVersion"));
	if (!version || strcmp(version, "1.0.0") != 0)
		return err_set(err, -EBADMSG, "'%s' is no OCI layout of version 1.0.0",
		               layout->path);
	return 0;
}

int layout_open(const char *path, struct layout **ret, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = calloc(1, sizeof(*layout));
	int r;

	if (!layout)
		return err_set(err, -ENOMEM, "out of memory");
	layout->blobs = -1;
	layout->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout->dir < 0)
		return err_set_errno(err, "'%s'", path);
	layout->path = strdup(path);
	if (!layout->path)
		return err_set(err, -ENOMEM, "out of memory");
	r = check_marker(layout, err);
	if (r < 0)
		return r;
	layout->blobs = openat(layout->dir, "blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout->blobs < 0)
		return err_set(err, -EBADMSG,
		               "'%s' is no OCI layout: it has no directory "
		               "'blobs/sha256'",
		               path);
	*ret = TAKE_PTR(layout);
	return 0;
}

void layout_close(struct layout *layout)
{
	if (!layout)
		return;
	if (layout->dir >= 0)
		(void)close(layout->dir);
	if (layout->blobs >= 0)
		(void)close(layout->blobs);
	free(layout->path);
	free(layout);
}

int layout_dup(const struct layout *layout, struct layout **ret, struct err *err)
{
	CLEANUP(layout_close) struct layout *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	copy->path = strdup(layout->path);
	copy->dir = fcntl(layout->dir, F_DUPFD_CLOEXEC, 0);
	copy->blobs = copy->dir < 0 ? -1 : fcntl(layout->blobs, F_DUPFD_CLOEXEC, 0);
	if (!copy->path)
		return err_set(err, -ENOMEM, "out of memory");
	if (copy->blobs < 0)
		return err_set_errno(err, "'%s'", layout->path);
	*ret = TAKE_PTR(copy);
	return 0;
}

int layout_blobs(const struct layout *layout)
{
	return layout->blobs;
}

const char *layout_path(const struct layout *layout)
{
	return layout->path;
}

int layout_read_blob(const struct layout *layout, const struct descriptor *d, char **ret,
                     struct err *err)
{
	CLEANUP(free) char *bytes = NULL;
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;
	size_t len = 0;
	int r;

	(void)digest_hex(&d->digest, hex);
	if (d->size > FORMAT_JSON_MAX)
		return err_set(err, -EBADMSG,
		               "'%s': blob %.12s is to have %llu bytes; the limit is %d",
		               layout->path, hex, (unsigned long long)d->size, FORMAT_JSON_MAX);
	r = io_read_file(layout->blobs, hex, d->size, &bytes, &len, err);
	if (r == -ENOENT)
		return err_set(err, r, "'%s': blob %.12s is missing", layout->path, hex);
	if (r < 0 && r != -EFBIG)
		return err_wrap(err, r, "'%s'", layout->path);
	if (r == -EFBIG || len != d->size)
		return err_set(err, -EBADMSG, "'%s': blob %.12s is damaged: not %llu bytes",
		               layout->path, hex, (unsigned long long)d->size);
	sha256(bytes, len, &digest);
	if (!digest_equal(&digest, &d->digest))
		return err_set(err, -EBADMSG, "'%s': blob %.12s is damaged: its digest is another",
		               layout->path, hex);
	*ret = TAKE_PTR(bytes);
	return 0;
}

static const char *tag_of(const json_t *descriptor)
{
	return json_string_value(
		json_object_get(json_object_get(descriptor, "annotations"), FORMAT_ANNOTATION_REF));
}

/* Say which tags there are, as far as they fit. */
static int no_such_tag(const struct layout *layout, const char *tag, const json_t *entries,
                       struct err *err)
{
	char tags[120] = "";
	size_t used = 0;
	const json_t *entry;
	size_t i;

	json_array_foreach(entries, i, entry) {
		const char *other = tag_of(entry);

		if (!other)
			continue;
		if (used + strlen(other) + sizeof(", ...") > sizeof(tags)) {
			(void)snprintf(tags + used, sizeof(tags) - used, "%s...",
			               used > 0 ? ", " : "");
			used = sizeof(tags);
			break;
		}
		used += (size_t)snprintf(tags + used, sizeof(tags) - used, "%s%.*s",
		                         used > 0 ? ", " : "", plain_len(other), other);
	}
	if (used == 0)
		return err_set(err, -ENOENT, "'%s' has no image tagged '%s': it has none at all",
		               layout->path, tag);
	return err_set(err, -ENOENT, "'%s' has no image tagged '%s'; it has: %s", layout->path, tag,
	               tags);
}

int layout_find_tag(const struct layout *layout, const char *tag, struct descriptor *ret,
                    bool *is_index, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *root = NULL;
	const json_t *entries, *entry;
	size_t len = 0, i;
	int r = io_read_file(layout->dir, "index.json", FORMAT_JSON_MAX, &text, &len, err);

	if (r == 0)
		r = json_parse_object(text, len, "'index.json'", &root, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", layout->path);
	entries = json_object_get(root, "manifests");
	json_array_foreach(entries, i, entry) {
		const char *type = json_string_value(json_object_get(entry, "mediaType"));
		const char *name = tag_of(entry);

		if (!name || strcmp(name, tag) != 0)
			continue;
		*is_index = type && strcmp(type, FORMAT_TYPE_OCI_INDEX) == 0;
		r = json_descriptor(entry, ret, err);
		return r < 0 ? err_wrap(err, r, "'%s': index.json", layout->path) : 0;
	}
	return no_such_tag(layout, tag, entries, err);
}

int layout_manifest(const struct layout *layout, const struct digest *digest, struct manifest *ret,
                    struct err *err)
{
	CLEANUP(free) char *bytes = NULL;
	struct descriptor self = { .digest = *digest };
	char hex[DIGEST_HEX_SIZE];
	struct stat st;
	int r;

	if (fstatat(layout->blobs, digest_hex(digest, hex), &st, 0) < 0)
		return err_set_errno(err, "'%s': blob %.12s", layout->path, hex);
	self.size = st.st_size > 0 ? (uint64_t)st.st_size : 1;
	r = layout_read_blob(layout, &self, &bytes, err);
	if (r < 0)
		return r;
	r = manifest_parse(bytes, self.size, ret, err);
	if (r < 0)
		return err_wrap(err, r, "'%s': blob %.12s", layout->path, hex);
	ret->self = self;
	return 0;
}

/* For struct json_source. */
static int read_for_set(void *arg, const struct descriptor *d, char **ret, struct err *err)
{
	const struct layout *const *layout = arg;

	return layout_read_blob(*layout, d, ret, err);
}

int layout_images(const struct layout *layout, const char *tag, struct image_set *ret,
                  struct err *err)
{
	const struct json_source source = {
		.name = layout->path,
		.read = read_for_set,
		.arg = &layout,
	};
	struct descriptor self;
	bool is_index = false;
	int r = layout_find_tag(layout, tag, &self, &is_index, err);

	if (r == 0 && !is_index)
		return err_set(err, -EBADMSG, "'%s': tag '%s' names no image index", layout->path,
		               tag);
	return r < 0 ? r : image_set_load(&source, &self, ret, err);
}
