/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing images into an OCI image-layout directory. Blobs appear under their
 * digest once they are complete and durable; the tag is switched last, when their names are, in one
 * step. A lock keeps two writers of one layout apart. One thread at a time.
 */
#pragma once

#include <jansson.h>

#include "layout.h"

struct layout_writer;

/*
 * Open @path for writing, making it a layout when it does not exist or is
 * empty. Waits for another writer to end. Returns 0; -EINVAL when the
 * directory holds something else; -errno.
 */
MUST_CHECK int layout_writer_open(const char *path, struct layout_writer **ret, struct err *err);

/*
 * Keep writers out of the existing layout @path, waiting for one to end, and
 * change nothing in it. Returns 0 or -errno.
 */
MUST_CHECK int layout_writer_lock(const char *path, struct layout_writer **ret, struct err *err);

/* Accepts NULL. */
void layout_writer_close(struct layout_writer *w);
DEFINE_CLEANUP(struct layout_writer *, layout_writer_close)

/* Directory blobs/sha256, for pack_writer_open() and io_temp_open(); borrowed. */
int layout_writer_blobs(const struct layout_writer *w);

/* The layout's own directory; borrowed. */
int layout_writer_dir(const struct layout_writer *w);

/* Path as it was opened, for messages; borrowed. */
const char *layout_writer_path(const struct layout_writer *w);

/* Whether blob @d is there, byte for byte: reads all of it. */
bool layout_writer_has(const struct layout_writer *w, const struct descriptor *d);

/* Publish the bytes of @json, compact, as a blob. */
MUST_CHECK int layout_writer_json(struct layout_writer *w, const json_t *json,
                                  struct descriptor *ret, struct err *err);

/* Digest of the whole file at @path, such as an index database. Returns 0 or -errno. */
MUST_CHECK int layout_file_digest(const char *path, struct digest *ret, struct err *err);

/* Compress the index database at @path and publish it as a blob. */
MUST_CHECK int layout_writer_index(struct layout_writer *w, const char *path,
                                   struct descriptor *ret, struct err *err);

struct sections;
struct index_blob;

/* As layout_writer_index(), by several threads; a large index is compressed in sections, which go to @ret_sections. */
MUST_CHECK int layout_writer_index_sections(struct layout_writer *w, const struct index_blob *index,
                                            struct descriptor *ret, struct sections *ret_sections,
                                            struct err *err);

/* Compress the @len bytes of the trace at @text and publish it as a blob. */
MUST_CHECK int layout_writer_trace(struct layout_writer *w, const char *text, size_t len,
                                   struct descriptor *ret, struct err *err);

/* Publish the manifest of an image whose other blobs are published. Sets @m->self. */
MUST_CHECK int layout_writer_manifest(struct layout_writer *w, struct manifest *m, struct err *err);

/* Let @tag name the image index @d, whose blobs are published. */
MUST_CHECK int layout_writer_point(struct layout_writer *w, const char *tag,
                                   const struct descriptor *d, struct err *err);

/*
 * Publish the image index of @n manifests and let @tag name it. A manifest
 * for FORMAT_PLATFORM_ANY is listed for linux/amd64 and linux/arm64.
 */
MUST_CHECK int layout_writer_tag(struct layout_writer *w, const char *tag,
                                 const struct manifest *manifests, uint32_t n,
                                 struct descriptor *ret, struct err *err);
