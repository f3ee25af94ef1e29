/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of publication: blobs, then what names them, then the tag. A crash
 * leaves blobs that nothing names, never a name without its blob.
 */
#include "layout_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "codec.h"
#include "format.h"
#include "index_blob.h"
#include "oci_json.h"

enum {
	BLOB_MODE = 0444, /* never changed again */
	JSON_MODE = 0644, /* index.json and oci-layout */
	INDEX_LEVEL = 9,
	READ_STEP = 1 << 17,
};

struct layout_writer {
	char *path; /* owned */
	int dir;    /* owned; locked */
	int blobs;  /* owned */
};

static int lock(const struct layout_writer *w, struct err *err)
{
	while (flock(w->dir, LOCK_EX) < 0) {
		if (errno != EINTR)
			return err_set_errno(err, "'%s' could not be locked", w->path);
	}
	return 0;
}

static int publish_text(int dir, const char *name, const char *text, struct err *err)
{
	return io_publish_bytes(dir, name, text, strlen(text), JSON_MODE, err);
}

/* Make the entries of directory @name durable. */
static int sync_dir(int dir, const char *name)
{
	CLEANUP(close) int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Make the locked directory a layout unless it is one. Sweeping waits for the marker. */
static int make_layout(struct layout_writer *w, struct err *err)
{
	int r;

	if (faccessat(w->dir, "oci-layout", F_OK, 0) < 0) {
		r = io_is_unused(w->dir, err);
		if (r < 0)
			return r;
		if (r == 0)
			return err_set(err, -EINVAL,
			               "neither empty nor an OCI layout; name "
			               "another directory");
		r = publish_text(w->dir, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", err);
		if (r < 0)
			return r;
	}
	r = io_sweep(w->dir, err);
	if (r < 0)
		return r;
	if ((mkdirat(w->dir, "blobs", 0755) < 0 && errno != EEXIST) ||
	    (mkdirat(w->dir, "blobs/sha256", 0755) < 0 && errno != EEXIST))
		return err_set_errno(err, "directory 'blobs/sha256' could not be made");
	r = sync_dir(w->dir, "blobs");
	if (r < 0)
		return err_set(err, r, "directory 'blobs' could not be written: %s",
		               strerrordesc_np(-r));
	if (faccessat(w->dir, "index.json", F_OK, 0) < 0)
		return publish_text(w->dir, "index.json", "{\"schemaVersion\":2,\"manifests\":[]}",
		                    err);
	return 0;
}

/* A writer that has nothing open. Returns NULL when memory runs out. */
static struct layout_writer *writer_new(const char *path)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->dir = -1;
	w->blobs = -1;
	w->path = strdup(path);
	return w->path ? TAKE_PTR(w) : NULL;
}

/* Open the layout's directory and wait until it is locked for us. */
static int open_locked(struct layout_writer *w, struct err *err)
{
	w->dir = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return w->dir < 0 ? err_set_errno(err, "'%s'", w->path) : lock(w, err);
}

static int open_blobs(struct layout_writer *w, struct err *err)
{
	w->blobs = openat(w->dir, "blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return w->blobs < 0 ? err_set_errno(err, "'%s/blobs/sha256'", w->path) : 0;
}

int layout_writer_open(const char *path, struct layout_writer **ret, struct err *err)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = writer_new(path);
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_make_dirs(path, err);
	if (r == 0)
		r = open_locked(w, err);
	if (r < 0)
		return r;
	r = make_layout(w, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", path);
	r = open_blobs(w, err);
	if (r < 0)
		return r;
	r = io_sweep(w->blobs, err);
	if (r < 0)
		return err_wrap(err, r, "'%s/blobs/sha256'", path);
	*ret = TAKE_PTR(w);
	return 0;
}

int layout_writer_lock(const char *path, struct layout_writer **ret, struct err *err)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = writer_new(path);
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	r = open_locked(w, err);
	if (r == 0)
		r = open_blobs(w, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

void layout_writer_close(struct layout_writer *w)
{
	if (!w)
		return;
	if (w->blobs >= 0)
		(void)close(w->blobs);
	if (w->dir >= 0)
		(void)close(w->dir);
	free(w->path);
	free(w);
}

int layout_writer_blobs(const struct layout_writer *w)
{
	return w->blobs;
}

int layout_writer_dir(const struct layout_writer *w)
{
	return w->dir;
}

const char *layout_writer_path(const struct layout_writer *w)
{
	return w->path;
}

/* Size and digest of the whole file open at @fd. */
static int describe(int fd, struct descriptor *ret, struct err *err)
{
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	CLEANUP(free) char *buf = malloc(READ_STEP);
	struct descriptor d = { .size = 0 };
	struct stat st;

	if (!hash || !buf)
		return err_set(err, -ENOMEM, "out of memory");
	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size");
	while (d.size < (uint64_t)st.st_size) {
		uint64_t left = (uint64_t)st.st_size - d.size;
		size_t n = left < READ_STEP ? (size_t)left : READ_STEP;
		int r = io_pread(fd, buf, n, d.size);

		if (r < 0)
			return err_set(err, r, "could not be read: %s", strerrordesc_np(-r));
		sha256_update(hash, buf, n);
		d.size += n;
	}
	sha256_final(hash, &d.digest);
	*ret = d;
	return 0;
}

/* Writing such a blob again would change nothing, and take as long as the disk needs to make it durable. */
bool layout_writer_has(const struct layout_writer *w, const struct descriptor *d)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(w->blobs, digest_hex(&d->digest, hex), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct descriptor there;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->size)
		return false;
	return describe(fd, &there, NULL) == 0 && digest_equal(&there.digest, &d->digest);
}

static int write_text(int fd, const char *name, const char *text, size_t len, struct err *err)
{
	int r = io_write(fd, text, len);

	return r < 0 ? err_set(err, r, "'%s' could not be written: %s", name, strerrordesc_np(-r))
	             : 0;
}

int layout_writer_json(struct layout_writer *w, const json_t *json, struct descriptor *ret,
                       struct err *err)
{
	CLEANUP(free) char *text = json_dumps(json, JSON_COMPACT);
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	char hex[DIGEST_HEX_SIZE];
	struct descriptor d;
	int r;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	d.size = strlen(text);
	sha256(text, d.size, &d.digest);
	*ret = d;
	if (layout_writer_has(w, &d))
		return 0;
	(void)digest_hex(&d.digest, hex);
	r = io_temp_open(&tmp, w->blobs, err);
	if (r == 0)
		r = write_text(tmp.fd, hex, text, d.size, err);
	if (r == 0)
		r = io_temp_place(&tmp, hex, BLOB_MODE, err);
	return r < 0 ? err_wrap(err, r, "'%s'", w->path) : 0;
}

int layout_file_digest(const char *path, struct digest *ret, struct err *err)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct descriptor d = { .size = 0 };
	int r = fd < 0 ? err_set_errno(err, "'%s'", path) : describe(fd, &d, err);

	if (r == 0)
		*ret = d.digest;
	return r;
}

/* Publish what has been written to @tmp as a blob. */
static int publish_blob(struct layout_writer *w, struct io_temp *tmp, struct descriptor *ret,
                        struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct descriptor d;
	int r = describe(tmp->fd, &d, err);

	if (r == 0 && !layout_writer_has(w, &d))
		r = io_temp_place(tmp, digest_hex(&d.digest, hex), BLOB_MODE, err);
	if (r == 0)
		*ret = d;
	return r;
}

/* Compress all of @fd, the file of @index unless that is NULL, and publish it as a blob. */
static int write_compressed(struct layout_writer *w, int fd, const struct index_blob *index,
                            struct descriptor *ret, struct sections *ret_sections, struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	int r = io_temp_open(&tmp, w->blobs, err);

	if (r == 0)
		r = index ? index_blob_compress(index, fd, tmp.fd, ret_sections, err)
		          : codec_compress_file(fd, tmp.fd, INDEX_LEVEL, err);
	if (r == 0)
		r = publish_blob(w, &tmp, ret, err);
	return r < 0 ? err_wrap(err, r, "'%s'", w->path) : 0;
}

int layout_writer_index(struct layout_writer *w, const char *path, struct descriptor *ret,
                        struct err *err)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_set_errno(err, "'%s'", path)
	              : write_compressed(w, fd, NULL, ret, NULL, err);
}

