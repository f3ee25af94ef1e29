/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>

int stream_init(struct stream *s, struct image *img, struct err *err)
{
	*s = (struct stream){ .img = img, .reader = chunk_reader_new() };
	return s->reader ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void stream_release(struct stream *s)
{
	chunk_reader_free(s->reader);
	s->reader = NULL;
}

static int load_chunk(struct stream *s, const struct chunk *chunk, struct err *err)
{
	const void *plain;
	int r;

	if (s->chunk == chunk->id)
		return 0;
	s->chunk = 0;
	r = image_read_chunk(s->img, s->reader, chunk, &plain, err);
	if (r < 0)
		return r;
	s->chunk = chunk->id;
	s->plain = plain;
	return 0;
}

int stream_content(struct stream *s, uint64_t id, stream_fn fn, void *arg, struct err *err)
{
	CLEANUP(free) struct extent *extents = NULL;
	struct content content;
	uint64_t off = 0;
	uint32_t n = 0;
	int r = index_content(image_index(s->img), id, &content, err);

	if (r == 0)
		r = index_extents(image_index(s->img), &content, &extents, &n, err);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct extent *e = &extents[i];

		if (e->off > off)
			r = fn(arg, NULL, off, e->off - off);
		if (r == 0)
			r = load_chunk(s, &e->chunk, err);
		if (r == 0)
			r = fn(arg, s->plain + e->chunk_off, e->off, e->len);
		off = e->off + e->len;
	}
	if (r == 0 && off < content.size)
		r = fn(arg, NULL, off, content.size - off);
	return r;
}
