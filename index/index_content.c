/* SPDX-License-Identifier: Apache-2.0 */
/* Contents, their extents, and the chunks that these are runs of. */
#include <errno.h>
#include <stdlib.h>

#include "index_internal.h"

int index_content(struct index *idx, uint64_t id, struct content *ret, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_CONTENT, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, id);
	r = query_step(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return row_bad(q.stmt, "content", id, "does not exist", err);
	return row_content(&q, 0, ret, err);
}

int index_find_content(struct index *idx, const struct digest *digest, struct content *ret,
                       struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_FIND_CONTENT, &q, err);

	if (r < 0)
		return r;
	query_bind_bytes(&q, 1, digest->bytes, DIGEST_SIZE);
	r = query_step(&q, err);
	if (r < 1)
		return r;
	r = row_content(&q, 0, ret, err);
	return r < 0 ? r : 1;
}

/*
 * Make room for one more than @n elements of @size bytes; room doubles at powers
 * of two. Returns the array, or NULL: 2^32 of them would not fit into memory either.
 */
static void *make_room(void **array, uint32_t n, size_t size)
{
	void *more;

	if (n == UINT32_MAX)
		return NULL;
	if ((n & (n - 1)) != 0)
		return *array;
	more = reallocarray(*array, n > 0 ? (size_t)n * 2 : 1, size);
	if (more)
		*array = more;
	return more;
}

/* Gather the rows of @q, extents of @content in order of offset. */
static int read_extents(struct query *q, const struct content *content, struct extent **ret,
                        uint32_t *ret_n, struct err *err)
{
	CLEANUP(free) void *array = NULL;
	uint64_t end = 0;
	uint32_t n = 0;
	int r;

	while ((r = query_step(q, err)) == 1) {
		struct extent *all, e;

		r = row_extent(q, 0, content, &e, err);
		if (r < 0)
			return r;
		if (e.off < end)
			return row_bad(q->stmt, "content", content->id, "has extents that overlap",
			               err);
		end = e.off + e.len;
		e.seq = n;
		all = make_room(&array, n, sizeof(e));
		if (!all)
			return err_set(err, -ENOMEM, "out of memory");
		all[n++] = e;
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(array);
	*ret_n = n;
	return 0;
}

int index_extents(struct index *idx, const struct content *content, struct extent **ret,
                  uint32_t *ret_n, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_EXTENTS, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, content->id);
	return read_extents(&q, content, ret, ret_n, err);
}

int index_extents_in(struct index *idx, const struct content *content,
                     const struct index_range *range, struct extent **ret, uint32_t *ret_n,
                     struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_EXTENTS_IN, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, content->id);
	query_bind(&q, 2, range->start);
	query_bind(&q, 3, range->end);
	return read_extents(&q, content, ret, ret_n, err);
}

/* A scan of contents, and beside it of their extents, which are in the same order. */
struct extent_scan {
	struct query contents;
	struct query extents;
	struct query chunks;
	bool has_row;       /* extents is at a row that has not been handed out */
	uint64_t row;       /* its content; UINT64_MAX behind the last */
	struct chunk chunk; /* of the extent before: neighbours share chunks */

	void *array; /* owned; of struct extent: those of the content that is handed out */
	uint32_t n, room;
	uint64_t end; /* of the last of these */
};

static void extent_scan_release_cleanup(struct extent_scan *s)
{
	free(s->array);
	query_end_beside_cleanup(&s->chunks);
	query_end_beside_cleanup(&s->extents);
	query_end_cleanup(&s->contents);
}

static int extent_scan_begin(struct extent_scan *s, struct index *idx, uint64_t first,
                             uint64_t last, struct err *err)
{
	int r = query_begin(idx, QUERY_EACH_CONTENT_OF, &s->contents, err);

	if (r == 0)
		r = query_begin_beside(&s->contents, QUERY_EACH_EXTENT_OF, &s->extents, err);
	if (r == 0)
		r = query_begin_beside(&s->contents, QUERY_CHUNK, &s->chunks, err);
	if (r < 0)
		return r;
	query_bind(&s->contents, 1, first);
	query_bind(&s->contents, 2, last);
	query_bind(&s->extents, 1, first);
	query_bind(&s->extents, 2, last);
	return 0;
}

/* Have the extents at one of content @id or of one behind it. */
static int find_row(struct extent_scan *s, uint64_t id, struct err *err)
{
	while (!s->has_row || s->row < id) {
		int r = query_step(&s->extents, err);

		if (r < 0)
			return r;
		s->has_row = true;
		if (r == 0)
			s->row = UINT64_MAX;
		else if (!col_uint(s->extents.stmt, 3, INT64_MAX, &s->row))
			return row_bad(s->extents.stmt, "content", id, "has a bad extent", err);
	}
	return 0;
}