int layout_writer_index_sections(struct layout_writer *w, const struct index_blob *index,
                                 struct descriptor *ret, struct sections *ret_sections,
                                 struct err *err)
{
	CLEANUP(close) int fd = open(index->path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_set_errno(err, "'%s'", index->path)
	              : write_compressed(w, fd, index, ret, ret_sections, err);
}

int layout_writer_trace(struct layout_writer *w, const char *text, size_t len,
                        struct descriptor *ret, struct err *err)
{
	CLEANUP(close) int fd = memfd_create("trace", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : io_write(fd, text, len);

	return r < 0 ? err_set(err, r, "memory for the trace: %s", strerrordesc_np(-r))
	             : write_compressed(w, fd, NULL, ret, NULL, err);
}

/* A layer's descriptor with its title. */
static json_t *layer_json(const char *type, const struct descriptor *d, const char *title)
{
	CLEANUP(json_decref) json_t *layer = json_from_descriptor(type, d);

	if (!layer || json_object_set_new(layer, "annotations",
	                                  json_pack("{s:s}", FORMAT_ANNOTATION_TITLE, title)) < 0)
		return NULL;
	return TAKE_PTR(layer);
}

/* A layer of @kind, "pack" or "delta", titled with its digest. */
static json_t *blob_json(const char *type, const char *kind, const struct descriptor *d)
{
	char hex[DIGEST_HEX_SIZE];
	char title[32];

	(void)snprintf(title, sizeof(title), "%s-%.12s.zst", kind, digest_hex(&d->digest, hex));
	return layer_json(type, d, title);
}

static json_t *delta_json(const struct delta_layer *delta)
{
	CLEANUP(json_decref) json_t *layer = blob_json(FORMAT_TYPE_DELTA, "delta", &delta->blob);

	if (!layer ||
	    json_object_set_new(json_object_get(layer, "annotations"), FORMAT_ANNOTATION_BASE,
	                        json_from_digest(&delta->base)) < 0)
		return NULL;
	return TAKE_PTR(layer);
}

static json_t *layers_json(const struct manifest *m)
{
	CLEANUP(json_decref) json_t *layers = json_array();

	if (!layers || json_array_append_new(layers, layer_json(FORMAT_TYPE_INDEX, &m->index,
	                                                        "index.sqlite.zst")) < 0)
		return NULL;
	for (uint32_t i = 0; i < m->n_packs; i++) {
		if (json_array_append_new(layers,
		                          blob_json(FORMAT_TYPE_PACK, "pack", &m->packs[i])) < 0)
			return NULL;
	}
	for (uint32_t i = 0; i < m->n_deltas; i++) {
		if (json_array_append_new(layers, delta_json(&m->deltas[i])) < 0)
			return NULL;
	}
	if (m->trace.size > 0 &&
	    json_array_append_new(layers, layer_json(FORMAT_TYPE_TRACE, &m->trace, "trace.zst")) <
	            0)
		return NULL;
	return TAKE_PTR(layers);
}

int layout_writer_manifest(struct layout_writer *w, struct manifest *m, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;

	/* "o" takes its argument, also when packing fails or the argument is NULL. */
	root = json_pack("{s:i, s:s, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
	                 FORMAT_TYPE_OCI_IMAGE, "artifactType", FORMAT_ARTIFACT_TYPE, "config",
	                 json_from_descriptor(FORMAT_TYPE_CONFIG, &m->config), "layers",
	                 layers_json(m));
	if (!root)
		return err_set(err, -ENOMEM, "out of memory");
	return layout_writer_json(w, root, &m->self, err);
}

/* {"architecture":…,"os":…[,"variant":…]}, the order that format.md §2.2 asks for. */
static json_t *platform_json(const char *name)
{
	CLEANUP(free) char *copy = strdup(name);
	char *rest = copy;
	const char *os, *arch, *variant;

	if (!copy)
		return NULL;
	os = strsep(&rest, "/");
	arch = strsep(&rest, "/");
	variant = rest;
	return json_pack("{s:s, s:s, s:s*}", "architecture", arch, "os", os, "variant", variant);
}

/* List @m for @platform at the end of @entries. */
static int append_image(json_t *entries, const struct manifest *m, const char *platform)
{
	CLEANUP(json_decref) json_t *entry = json_from_descriptor(FORMAT_TYPE_OCI_IMAGE, &m->self);

	if (!entry || json_object_set_new(entry, "platform", platform_json(platform)) < 0)
		return -ENOMEM;
	return json_array_append(entries, entry) < 0 ? -ENOMEM : 0;
}

static int append_manifest(json_t *entries, const struct manifest *m)
{
	int r;

	if (strcmp(m->platform.name, FORMAT_PLATFORM_ANY) != 0)
		return append_image(entries, m, m->platform.name);
	r = append_image(entries, m, "linux/amd64");
	return r < 0 ? r : append_image(entries, m, "linux/arm64");
}

/* Put @d under @tag into index.json's "manifests", in place of what had the tag. */
static int set_tag(json_t *entries, const char *tag, const struct descriptor *d, struct err *err)
{
	CLEANUP(json_decref) json_t *entry = json_from_descriptor(FORMAT_TYPE_OCI_INDEX, d);
	size_t i = 0;
	int r;

	if (!entry || json_object_set_new(entry, "annotations",
	                                  json_pack("{s:s}", FORMAT_ANNOTATION_REF, tag)) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (; i < json_array_size(entries); i++) {
		const json_t *other = json_array_get(entries, i);
		const char *name = json_string_value(json_object_get(
			json_object_get(other, "annotations"), FORMAT_ANNOTATION_REF));

		if (name && strcmp(name, tag) == 0)
			break;
	}
	r = i < json_array_size(entries) ? json_array_set(entries, i, entry)
	                                 : json_array_append(entries, entry);
	return r < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
}

static int update_index_json(const struct layout_writer *w, const char *tag,
                             const struct descriptor *d, struct err *err)
{
	CLEANUP(free) char *old = NULL;
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *root = NULL;
	json_t *entries;
	size_t len = 0;
	int r = io_read_file(w->dir, "index.json", FORMAT_JSON_MAX, &old, &len, err);

	if (r == 0)
		r = json_parse_object(old, len, "'index.json'", &root, err);
	if (r < 0)
		return r;
	entries = json_object_get(root, "manifests");
	if (!json_is_array(entries))
		return err_set(err, -EBADMSG, "'index.json' has no list of manifests");
	r = set_tag(entries, tag, d, err);
	if (r < 0)
		return r;
	text = json_dumps(root, JSON_COMPACT);
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	if (strcmp(text, old) == 0)
		return 0;
	/* All blobs have their names for good before a tag leads to them. */
	if (fsync(w->blobs) < 0)
		return err_set_errno(err, "directory 'blobs/sha256' could not be written");
	return publish_text(w->dir, "index.json", text, err);
}

int layout_writer_point(struct layout_writer *w, const char *tag, const struct descriptor *d,
                        struct err *err)
{
	int r = update_index_json(w, tag, d, err);

	return r < 0 ? err_wrap(err, r, "'%s'", w->path) : 0;
}

int layout_writer_tag(struct layout_writer *w, const char *tag, const struct manifest *manifests,
                      uint32_t n, struct descriptor *ret, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	json_t *entries;
	struct descriptor d;
	int r;

	root = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", FORMAT_TYPE_OCI_INDEX,
	                 "manifests");
	entries = json_object_get(root, "manifests");
	r = root ? 0 : -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = append_manifest(entries, &manifests[i]);
	if (r < 0)
		return err_set(err, r, "out of memory");
	r = layout_writer_json(w, root, &d, err);
	if (r < 0)
		return r;
	r = layout_writer_point(w, tag, &d, err);
	if (r == 0)
		*ret = d;
	return r;
}
