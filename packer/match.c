/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table maps the hash of an anchor to its place. A slot is 64 bits, 16 of
 * the hash and 48 of the place plus one; a full neighbourhood of a slot lets
 * anchors go: that loses matches, never makes wrong ones.
 */
#include "match.h"

#include <errno.h>
#include <string.h>

#include "chunker.h"
#include "grow.h"

enum {
	WINDOW = 64,          /* bytes that a gear hash depends on */
	SPACING_BITS_MIN = 6, /* anchors are at least so rare: one in 64 bytes */
	SPACING_BITS_MAX = 24,
	ANCHORS_WANTED = 1 << 17,
	PROBES = 6, /* slots that are tried */
	PLACE_BITS = 48,
};

struct matcher {
	uint64_t size;
	old_view_fn view;
	void *arg;
	uint64_t mask;   /* of hashes: all zero at an anchor */
	uint64_t *slots; /* owned; a power of two */
	size_t n_slots;
	struct match *matches; /* owned */
	size_t n, max;
	uint64_t off; /* new bytes that were passed before this window */
	uint64_t gear[256];
	uint64_t matched; /* new bytes up to here are matched or were given up */
};

static uint64_t spread(uint64_t hash)
{
	return hash * 0x9e3779b97f4a7c15u;
}

static void insert(struct matcher *m, uint64_t hash, uint64_t place)
{
	uint64_t key = spread(hash);
	uint64_t slot = (key >> PLACE_BITS) << PLACE_BITS | (place + 1);

	for (size_t i = 0; i < PROBES; i++) {
		uint64_t *at = &m->slots[(key + i) & (m->n_slots - 1)];

		if (*at == 0) {
			*at = slot;
			return;
		}
	}
}

/* Walk all old bytes and remember the anchors; the place is that of the window's end. */
static int index_old(struct matcher *m, struct err *err)
{
	const uint64_t *gear = m->gear;
	uint64_t hash = 0;
	uint64_t off = 0;

	while (off < m->size) {
		struct old_view v;
		int r = m->view(m->arg, off, &v, err);

		if (r < 0)
			return r;
		for (size_t i = (size_t)(off - v.start); i < v.len; i++) {
			hash = (hash << 1) + gear[v.data[i]];
			if (!(hash & m->mask) && v.start + i + 1 >= WINDOW)
				insert(m, hash, v.start + i + 1);
		}
		off = v.start + v.len;
	}
	return 0;
}

