/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers that a test can have again: splitmix64 (Steele et al., 2014). */
#pragma once

#include <stdint.h>

struct prng {
	uint64_t state;
};

#define PRNG_INIT(seed) ((struct prng){ .state = (seed) })

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = p->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* A number below @n, which is at least 1. */
static inline uint64_t prng_below(struct prng *p, uint64_t n)
{
	return prng_next(p) % n;
}
