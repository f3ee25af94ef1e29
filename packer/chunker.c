/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gear hash shifts one bit a byte: after 64 bytes the oldest has left it.
 * Masks take the highest bits, which depend on all 64; low ones would see only
 * the last few bytes. The first bytes up to the minimum are not even hashed.
 */
#include "chunker.h"

#include <assert.h>

/*
 * Two bits more below the target and two fewer above it: most chunks come out
 * close to the target (the paper's normalisation level 2).
 */
enum { NORMALISATION = 2 };

#define NO_CUT SIZE_MAX

/* The splitmix64 generator: the table is a function of its seed, 0, and never changes. */
static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

void chunker_gear(uint64_t gear[static 256])
{
	uint64_t state = 0;

	for (unsigned i = 0; i < 256; i++)
		gear[i] = splitmix64(&state);
}

uint32_t chunker_max(uint32_t target)
{
	return target < FORMAT_CHUNK_MAX / 4 ? target * 4 : FORMAT_CHUNK_MAX;
}

void chunker_init(struct chunker *c, uint32_t target)
{
	unsigned bits = (unsigned)__builtin_ctz(target);

	assert(target >= CHUNKER_TARGET_MIN && target <= CHUNKER_TARGET_MAX);
	assert((target & (target - 1)) == 0);
	*c = (struct chunker){
		.min = target / 4,
		.target = target,
		.max = chunker_max(target),
		.mask_early = ~(uint64_t)0 << (64 - (bits + NORMALISATION)),
		.mask_late = ~(uint64_t)0 << (64 - (bits - NORMALISATION)),
	};
	chunker_gear(c->gear);
}

/*
 * Hash data[from..to) on top of *@hash, and return the length that ends with
 * the first byte after which no bit of @mask is set, or NO_CUT. Each hash waits
 * for the one before, which is what the loop would be bound by: so the last of
 * four is made from the first alone, with what the bytes add to it worked out aside.
 */
static size_t scan(const struct chunker *c, const uint8_t *data, size_t from, size_t to,
                   uint64_t mask, uint64_t *hash)
{
	const uint64_t *gear = c->gear;
	uint64_t h = *hash;
	size_t i = from;

	for (; i + 4 <= to; i += 4) {
		uint64_t g0 = gear[data[i]], g1 = gear[data[i + 1]];
		uint64_t g2 = gear[data[i + 2]], g3 = gear[data[i + 3]];
		uint64_t both = (g0 << 1) + g1;
		uint64_t h0 = (h << 1) + g0;
		uint64_t h1 = (h << 2) + both;
		uint64_t h2 = (h1 << 1) + g2;

		h = (h << 4) + ((both << 2) + (g2 << 1) + g3);
		if (!(h0 & mask))
			return i + 1;
		if (!(h1 & mask))
			return i + 2;
		if (!(h2 & mask))
			return i + 3;
		if (!(h & mask))
			return i + 4;
	}
	for (; i < to; i++) {
		h = (h << 1) + gear[data[i]];
		if (!(h & mask))
			return i + 1;
	}
	*hash = h;
	return NO_CUT;
}

size_t chunker_cut(const struct chunker *c, const uint8_t *data, size_t len, bool last)
{
	size_t end = len < c->max ? len : c->max;
	size_t middle = end < c->target ? end : c->target;
	uint64_t hash = 0;
	size_t cut;

	if (len <= c->min)
		return last ? len : 0;
	cut = scan(c, data, c->min, middle, c->mask_early, &hash);
	if (cut == NO_CUT)
		cut = scan(c, data, middle, end, c->mask_late, &hash);
	if (cut != NO_CUT)
		return cut;
	return last || end == c->max ? end : 0;
}
