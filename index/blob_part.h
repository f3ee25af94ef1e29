/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob that comes from afar: what has come of it stays when its transfer ends early, under a name with its
 * digest, and the next transfer goes on there. One thread at a time; the layout is locked.
 */
#pragma once

#include <stdbool.h>

#include "layout.h"

struct blob_part {
	int dirfd;           /* borrowed */
	int fd;              /* owned */
	char name[80];       /* of the unfinished file; "" when it is published or removed */
	struct descriptor d; /* what it is to become */
	struct sha256 *hash; /* owned; of what is there */
	uint64_t size;       /* bytes that are there */
	uint64_t found;      /* of these: when it was opened */
	uint64_t begun;      /* of these: that the kernel was told to write to disk */
};

#define BLOB_PART_INIT ((struct blob_part){ .dirfd = -1, .fd = -1, .name = "", .hash = NULL })

/* Open blob @d in @dirfd, or what there is of it, which is read. Returns 0 or -errno. */
MUST_CHECK int blob_part_open(struct blob_part *part, int dirfd, const struct descriptor *d,
                              struct err *err);

/* Append @len bytes. */
MUST_CHECK int blob_part_append(struct blob_part *part, const void *data, size_t len,
                                struct err *err);

/*
 * Give the blob the name of its digest, as io_temp_place() does. Returns 0; -EBADMSG, with
 * its bytes removed, when it is another; -errno.
 */
MUST_CHECK int blob_part_publish(struct blob_part *part, struct err *err);

/* Close; the unfinished file stays when it has bytes. */
void blob_part_release(struct blob_part *part);

static inline void blob_part_release_cleanup(struct blob_part *part)
{
	blob_part_release(part);
}

/* Whether @name is that of an unfinished blob. */
bool blob_part_is_name(const char *name);
