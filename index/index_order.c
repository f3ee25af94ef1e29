/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of rows are sorted, by how many have each key: by chunk, and by the first bits of digests. */
#include "index_order.h"

#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"

enum { DIGEST_BITS = 16 }; /* few digests have these in common */

void index_order_release(struct index_order *o)
{
	free(o->contents);
	free(o->extents);
	*o = (struct index_order){ .contents = NULL };
}

int index_order_content(struct index_order *o, const struct content *content, struct err *err)
{
	struct ordered_content *contents;

	if (o->n_contents >= UINT32_MAX || content->id > UINT32_MAX)
		return err_set(err, -EFBIG, "index: more than 2^32 contents");
	contents = array_grow(o->contents, o->n_contents, &o->contents_max, sizeof(*contents));
	if (!contents)
		return err_set(err, -ENOMEM, "out of memory");
	o->contents = contents;
	contents[o->n_contents++] = (struct ordered_content){
		.digest = content->digest,
		.content = (uint32_t)content->id,
	};
	return 0;
}

int index_order_extent(struct index_order *o, const struct extent *extent, struct err *err)
{
	struct ordered_extent *extents;

	if (o->n_extents >= UINT32_MAX || extent->content > UINT32_MAX ||
	    extent->chunk.id >= UINT32_MAX)
		return err_set(err, -EFBIG, "index: more than 2^32 contents, extents or chunks");
	extents = array_grow(o->extents, o->n_extents, &o->extents_max, sizeof(*extents));
	if (!extents)
		return err_set(err, -ENOMEM, "out of memory");
	o->extents = extents;
	extents[o->n_extents++] = (struct ordered_extent){
		.off = extent->off,
		.content = (uint32_t)extent->content,
		.chunk = (uint32_t)extent->chunk.id,
	};
	return 0;
}

static uint32_t content_key(const struct index_order *o, size_t i)
{
	const uint8_t *bytes = o->contents[i].digest.bytes;

	return (uint32_t)bytes[0] << 8 | bytes[1];
}

static uint32_t chunk_key(const struct index_order *o, size_t i)
{
	return o->extents[i].chunk;
}

/* Numbers from 0 on, sorted by the keys that they stand for. */
struct sorting {
	uint32_t *order; /* owned; the numbers */
	uint32_t *end;   /* owned; of each key, where its numbers end in these */
};

static void sorting_release_cleanup(struct sorting *s)
{
	free(s->order);
	free(s->end);
}

typedef uint32_t (*key_fn)(const struct index_order *o, size_t i);

/* Sort the numbers below @n by @key, which is below @n_keys; equal ones stay as they are. */
static int sort_by_key(const struct index_order *o, size_t n, size_t n_keys, key_fn key,
                       struct sorting *s)
{
	uint32_t sum = 0;

	s->end = calloc(n_keys, sizeof(*s->end));
	s->order = calloc(n + 1, sizeof(*s->order));
	if (!s->end || !s->order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		s->end[key(o, i)]++;
	for (size_t k = 0; k < n_keys; k++) {
		uint32_t count = s->end[k];

		s->end[k] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		s->order[s->end[key(o, i)]++] = (uint32_t)i;
	return 0;
}

static int compare_digests(const void *x, const void *y, void *arg)
{
	const struct ordered_content *contents = arg;

	return digest_cmp(&contents[*(const uint32_t *)x].digest,
	                  &contents[*(const uint32_t *)y].digest);
}

/* Sort all contents by digest. */
static int sort_digests(const struct index_order *o, struct sorting *s)
{
	const size_t n_keys = (size_t)1 << DIGEST_BITS;
	int r = sort_by_key(o, o->n_contents, n_keys, content_key, s);

	for (size_t k = 0, start = 0; r == 0 && k < n_keys; start = s->end[k++]) {
		if (s->end[k] - start > 1)
			qsort_r(s->order + start, s->end[k] - start, sizeof(*s->order),
			        compare_digests, o->contents);
	}
	return r;
}

int index_order_digests(const struct index_order *o, ordered_digest_fn fn, void *arg,
                        struct err *err)
{
	CLEANUP(sorting_release) struct sorting s = { .order = NULL };
	const struct ordered_content *last = NULL;
	int r = 0;

	if (sort_digests(o, &s) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < o->n_contents; i++) {
		const struct ordered_content *c = &o->contents[s.order[i]];

		if (last && digest_equal(&last->digest, &c->digest))
			return err_set(err, -EINVAL, "index: contents %u and %u have one digest",
			               last->content, c->content);
		last = c;
		r = fn(arg, &c->digest, c->content, err);
	}
	return r;
}

int index_order_chunks(const struct index_order *o, ordered_extent_fn fn, void *arg,
                       struct err *err)
{
	CLEANUP(sorting_release) struct sorting s = { .order = NULL };
	uint32_t last = 0;
	int r = 0;

	for (size_t i = 0; i < o->n_extents; i++)
		last = o->extents[i].chunk > last ? o->extents[i].chunk : last;
	if (sort_by_key(o, o->n_extents, (size_t)last + 1, chunk_key, &s) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < o->n_extents; i++)
		r = fn(arg, &o->extents[s.order[i]], err);
	return r;
}
