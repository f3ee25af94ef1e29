/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian integers as they lie on disk.
 *
 * The types are structs of bytes, not typedefs of integers: they have
 * alignment 1 (so on-disk structs have no padding and may be read in place at
 * any address), and forgetting a conversion is a compile error.
 */
#pragma once

#include <stdint.h>

typedef struct {
	uint8_t b[4];
} le32;

typedef struct {
	uint8_t b[8];
} le64;

static inline uint32_t le32_get(le32 v)
{
	return (uint32_t)v.b[0] | (uint32_t)v.b[1] << 8 | (uint32_t)v.b[2] << 16 |
	       (uint32_t)v.b[3] << 24;
}

static inline le32 le32_put(uint32_t v)
{
	return (le32){ { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) } };
}

static inline uint64_t le64_get(le64 v)
{
	uint64_t lo = le32_get((le32){ { v.b[0], v.b[1], v.b[2], v.b[3] } });
	uint64_t hi = le32_get((le32){ { v.b[4], v.b[5], v.b[6], v.b[7] } });

	return lo | hi << 32;
}

static inline le64 le64_put(uint64_t v)
{
	le32 lo = le32_put((uint32_t)v);
	le32 hi = le32_put((uint32_t)(v >> 32));

	return (le64){ { lo.b[0], lo.b[1], lo.b[2], lo.b[3], hi.b[0], hi.b[1], hi.b[2], hi.b[3] } };
}

#define STATIC_SIZE(type, bytes) \
	_Static_assert(sizeof(type) == (bytes), "on-disk size of " #type " changed")
