/* SPDX-License-Identifier: Apache-2.0 */
/* A blob being written under its digest: what packs and deltas share. One thread at a time. */
#pragma once

#include "base/hash.h"
#include "base/io.h"

struct blob_writer {
	struct io_temp tmp;
	const char *what;    /* borrowed; for messages: "pack" */
	struct sha256 *hash; /* owned; of what was appended */
	uint64_t size;       /* bytes appended */
	uint64_t begun;      /* of these: writing to disk has begun */
	uint8_t *gathered;   /* owned; the last ones, not written yet */
	size_t n_gathered;
};

#define BLOB_WRITER_INIT ((struct blob_writer){ .tmp = IO_TEMP_INIT, .hash = NULL })

/* Begin a blob as an unfinished file in @dirfd (borrowed); @what, a constant, names it in messages. */
MUST_CHECK int blob_writer_open(struct blob_writer *w, int dirfd, const char *what,
                                struct err *err);

/* Append @len bytes. Few are gathered, and written later: what goes wrong then, is said then. */
MUST_CHECK int blob_writer_append(struct blob_writer *w, const void *data, size_t len,
                                  struct err *err);

/* Give the blob, which is durable then, the name of its digest, as io_temp_place() does. Sets the digest. */
MUST_CHECK int blob_writer_publish(struct blob_writer *w, struct digest *ret_digest,
                                   struct err *err);

/*
 * As blob_writer_publish(), of a blob that is to have the digest @wanted. Returns also
 * -EBADMSG when it has another; then it is not published.
 */
MUST_CHECK int blob_writer_publish_as(struct blob_writer *w, const struct digest *wanted,
                                      struct err *err);

/* Removes what was not published. */
void blob_writer_release(struct blob_writer *w);

static inline void blob_writer_release_cleanup(struct blob_writer *w)
{
	blob_writer_release(w);
}
