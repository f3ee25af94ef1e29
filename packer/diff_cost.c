/* SPDX-License-Identifier: Apache-2.0 */
/* Which chunks are new, who uses them, and what that makes each content cost. */
#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"
#include "blobs.h"
#include "diff_internal.h"

/* A chunk of the new image that the old one lacks. */
struct new_chunk {
	uint64_t id;
	uint64_t used; /* bytes, a byte once for each extent that covers it */
	uint32_t frame_size;
};

/* An extent in a new chunk. */
struct piece {
	uint64_t content;
	size_t chunk; /* place in cost_finder.chunks */
	uint32_t len;
};

struct cost_finder {
	struct image *old;   /* borrowed; or NULL */
	struct image *new;   /* borrowed */
	struct digest *have; /* owned; chunks of the old image, sorted */
	size_t n_have;
	size_t have_max;
	bool *new_packs;          /* owned; of each pack: whether the old image lacks it */
	struct new_chunk *chunks; /* owned; in order of id */
	size_t n_chunks;
	size_t chunks_max;
	struct piece *pieces; /* owned; in order of content */
	size_t n_pieces;
	size_t pieces_max;
	struct diff *diff; /* borrowed */
	struct err *err;   /* borrowed */
};

static void cost_finder_release_cleanup(struct cost_finder *f)
{
	free(f->have);
	free(f->new_packs);
	free(f->chunks);
	free(f->pieces);
}

static int compare_digest(const void *a, const void *b)
{
	return digest_cmp(a, b);
}

static int add_have(void *arg, const struct chunk *chunk)
{
	struct cost_finder *f = arg;
	struct digest *have = array_grow(f->have, f->n_have, &f->have_max, sizeof(*have));

	if (!have)
		return err_set(f->err, -ENOMEM, "out of memory");
	f->have = have;
	have[f->n_have++] = chunk->digest;
	return 0;
}

static int load_old(struct cost_finder *f)
{
	int r = 0;

	if (f->old)
		r = index_each_chunk(image_index(f->old), add_have, f, f->err);
	if (r == 0 && f->n_have > 1)
		qsort(f->have, f->n_have, sizeof(*f->have), compare_digest);
	return r;
}

/* Mark the packs that the old image does not name. */
static int load_packs(struct cost_finder *f)
{
	CLEANUP(blob_set_release) struct blob_set packs = BLOB_SET_INIT;
	const struct manifest *m = image_manifest(f->new);
	int r = f->old ? blob_set_add_packs(&packs, image_manifest(f->old)) : 0;

	f->new_packs = calloc(m->n_packs + 1u, sizeof(*f->new_packs));
	if (r < 0 || !f->new_packs)
		return err_set(f->err, -ENOMEM, "out of memory");
	blob_set_seal(&packs);
	for (uint32_t i = 0; i < m->n_packs; i++)
		f->new_packs[i] = !blob_set_has(&packs, &m->packs[i].digest);
	return 0;
}

static int add_new_chunk(void *arg, const struct chunk *chunk)
{
	struct cost_finder *f = arg;
	struct new_chunk *chunks;

	if (f->n_have > 0 &&
	    bsearch(&chunk->digest, f->have, f->n_have, sizeof(*f->have), compare_digest)) {
		if (f->new_packs[chunk->pack - 1])
			f->diff->kept_chunk_bytes += chunk->frame_size;
		return 0;
	}
	chunks = array_grow(f->chunks, f->n_chunks, &f->chunks_max, sizeof(*chunks));
	if (!chunks)
		return err_set(f->err, -ENOMEM, "out of memory");
	f->chunks = chunks;
	chunks[f->n_chunks++] =
		(struct new_chunk){ .id = chunk->id, .frame_size = chunk->frame_size };
	f->diff->new_chunk_bytes += chunk->frame_size;
	return 0;
}

static int compare_chunk_id(const void *key, const void *element)
{
	uint64_t id = *(const uint64_t *)key;
	const struct new_chunk *c = element;

	return id < c->id ? -1 : id > c->id;
}

static int add_extent(struct cost_finder *f, const struct extent *e)
{
	struct new_chunk *c =
		bsearch(&e->chunk.id, f->chunks, f->n_chunks, sizeof(*f->chunks), compare_chunk_id);
	struct piece *pieces;

	if (!c)
		return 0;
	pieces = array_grow(f->pieces, f->n_pieces, &f->pieces_max, sizeof(*pieces));
	if (!pieces)
		return err_set(f->err, -ENOMEM, "out of memory");
	f->pieces = pieces;
	pieces[f->n_pieces++] = (struct piece){
		.content = e->content,
		.chunk = (size_t)(c - f->chunks),
		.len = e->len,
	};
	c->used += e->len;
	return 0;
}

static int add_content(void *arg, const struct content *content)
{
	struct cost_finder *f = arg;
	CLEANUP(free) struct extent *extents = NULL;
	uint32_t n = 0;
	int r = index_extents(image_index(f->new), content, &extents, &n, f->err);

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = add_extent(f, &extents[i]);
	return r;
}

static int add_cost(const struct cost_finder *f, const struct piece *p, struct costs *costs)
{
	const struct new_chunk *c = &f->chunks[p->chunk];
	struct content_cost *list;

	if (costs->n == 0 || costs->list[costs->n - 1].content != p->content) {
		list = array_grow(costs->list, costs->n, &costs->max, sizeof(*list));
		if (!list)
			return err_set(f->err, -ENOMEM, "out of memory");
		costs->list = list;
		list[costs->n++] = (struct content_cost){ .content = p->content };
	}
	/* Both factors have at most 32 bits. */
	costs->list[costs->n - 1].bytes += (uint64_t)c->frame_size * p->len / c->used;
	return 0;
}

int costs_collect(struct image *old, struct image *new, struct costs *ret, struct diff *d,
                  struct err *err)
{
	CLEANUP(cost_finder_release)
	struct cost_finder f = { .old = old, .new = new, .diff = d, .err = err };
	int r = load_packs(&f);

	if (r == 0)
		r = load_old(&f);
	if (r == 0)
		r = index_each_chunk(image_index(new), add_new_chunk, &f, err);
	if (r == 0 && f.n_chunks > 0)
		r = index_each_content(image_index(new), add_content, &f, err);
	for (size_t i = 0; r == 0 && i < f.n_pieces; i++)
		r = add_cost(&f, &f.pieces[i], ret);
	return r;
}

static int compare_content(const void *key, const void *element)
{
	uint64_t content = *(const uint64_t *)key;
	const struct content_cost *c = element;

	return content < c->content ? -1 : content > c->content;
}

struct content_cost *costs_find(const struct costs *costs, uint64_t content)
{
	if (content == 0 || costs->n == 0)
		return NULL;
	return bsearch(&content, costs->list, costs->n, sizeof(*costs->list), compare_content);
}
