/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks add up to the input and keep their bounds; where one ends depends on
 * its own bytes, not on how many of those behind it were there to look at.
 */
#include "fuzz.h"

#include <string.h>

#include "base/cleanup.h"
#include "chunker.h"

enum { REPEATS_MAX = 64 };

/* Inputs are short and chunks are not: repeat the input, changed a little each time. */
static uint8_t *stretch(const uint8_t *data, size_t size, size_t repeats)
{
	uint8_t *out = malloc(size * repeats);

	must(out);
	for (size_t i = 0; i < repeats; i++) {
		memcpy(out + i * size, data, size);
		out[i * size + i % size] ^= (uint8_t)i;
	}
	return out;
}

static void check(const struct chunker *c, const uint8_t *data, size_t size, size_t step)
{
	size_t off = 0;

	while (off < size) {
		size_t left = size - off;
		size_t n = chunker_cut(c, data + off, left, /* last= */ true);
		size_t seen = step < left ? step : left;
		size_t got = chunker_cut(c, data + off, seen, /* last= */ seen == left);

		must(n > 0 && n <= left && n <= c->max && (n >= c->min || n == left));
		must(got == n || (got == 0 && seen < left && seen < c->max));
		/* A chunk alone is cut at its end or nowhere. */
		must(chunker_cut(c, data + off, n, /* last= */ true) == n);
		off += n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free) uint8_t *bytes = NULL;
	struct chunker c;
	size_t repeats, step;

	if (size < 4)
		return 0;
	repeats = 1 + data[0] % REPEATS_MAX;
	step = 1 + data[1] + ((size_t)data[2] << 8);
	chunker_init(&c, (uint32_t)CHUNKER_TARGET_MIN << data[3] % 3);
	bytes = stretch(data + 3, size - 3, repeats);
	check(&c, bytes, (size - 3) * repeats, step);
	return 0;
}