/* The chunk of the row that the extents are at. */
static int find_chunk(struct extent_scan *s, const struct content *content, struct err *err)
{
	struct query *q = &s->chunks;
	uint64_t id;
	int r;

	if (!col_uint(s->extents.stmt, 4, INT64_MAX, &id) || id < 1)
		return row_bad(s->extents.stmt, "content", content->id, "has a bad extent", err);
	if (id == s->chunk.id)
		return 0;
	(void)sqlite3_reset(q->stmt);
	query_bind(q, 1, id);
	r = query_step(q, err);
	if (r == 0)
		return row_bad(q->stmt, "chunk", id, "does not exist", err);
	return r < 0 ? r : row_chunk(q, 0, &s->chunk, err);
}

static int gather(struct extent_scan *s, const struct content *content, struct err *err)
{
	struct extent e, *all = s->array;
	int r = find_chunk(s, content, err);

	if (r == 0)
		r = row_extent_of(&s->extents, 0, content, &s->chunk, &e, err);
	if (r != 0)
		return r;
	if (e.off < s->end)
		return row_bad(s->extents.stmt, "content", content->id, "has extents that overlap",
		               err);
	if (!all || s->n == s->room) {
		all = make_room(&s->array, s->n, sizeof(e));
		if (!all)
			return err_set(err, -ENOMEM, "out of memory");
		s->room = s->n > 0 ? s->n * 2 : 1;
	}
	e.seq = s->n;
	all[s->n++] = e;
	s->end = e.off + e.len;
	s->has_row = false;
	return 0;
}

/* Gather the extents of @content. */
static int gather_all(struct extent_scan *s, const struct content *content, struct err *err)
{
	int r = find_row(s, content->id, err);

	s->n = 0;
	s->end = 0;
	while (r == 0 && s->row == content->id) {
		r = gather(s, content, err);
		if (r == 0)
			r = find_row(s, content->id, err);
	}
	return r;
}

int index_each_extents(struct index *idx, index_extents_fn fn, void *arg, struct err *err)
{
	return index_each_extents_of(idx, 0, INT64_MAX, fn, arg, err);
}

int index_each_extents_of(struct index *idx, uint64_t first, uint64_t last, index_extents_fn fn,
                          void *arg, struct err *err)
{
	CLEANUP(extent_scan_release) struct extent_scan s = { .n = 0 };
	uint64_t before = 0;
	int r = extent_scan_begin(&s, idx, first, last, err);

	while (r == 0 && (r = query_step(&s.contents, err)) == 1) {
		struct content c;

		r = row_content(&s.contents, 0, &c, err);
		if (r == 0 && c.id <= before)
			r = row_bad(s.contents.stmt, "content", c.id, "is out of order", err);
		if (r == 0)
			r = gather_all(&s, &c, err);
		if (r < 0)
			return r;
		before = c.id;
		r = fn(arg, &c, s.array, s.n);
	}
	return r;
}

int index_chunk_extents(struct index *idx, uint64_t chunk, index_extent_fn fn, void *arg,
                        struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	uint64_t last = 0, end = 0; /* content of the extent before, and where that ends in it */
	int r = query_begin(idx, QUERY_CHUNK_EXTENTS, &q, err);

	if (r == 0)
		query_bind(&q, 1, chunk);
	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct content c;
		struct extent e;

		r = row_content(&q, N_EXTENT_COLUMNS, &c, err);
		if (r == 0)
			r = row_extent(&q, 0, &c, &e, err);
		if (r == 0 && (c.id < last || e.chunk.id != chunk))
			r = row_bad(q.stmt, "content", c.id, "is out of order", err);
		if (r == 0 && c.id == last && e.off < end)
			r = row_bad(q.stmt, "content", c.id, "has extents that overlap", err);
		if (r != 0)
			return r;
		last = c.id;
		end = e.off + e.len;
		r = fn(arg, &c, &e);
	}
	return r;
}

int index_each_chunk(struct index *idx, index_chunk_fn fn, void *arg, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_EACH_CHUNK, &q, err);
	uint64_t last = 0;

	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct chunk chunk;

		r = row_chunk(&q, 0, &chunk, err);
		if (r == 0 && chunk.id <= last)
			r = row_bad(q.stmt, "chunk", chunk.id, "is out of order", err);
		if (r < 0)
			return r;
		last = chunk.id;
		r = fn(arg, &chunk);
	}
	return r;
}

int index_each_content(struct index *idx, index_content_fn fn, void *arg, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r = query_begin(idx, QUERY_EACH_CONTENT, &q, err);
	uint64_t last = 0;

	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct content content;

		r = row_content(&q, 0, &content, err);
		if (r == 0 && content.id <= last)
			r = row_bad(q.stmt, "content", content.id, "is out of order", err);
		if (r < 0)
			return r;
		last = content.id;
		r = fn(arg, &content);
	}
	return r;
}