int matcher_new(uint64_t size, old_view_fn view, void *arg, struct matcher **ret, struct err *err)
{
	CLEANUP(matcher_free) struct matcher *m = calloc(1, sizeof(*m));
	unsigned bits = SPACING_BITS_MIN;
	uint64_t anchors;
	int r;

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	while (bits < SPACING_BITS_MAX && size >> bits > ANCHORS_WANTED)
		bits++;
	anchors = size >> bits;
	chunker_gear(m->gear);
	m->size = size;
	m->view = view;
	m->arg = arg;
	m->mask = ~(uint64_t)0 << (64 - bits);
	for (m->n_slots = 64; m->n_slots < anchors * 2 && m->n_slots < ANCHORS_WANTED * 4;)
		m->n_slots *= 2;
	m->slots = calloc(m->n_slots, sizeof(*m->slots));
	if (!m->slots)
		return err_set(err, -ENOMEM, "out of memory");
	r = index_old(m, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(m);
	return 0;
}

void matcher_free(struct matcher *m)
{
	if (!m)
		return;
	free(m->slots);
	free(m->matches);
	free(m);
}

static size_t equal_forward(const uint8_t *a, const uint8_t *b, size_t max)
{
	size_t n = 0;

	for (; n + 8 <= max; n += 8) {
		uint64_t x, y;

		memcpy(&x, a + n, 8);
		memcpy(&y, b + n, 8);
		if (x != y)
			return n + (size_t)__builtin_ctzll(x ^ y) / 8;
	}
	while (n < max && a[n] == b[n])
		n++;
	return n;
}

static size_t equal_backward(const uint8_t *a_end, const uint8_t *b_end, size_t max)
{
	size_t n = 0;

	while (n < max && *(a_end - n - 1) == *(b_end - n - 1))
		n++;
	return n;
}

/* How many of the @max bytes at @data are the old bytes from @old on. */
static int extend_forward(const struct matcher *m, const uint8_t *data, size_t max, uint64_t old,
                          size_t *ret, struct err *err)
{
	size_t n = 0;

	if (max > m->size - old)
		max = (size_t)(m->size - old);
	while (n < max) {
		struct old_view v;
		int r = m->view(m->arg, old + n, &v, err);
		size_t skip, step, same;

		if (r < 0)
			return r;
		skip = (size_t)(old + n - v.start);
		step = v.len - skip < max - n ? v.len - skip : max - n;
		same = equal_forward(data + n, v.data + skip, step);
		n += same;
		if (same < step)
			break;
	}
	*ret = n;
	return 0;
}

/* How many of the @max bytes before @end are the old bytes before @old. */
static int extend_backward(const struct matcher *m, const uint8_t *end, size_t max, uint64_t old,
                           size_t *ret, struct err *err)
{
	size_t n = 0;

	if (max > old)
		max = (size_t)old;
	while (n < max) {
		struct old_view v;
		int r = m->view(m->arg, old - n - 1, &v, err);
		size_t have, step, same;

		if (r < 0)
			return r;
		have = (size_t)(old - n - v.start);
		step = have < max - n ? have : max - n;
		same = equal_backward(end - n, v.data + have, step);
		n += same;
		if (same < step)
			break;
	}
	*ret = n;
	return 0;
}

static int add_match(struct matcher *m, struct match match, struct err *err)
{
	struct match *last = m->n > 0 ? &m->matches[m->n - 1] : NULL;
	struct match *matches;

	m->matched = match.off + match.len;
	if (last && last->off + last->len == match.off &&
	    last->old_off + last->len == match.old_off) {
		last->len += match.len;
		return 0;
	}
	matches = array_grow(m->matches, m->n, &m->max, sizeof(*matches));
	if (!matches)
		return err_set(err, -ENOMEM, "out of memory");
	m->matches = matches;
	matches[m->n++] = match;
	return 0;
}

/* A window of new bytes, and what makes a match. */
struct scan {
	const uint8_t *data;
	size_t len;
	uint64_t min;
};

/*
 * Compare around new byte @at of the window with old byte @old, and take the
 * match if it is long enough; it then ends at *@ret, else *@ret is @at.
 */
static int try_match(struct matcher *m, const struct scan *s, size_t at, uint64_t old, size_t *ret,
                     struct err *err)
{
	size_t free_bytes = (size_t)(m->off + at - m->matched);
	size_t before, after = 0;
	int r;

	if (free_bytes > at)
		free_bytes = at;
	*ret = at;
	r = extend_forward(m, s->data + at, s->len - at, old, &after, err);
	if (r == 0)
		r = extend_backward(m, s->data + at, free_bytes, old, &before, err);
	if (r < 0 || before + after < s->min)
		return r;
	*ret = at + after;
	return add_match(m,
	                 (struct match){
				 .off = m->off + at - before,
				 .len = before + after,
				 .old_off = old - before,
			 },
	                 err);
}

/* Old bytes that would continue the last match here; at the very start, the first. */
static bool on_diagonal(const struct matcher *m, uint64_t off, uint64_t *ret)
{
	const struct match *last = m->n > 0 ? &m->matches[m->n - 1] : NULL;

	*ret = last ? off - last->off + last->old_off : off;
	return *ret < m->size;
}

/* Try what an anchor of @hash that ends at @at may match. */
static int try_anchor(struct matcher *m, const struct scan *s, size_t at, uint64_t hash,
                      size_t *ret, struct err *err)
{
	uint64_t key = spread(hash);
	uint64_t old;
	int r = 0;

	*ret = at;
	if (on_diagonal(m, m->off + at, &old))
		r = try_match(m, s, at, old, ret, err);
	for (size_t i = 0; r == 0 && *ret == at && i < PROBES; i++) {
		uint64_t slot = m->slots[(key + i) & (m->n_slots - 1)];

		if (slot == 0)
			break;
		if (slot >> PLACE_BITS == key >> PLACE_BITS)
			r = try_match(m, s, at, (slot & (((uint64_t)1 << PLACE_BITS) - 1)) - 1, ret,
			              err);
	}
	return r;
}

/* A match that ended with the window before, or the equal start of both, goes on here. */
static int try_start(struct matcher *m, const struct scan *s, size_t *at, struct err *err)
{
	struct scan any = *s;
	uint64_t old;

	*at = 0;
	if (m->matched != m->off || !on_diagonal(m, m->off, &old))
		return 0;
	if (m->off > 0)
		any.min = 1;
	return try_match(m, &any, 0, old, at, err);
}

int matcher_next(struct matcher *m, const uint8_t *data, size_t len, uint64_t min, struct err *err)
{
	const struct scan s = { .data = data, .len = len, .min = min };
	const uint64_t *gear = m->gear;
	size_t from; /* bytes before it are not hashed */
	int r = try_start(m, &s, &from, err);
	uint64_t hash = 0;

	for (size_t i = from; r == 0 && i < len;) {
		size_t end;

		hash = (hash << 1) + gear[data[i++]];
		if ((hash & m->mask) || i - from < WINDOW)
			continue;
		r = try_anchor(m, &s, i, hash, &end, err);
		if (end > i) {
			from = i = end;
			hash = 0;
		}
	}
	m->off += len;
	return r;
}

const struct match *matcher_matches(const struct matcher *m, size_t *ret_n)
{
	*ret_n = m->n;
	return m->matches;
}
