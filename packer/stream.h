/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the contents of an image from start to end. One thread at a time. */
#pragma once

#include "image.h"

/* Remembers the last chunk: contents that share one follow each other. */
struct stream {
	struct image *img;           /* borrowed */
	struct chunk_reader *reader; /* owned */
	uint64_t chunk;              /* whose bytes @plain has; 0: none */
	const uint8_t *plain;        /* borrowed from reader */
};

/* Returns 0 or -ENOMEM. */
MUST_CHECK int stream_init(struct stream *s, struct image *img, struct err *err);
void stream_release(struct stream *s);

static inline void stream_release_cleanup(struct stream *s)
{
	stream_release(s);
}

/* Takes the next @len bytes of a content, at @off; @data is NULL for zeros. Returns 0 or -errno. */
typedef int (*stream_fn)(void *arg, const void *data, uint64_t off, uint64_t len);

/* Pass all bytes of content @id to @fn. Returns what @fn returned, or 0, or -errno with a message. */
MUST_CHECK int stream_content(struct stream *s, uint64_t id, stream_fn fn, void *arg,
                              struct err *err);
