/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node that holds one image fetches for another, and which files are
 * the reason. One thread at a time.
 */
#pragma once

#include "image.h"

enum diff_reason {
	DIFF_NEW,       /* neither its path nor its bytes were there */
	DIFF_CHANGED,   /* other bytes, or another kind of file */
	DIFF_MOVED,     /* its bytes were at another path: moved, renamed or copied */
	DIFF_RECUT,     /* its bytes were there, in other chunks */
	DIFF_METADATA,  /* only mode, owner, time, or extended attributes are others */
	DIFF_REMOVED,   /* counted, not listed */
	DIFF_UNCHANGED, /* counted, not listed */
	DIFF_REASONS,   /* how many there are */
};

/* "new", "changed", "moved", "re-cut", "metadata", "removed" or "unchanged". */
const char *diff_reason_name(enum diff_reason reason);

/* A file or link of the new image that is not as it was. */
struct diff_file {
	char *path; /* owned */
	char *was; /* owned; DIFF_MOVED: a path that the old image has it at; may be cut with "..." */
	enum diff_reason reason;
	uint64_t size; /* of the file, or of what the link says */
	uint64_t cost; /* its part of the frames that the old image lacks */
};

struct diff {
	struct diff_file *files; /* owned; the costliest first, then by path */
	size_t n_files;
	size_t files_max;
	uint64_t counts[DIFF_REASONS]; /* files and links; directories are not counted */
	uint64_t removed_file_bytes;   /* sizes of files that are gone */

	/* Sizes of blobs that the old image lacks; update_bytes is their sum. */
	uint64_t manifest_bytes; /* and config */
	uint64_t index_bytes;
	uint64_t pack_bytes;
	uint64_t update_bytes;

	uint64_t new_chunk_bytes;  /* of pack_bytes: frames of chunks that the old image lacks */
	uint64_t kept_chunk_bytes; /* of pack_bytes: frames of chunks that it has, in other packs */
	uint64_t dropped_bytes;    /* of blobs of the old image that the new one does not name */
};

#define DIFF_INIT ((struct diff){ .files = NULL })

/*
 * Compare @new with @old, or with nothing when that is NULL.
 *
 * A file costs its share of the frames of chunks that @old lacks: a frame is
 * divided among the contents that use its chunk, by bytes. Of files with the
 * same bytes the first, in order of paths, bears the cost. Memory: what differs
 * and 40 bytes a chunk of @old.
 *
 * Returns 0; -EBADMSG when an index is damaged; -errno. The caller releases @ret in any case.
 */
MUST_CHECK int diff_images(struct image *old, struct image *new, struct diff *ret, struct err *err);

void diff_release(struct diff *d);

static inline void diff_release_cleanup(struct diff *d)
{
	diff_release(d);
}

/* Name the @n costliest files, each in a note() on standard error. */
void diff_print_costliest(const struct diff *d, size_t n);
