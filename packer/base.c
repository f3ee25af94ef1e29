/* SPDX-License-Identifier: Apache-2.0 */
#include "base.h"

#include <errno.h>
#include <string.h>

#include "hashing.h"
#include "input.h"

enum {
	STEP = 1 << 20,   /* new bytes compared at once; contents up to this are gathered */
	ZEROS = 64 << 10, /* a view of a hole */
};

struct base *base_new(struct image *img, uint64_t id)
{
	struct base *base = calloc(1, sizeof(*base));

	if (!base)
		return NULL;
	base->img = img;
	base->content.id = id;
	return base;
}

static int load(struct base *base, struct err *err)
{
	struct index *idx = image_index(base->img);
	int r = index_content(idx, base->content.id, &base->content, err);

	return r < 0 ? r
	             : index_extents(idx, &base->content, &base->extents, &base->n_extents, err);
}

void base_free(struct base *base)
{
	if (!base)
		return;
	free(base->extents);
	free(base->matches);
	free(base);
}

uint32_t base_extent_at(const struct base *base, uint64_t off)
{
	uint32_t lo = 0, hi = base->n_extents;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (base->extents[mid].off + base->extents[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Shows the bytes of an old content. */
struct viewer {
	const struct base *base;
	struct plain_cache *cache;
	struct old_view last;
	bool failed;
};

static const uint8_t zeros[ZEROS];

static int view_old(void *arg, uint64_t off, struct old_view *ret, struct err *err)
{
	struct viewer *v = arg;
	const struct base *base = v->base;
	const struct extent *x;
	const uint8_t *plain;
	uint32_t i;

	if (off - v->last.start < v->last.len) {
		*ret = v->last;
		return 0;
	}
	i = base_extent_at(base, off);
	x = &base->extents[i];
	if (i == base->n_extents || x->off > off) {
		uint64_t end = i == base->n_extents ? base->content.size : x->off;

		*ret = (struct old_view){ .data = zeros, .start = off };
		ret->len = end - off < ZEROS ? (size_t)(end - off) : ZEROS;
	} else {
		int r = plain_cache_read(v->cache, base->img, &x->chunk, &plain, err);

		v->failed = r < 0;
		if (r < 0)
			return r;
		*ret = (struct old_view){
			.data = plain + x->chunk_off,
			.start = x->off,
			.len = x->len,
		};
	}
	v->last = *ret;
	return 0;
}

static int compare_file(struct matcher *m, const struct new_content *c, uint64_t min,
                        struct err *err)
{
	CLEANUP(input_release) struct input in = INPUT_INIT;
	uint64_t size = content_size(c);
	CLEANUP(free) uint8_t *buf = malloc(size < STEP ? (size_t)size : STEP);
	int r;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	r = input_open(&in, c->file, err);
	for (uint64_t off = 0; r == 0 && off < size; off += STEP) {
		size_t n = size - off < STEP ? (size_t)(size - off) : STEP;

		r = input_read(&in, buf, n, off, err);
		if (r == 0)
			r = matcher_next(m, buf, n, min, off + n == size, err);
	}
	return r < 0 ? r : input_close(&in, err);
}

static int keep(struct base *base, const struct match *matches, size_t n, struct err *err)
{
	if (n == 0)
		return 0;
	base->matches = malloc(n * sizeof(*matches));
	if (!base->matches)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(base->matches, matches, n * sizeof(*matches));
	base->n_matches = n;
	return 0;
}

/* Keep the matches of @m in @base. */
static int keep_matches(struct base *base, const struct matcher *m, struct err *err)
{
	size_t n;
	const struct match *matches = matcher_matches(m, &n);

	return keep(base, matches, n, err);
}

/* Whether the new bytes may be the old ones and less than @min more. */
static bool may_continue(const struct base *base, uint64_t size, uint64_t min)
{
	return size >= base->content.size && size - base->content.size < min &&
	       base->content.size >= min;
}

/* The old bytes are where the new ones begin: there is no other match. */
static int keep_continued(struct base *base, struct err *err)
{
	const struct match all = { .len = base->content.size };

	return keep(base, &all, 1, err);
}

/* The digest of the first bytes of the file of @c, as many as the old content has. */
static int digest_start(const struct base *base, const struct new_content *c, struct digest *ret,
                        struct err *err)
{
	CLEANUP(hasher_release) struct hasher hasher = HASHER_INIT;

	return hasher_run(&hasher, c->file, base->content.size, ret, err);
}

static int compare_large(struct base *base, const struct new_content *c, struct plain_cache *cache,
                         uint64_t min, struct err *err)
{
	CLEANUP(matcher_free) struct matcher *m = NULL;
	struct viewer viewer = { .base = base, .cache = cache };
	struct digest start;
	int r = 0;

	if (may_continue(base, content_size(c), min)) {
		r = digest_start(base, c, &start, err);
		if (r == 0 && digest_equal(&start, &base->content.digest))
			return keep_continued(base, err);
	}
	if (r < 0)
		return r;
	r = matcher_new(base->content.size, view_old, &viewer, &m, err);

	if (r == 0)
		r = compare_file(m, c, min, err);
	if (r < 0)
		return viewer.failed && r != -ENOMEM ? 1 : r;
	return keep_matches(base, m, err);
}

static int view_gathered(void *arg, uint64_t off, struct old_view *ret, struct err *err)
{
	(void)off;
	(void)err;
	*ret = *(const struct old_view *)arg;
	return 0;
}

/*
 * Gather the old bytes at @old. A small file has a small part of its chunks: it is
 * compared with its own digest, not these with theirs.
 */
static int gather_old(const struct base *base, struct plain_cache *cache, uint8_t *old,
                      struct err *err)
{
	struct digest digest;

	memset(old, 0, base->content.size);
	for (uint32_t i = 0; i < base->n_extents; i++) {
		const struct extent *x = &base->extents[i];
		const uint8_t *plain;
		int r = plain_cache_read_unchecked(cache, base->img, &x->chunk, &plain, err);

		if (r < 0)
			return r;
		memcpy(old + x->off, plain + x->chunk_off, x->len);
	}
	sha256(old, base->content.size, &digest);
	return digest_equal(&digest, &base->content.digest)
	               ? 0
	               : err_set(err, -EBADMSG, "damaged: content %llu has another digest",
	                         (unsigned long long)base->content.id);
}

static int read_new(const struct new_content *c, uint8_t *data, struct err *err)
{
	CLEANUP(input_release) struct input in = INPUT_INIT;
	int r = input_open(&in, c->file, err);

	if (r == 0)
		r = input_read(&in, data, content_size(c), 0, err);
	return r < 0 ? r : input_close(&in, err);
}

static bool is_continued(const struct base *base, const uint8_t *data, uint64_t size, uint64_t min)
{
	struct digest digest;

	if (!may_continue(base, size, min))
		return false;
	sha256(data, base->content.size, &digest);
	return digest_equal(&digest, &base->content.digest);
}

static int compare_small(struct base *base, const struct new_content *c, struct plain_cache *cache,
                         uint64_t min, struct err *err)
{
	CLEANUP(matcher_free) struct matcher *m = NULL;
	CLEANUP(free) uint8_t *data = malloc(content_size(c));
	CLEANUP(free) uint8_t *old = malloc(base->content.size);
	struct old_view all = { .data = old, .len = base->content.size };
	int r;

	if (!data || !old)
		return err_set(err, -ENOMEM, "out of memory");
	r = read_new(c, data, err);
	if (r < 0)
		return r;
	if (is_continued(base, data, content_size(c), min))
		return keep_continued(base, err);
	r = gather_old(base, cache, old, err);
	if (r < 0)
		return r == -ENOMEM ? r : 1;
	r = matcher_new(base->content.size, view_gathered, &all, &m, err);
	if (r == 0)
		r = matcher_next(m, data, content_size(c), min, /* last= */ true, err);
	return r < 0 ? r : keep_matches(base, m, err);
}

int base_compare(struct base *base, const struct new_content *c, struct plain_cache *cache,
                 uint64_t min_match, struct err *err)
{
	int r = load(base, err);

	if (r < 0)
		return r;
	if (content_size(c) <= STEP && base->content.size <= STEP)
		return compare_small(base, c, cache, min_match, err);
	return compare_large(base, c, cache, min_match, err);
}

/* Place in the old content that new bytes at @off stand for: between the matches around it. */
static uint64_t old_place(const struct base *base, uint64_t off)
{
	size_t lo = 0, hi = base->n_matches;
	const struct match *before;
	uint64_t place;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (base->matches[mid].off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	before = lo > 0 ? &base->matches[lo - 1] : NULL;
	if (!before && base->n_matches > 0)
		/* Before the first match: as far before it as there. */
		return base->matches[0].old_off -
		       (base->matches[0].off - off < base->matches[0].old_off
		                ? base->matches[0].off - off
		                : base->matches[0].old_off);
	place = before ? off - before->off + before->old_off : off;
	return place < base->content.size ? place : base->content.size - 1;
}

static bool has_chunk(const struct chunk **chunks, uint32_t n, const struct chunk *chunk)
{
	for (uint32_t i = 0; i < n; i++) {
		if (digest_equal(&chunks[i]->digest, &chunk->digest))
			return true;
	}
	return false;
}

/* Plain bytes of the @n chunks at @chunks. */
static uint64_t sum_sizes(const struct chunk **chunks, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += chunks[i]->size;
	return sum;
}

uint32_t base_chunks(const struct base *base, uint64_t off, uint64_t bytes,
                     const struct chunk **chunks, uint32_t n, uint32_t max)
{
	uint64_t place = old_place(base, off);
	uint64_t sum = sum_sizes(chunks, n);
	uint32_t after = base_extent_at(base, place);
	uint32_t before = after;
	bool more = true;

	/* From the middle outwards, one extent after and one before. */
	while (more && n < max) {
		more = false;
		for (int side = 0; side < 2 && n < max; side++) {
			const struct chunk *chunk;

			if (side == 0 ? after == base->n_extents : before == 0)
				continue;
			chunk = side == 0 ? &base->extents[after++].chunk
			                  : &base->extents[--before].chunk;
			more = true;
			if (has_chunk(chunks, n, chunk))
				continue;
			if (sum + chunk->size > bytes)
				return n;
			sum += chunk->size;
			chunks[n++] = chunk;
		}
	}
	return n;
}
