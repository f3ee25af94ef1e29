/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table maps the hash of an anchor to its place. A slot is 64 bits, 16 of
 * the hash and 48 of the place plus one; a full neighbourhood of a slot lets
 * anchors go: that loses matches, never makes wrong ones.
 */
#include "match.h"

#include <errno.h>
#include <string.h>

#include "base/grow.h"
#include "chunker.h"

enum {
	WINDOW = 64,          /* bytes that a gear hash depends on */
	SPACING_BITS_MIN = 6, /* anchors are at least so rare: one in 64 bytes */
	SPACING_BITS_MAX = 24,
	ANCHORS_WANTED = 1 << 17,
	SLOTS_MAX = ANCHORS_WANTED * 4,
	PROBES = 6, /* slots that are tried */
	PLACE_BITS = 48,
	BACK_MAX = 512 << 10, /* bytes before an anchor that are compared */

	/*
	 * What repeats itself all the time has anchors all the time, and much to compare at
	 * each: what comes of nothing is limited for each byte that is passed.
	 */
	CREDIT = 16,
	CREDIT_MAX = 1 << 20,
	TRY_COST = 2048, /* of looking elsewhere, whose chunk may have to be read */
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
	uint64_t gear[256];

	uint8_t *buf; /* owned; new bytes */
	size_t len, buf_max;
	uint64_t off;   /* of buf[0] in the new bytes */
	size_t next;    /* in buf; bytes before it are hashed or matched */
	size_t from;    /* in buf; bytes before it are matched, or too old to be */
	uint64_t hash;  /* of the bytes before next */
	bool trying;    /* what the bytes at next match could not be told yet */
	bool open;      /* the last match ends at next, and may go on */
	int64_t credit; /* bytes that may be compared in vain */
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
	m->trying = true; /* the very start, like an anchor */
	m->credit = CREDIT_MAX;
	for (m->n_slots = 64; m->n_slots < anchors * 2 && m->n_slots < SLOTS_MAX;)
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
	free(m->buf);
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
	struct match *matches = array_grow(m->matches, m->n, &m->max, sizeof(*matches));

	if (!matches)
		return err_set(err, -ENOMEM, "out of memory");
	m->matches = matches;
	matches[m->n++] = match;
	return 0;
}

/*
 * Compare around new byte m->next with old byte @old, and take the match if it
 * is long enough: m->next is then its end. Returns 0; 1 when that cannot be told yet; -errno.
 */
static int try_match(struct matcher *m, uint64_t old, uint64_t min, bool last, struct err *err)
{
	size_t at = m->next, before = 0, after = 0;
	size_t back = at - m->from < BACK_MAX ? at - m->from : BACK_MAX;
	int r = extend_forward(m, m->buf + at, m->len - at, old, &after, err);

	if (r == 0)
		r = extend_backward(m, m->buf + at, back, old, &before, err);
	if (r < 0)
		return r;
	if (before + after < min) {
		m->credit -= (int64_t)(before + after);
		return !last && at + after == m->len && old + after < m->size;
	}
	m->next = m->from = at + after;
	m->open = true;
	return add_match(m,
	                 (struct match){
				 .off = m->off + at - before,
				 .len = before + after,
				 .old_off = old - before,
			 },
	                 err);
}

/* Old bytes that would continue the last match at new byte @off; without one, those at the same place. */
static bool on_diagonal(const struct matcher *m, uint64_t off, uint64_t *ret)
{
	const struct match *last = m->n > 0 ? &m->matches[m->n - 1] : NULL;

	*ret = last ? off - last->off + last->old_off : off;
	return *ret < m->size;
}

/* Try what the new bytes at m->next may match. Returns as try_match(). */
static int try_here(struct matcher *m, uint64_t min, bool last, struct err *err)
{
	uint64_t key = spread(m->hash);
	size_t at = m->next;
	uint64_t old;
	int r = 0;

	if (on_diagonal(m, m->off + at, &old))
		r = try_match(m, old, min, last, err);
	for (size_t i = 0; r == 0 && !m->open && i < PROBES; i++) {
		uint64_t slot = m->slots[(key + i) & (m->n_slots - 1)];

		if (slot == 0)
			break;
		if (slot >> PLACE_BITS == key >> PLACE_BITS)
			r = try_match(m, (slot & (((uint64_t)1 << PLACE_BITS) - 1)) - 1, min, last,
			              err);
		else
			continue;
		m->credit -= TRY_COST;
	}
	return r;
}

/* Go on with the match that ended with the bytes there were. */
static int extend_last(struct matcher *m, struct err *err)
{
	struct match *last = &m->matches[m->n - 1];
	size_t after;
	int r = extend_forward(m, m->buf + m->next, m->len - m->next, last->old_off + last->len,
	                       &after, err);

	if (r < 0)
		return r;
	last->len += after;
	m->next += after;
	m->from = m->next;
	m->open = m->next == m->len;
	m->hash = 0;
	return 0;
}

/* Go to the next anchor that is worth a try. */
static bool next_anchor(struct matcher *m)
{
	const uint64_t *gear = m->gear;
	uint64_t hash = m->hash;
	size_t i = m->next;
	bool found = false;

	while (i < m->len && !found) {
		hash = (hash << 1) + gear[m->buf[i++]];
		found = !(hash & m->mask) && i - m->from >= WINDOW;
	}
	m->credit += (int64_t)(i - m->next) * CREDIT;
	if (m->credit > CREDIT_MAX)
		m->credit = CREDIT_MAX;
	m->hash = hash;
	m->next = i;
	return found;
}

/* Find what can be told from the bytes there are. */
static int scan(struct matcher *m, uint64_t min, bool last, struct err *err)
{
	for (;;) {
		int64_t credit;
		int r;

		if (m->open) {
			r = extend_last(m, err);
			if (r < 0 || m->open)
				return r;
		}
		if (!m->trying && !next_anchor(m))
			return 0;
		credit = m->credit;
		r = credit > 0 ? try_here(m, min, last, err) : 0;
		m->trying = r > 0;
		if (r > 0)
			m->credit = credit; /* this try does not count: it is made again */
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

/* Have @len more bytes at hand, and no more of those before than are needed. */
static int append(struct matcher *m, const uint8_t *data, size_t len, struct err *err)
{
	size_t old = m->next > BACK_MAX ? m->next - BACK_MAX : 0;

	if (old < m->from)
		old = m->from;
	/* Not for a few bytes: they would be moved again and again. */
	if (old > 0 && (old >= BACK_MAX || old == m->len)) {
		m->len -= old;
		memmove(m->buf, m->buf + old, m->len);
		m->off += old;
		m->next -= old;
		m->from = m->from > old ? m->from - old : 0;
	}
	if (m->len + len > m->buf_max) {
		size_t max = m->len + len + m->len / 2;
		uint8_t *buf = realloc(m->buf, max);

		if (!buf)
			return err_set(err, -ENOMEM, "out of memory");
		m->buf = buf;
		m->buf_max = max;
	}
	memcpy(m->buf + m->len, data, len);
	m->len += len;
	return 0;
}

int matcher_next(struct matcher *m, const uint8_t *data, size_t len, uint64_t min, bool last,
                 struct err *err)
{
	int r = len > 0 ? append(m, data, len, err) : 0;

	return r < 0 ? r : scan(m, min, last, err);
}

const struct match *matcher_matches(const struct matcher *m, size_t *ret_n)
{
	*ret_n = m->n;
	return m->matches;
}
