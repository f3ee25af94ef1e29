/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matches are true, long enough, in order, and the same whatever the windows of
 * new bytes and the views of old ones; what is the same from the start is found.
 */
#include "fuzz.h"

#include <string.h>

#include "base/cleanup.h"
#include "match.h"

/* What an input begins with; then come the old bytes, then the new ones. */
enum {
	SPLIT = 0,   /* 2 bytes: how many bytes are old */
	MIN = 2,     /* 1 byte */
	WINDOW = 3,  /* 1 byte */
	VIEW = 4,    /* 1 byte */
	REPEATS = 5, /* 1 byte: how often old and new bytes come */
	BYTES = 6,
	REPEATS_MAX = 32,
};

struct bytes {
	uint8_t *data; /* owned */
	size_t len;
	size_t view;
};

static void bytes_release_cleanup(struct bytes *b)
{
	free(b->data);
}

static int show(void *arg, uint64_t off, struct old_view *ret, struct err *err)
{
	const struct bytes *old = arg;
	size_t start;

	(void)err;
	must(off < old->len);
	start = (size_t)off / old->view * old->view;
	*ret = (struct old_view){ .data = old->data + start, .start = start, .len = old->view };
	if (ret->len > old->len - start)
		ret->len = old->len - start;
	return 0;
}

/* Each time changed a little: repeats are alike, not equal. */
static struct bytes stretch(const uint8_t *data, size_t size, size_t repeats, size_t view)
{
	struct bytes b = { malloc(size * repeats + 1), size * repeats, view };

	must(b.data);
	for (size_t i = 0; i < repeats; i++) {
		memcpy(b.data + i * size, data, size);
		b.data[i * size + i * 31 % size] ^= (uint8_t)i;
	}
	return b;
}

static struct matcher *match(struct bytes *old, const struct bytes *new, uint64_t min,
                             size_t window)
{
	struct matcher *m = NULL;

	must(matcher_new(old->len, show, old, &m, NULL) == 0);
	for (size_t off = 0; off < new->len;) {
		size_t len = new->len - off < window ? new->len - off : window;

		off += len;
		must(matcher_next(m, new->data + off - len, len, min, off == new->len, NULL) == 0);
	}
	return m;
}

static void check(const struct matcher *m, const struct bytes *old, const struct bytes *new,
                  uint64_t min)
{
	size_t n, same = 0;
	const struct match *matches = matcher_matches(m, &n);
	uint64_t end = 0;

	for (size_t i = 0; i < n; i++) {
		const struct match *x = &matches[i];

		must(x->len >= min && x->off >= end);
		end = x->off + x->len;
		must(end <= new->len && x->len <= old->len && x->old_off <= old->len - x->len);
		must(memcmp(new->data + x->off, old->data + x->old_off, x->len) == 0);
	}
	while (same < old->len && same < new->len && old->data[same] == new->data[same])
		same++;
	if (same >= min)
		must(n > 0 && matches[0].off == 0 && matches[0].len == same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(bytes_release) struct bytes old = { NULL, 0, 0 }, new = { NULL, 0, 0 };
	CLEANUP(matcher_free) struct matcher *whole = NULL, *parts = NULL;
	const struct match *a, *b;
	size_t n_old, repeats, n_a, n_b;
	uint64_t min;

	if (size < BYTES + 2)
		return 0;
	n_old = 1 + (data[SPLIT] | (size_t)data[SPLIT + 1] << 8) % (size - BYTES - 1);
	min = 1 + (uint64_t)data[MIN];
	repeats = 1 + data[REPEATS] % REPEATS_MAX;
	old = stretch(data + BYTES, n_old, repeats, 1 + (size_t)data[VIEW] * 16);
	new = stretch(data + BYTES + n_old, size - BYTES - n_old, repeats, 0);
	whole = match(&old, &new, min, new.len);
	check(whole, &old, &new, min);
	old.view = old.len;
	parts = match(&old, &new, min, 1 + (size_t)data[WINDOW]);
	a = matcher_matches(whole, &n_a);
	b = matcher_matches(parts, &n_b);
	must(n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof(*a)) == 0));
	return 0;
}
