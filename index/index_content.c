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

/* The extents of one content, gathered. */
struct gathered {
	struct content content;
	void *array; /* owned; of struct extent */
	uint32_t n;
	uint32_t room;
};

static void gathered_release_cleanup(struct gathered *g)
{
	free(g->array);
}

static int gather(struct gathered *g, const struct query *q, struct err *err)
{
	const struct extent *last;
	struct extent e, *all = g->array;
	int r = row_extent(q, 0, &g->content, &e, err);

	if (r < 0)
		return r;
	last = g->n > 0 ? &all[g->n - 1] : NULL;
	if (last && e.off < last->off + last->len)
		return row_bad(q->stmt, "content", g->content.id, "has extents that overlap", err);
	if (g->n == g->room) {
		all = make_room(&g->array, g->n, sizeof(e));
		if (!all)
			return err_set(err, -ENOMEM, "out of memory");
		g->room = g->n > 0 ? g->n * 2 : 1;
	}
	e.seq = g->n;
	all[g->n++] = e;
	return 0;
}

int index_each_extents(struct index *idx, index_extents_fn fn, void *arg, struct err *err)
{
	return index_each_extents_of(idx, 0, INT64_MAX, fn, arg, err);
}

int index_each_extents_of(struct index *idx, uint64_t first, uint64_t last, index_extents_fn fn,
                          void *arg, struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	CLEANUP(gathered_release) struct gathered g = { .n = 0 };
	int r = query_begin(idx, QUERY_EACH_EXTENT, &q, err);

	if (r == 0) {
		query_bind(&q, 1, first);
		query_bind(&q, 2, last);
	}
	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct content c;

		r = row_content(&q, N_EXTENT_COLUMNS, &c, err);
		if (r == 0 && c.id < g.content.id)
			r = row_bad(q.stmt, "content", c.id, "is out of order", err);
		if (r == 0 && c.id != g.content.id) {
			r = g.content.id > 0 ? fn(arg, &g.content, g.array, g.n) : 0;
			g.content = c;
			g.n = 0;
		}
		/* One that is nothing but a hole has a row without an extent. */
		if (r == 0 && sqlite3_column_type(q.stmt, 0) != SQLITE_NULL)
			r = gather(&g, &q, err);
		if (r != 0)
			return r;
	}
	return r == 0 && g.content.id > 0 ? fn(arg, &g.content, g.array, g.n) : r;
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
