/* SPDX-License-Identifier: Apache-2.0 */
#include "old_contents.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/grow.h"

enum { ROWS_MAX = 1 << 18 }; /* contents, and extents */

struct kept_extent {
	uint64_t off;
	uint32_t len, chunk_off;
	uint32_t chunk; /* place in the list */
};

struct kept_content {
	struct content content;
	uint32_t end; /* of its extents: the place behind the last */
};

struct old_contents {
	struct kept_content *contents; /* owned; as the arrays below */
	size_t n, max;
	struct kept_extent *extents;
	size_t n_extents, extents_max;
	struct chunk *chunks; /* of each extent that has not the same as the one before */
	size_t n_chunks, chunks_max;
	uint32_t most; /* extents of one content */
};

void old_contents_free(struct old_contents *all)
{
	if (!all)
		return;
	free(all->contents);
	free(all->extents);
	free(all->chunks);
	free(all);
}
DEFINE_CLEANUP(struct old_contents *, old_contents_free)

uint64_t old_contents_count(const struct old_contents *all)
{
	return all->n;
}

/* The place of @chunk in the list. */
static int keep_chunk(struct old_contents *all, const struct chunk *chunk, uint32_t *ret)
{
	if (all->n_chunks == 0 || all->chunks[all->n_chunks - 1].id != chunk->id) {
		struct chunk *chunks =
			array_grow(all->chunks, all->n_chunks, &all->chunks_max, sizeof(*chunks));

		if (!chunks)
			return -ENOMEM;
		all->chunks = chunks;
		chunks[all->n_chunks++] = *chunk;
	}
	*ret = (uint32_t)all->n_chunks - 1;
	return 0;
}

static int keep_extent(struct old_contents *all, const struct extent *e)
{
	struct kept_extent *extents =
		array_grow(all->extents, all->n_extents, &all->extents_max, sizeof(*extents));
	struct kept_extent *kept;

	if (!extents)
		return -ENOMEM;
	all->extents = extents;
	kept = &extents[all->n_extents++];
	*kept = (struct kept_extent){ .off = e->off, .len = e->len, .chunk_off = e->chunk_off };
	return keep_chunk(all, &e->chunk, &kept->chunk);
}

static int keep(void *arg, const struct content *content, struct extent *extents, uint32_t n)
{
	struct old_contents *all = arg;
	struct kept_content *contents =
		array_grow(all->contents, all->n, &all->max, sizeof(*contents));
	int r = 0;

	if (!contents)
		return -ENOMEM;
	all->contents = contents;
	if (all->n >= ROWS_MAX || all->n_extents + n > ROWS_MAX)
		return -E2BIG;
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = keep_extent(all, &extents[i]);
	if (n > all->most)
		all->most = n;
	contents[all->n++] = (struct kept_content){ *content, (uint32_t)all->n_extents };
	return r;
}

struct old_contents *old_contents_read(struct index *idx)
{
	CLEANUP(old_contents_free) struct old_contents *all = calloc(1, sizeof(*all));

	if (!all || index_info(idx)->n_contents > ROWS_MAX ||
	    index_each_extents(idx, keep, all, NULL) < 0)
		return NULL;
	return TAKE_PTR(all);
}

int old_contents_each(const struct old_contents *all, uint64_t first, uint64_t end,
                      index_extents_fn fn, void *arg)
{
	CLEANUP(free) struct extent *extents = calloc(all->most + 1u, sizeof(*extents));
	uint32_t at = first > 0 ? all->contents[first - 1].end : 0;
	int r = 0;

	if (!extents)
		return -ENOMEM;
	for (uint64_t i = first; r == 0 && i < end; i++) {
		const struct kept_content *c = &all->contents[i];
		uint32_t n = 0;

		for (; at < c->end; at++, n++) {
			const struct kept_extent *e = &all->extents[at];

			extents[n] = (struct extent){
				.content = c->content.id,
				.off = e->off,
				.len = e->len,
				.chunk_off = e->chunk_off,
				.seq = n,
				.chunk = all->chunks[e->chunk],
			};
		}
		r = fn(arg, &c->content, extents, n);
	}
	return r;
}
