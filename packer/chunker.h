/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content-defined cuts (FastCDC, Xia et al., 2016; normalised): where a chunk
 * ends depends on the bytes of the chunk alone, so that an insertion moves the
 * cuts near it and no others. Pure functions; a struct chunker is constant
 * once it is set up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

enum {
	CHUNKER_TARGET_MIN = 4 << 10,
	CHUNKER_TARGET_MAX = FORMAT_CHUNK_MAX,
};

struct chunker {
	uint32_t min;        /* a quarter of the target; only the last chunk may be shorter */
	uint32_t target;     /* the mean is near it */
	uint32_t max;        /* four times the target, or the largest that the format has */
	uint64_t mask_early; /* below the target: more bits, cuts are rare */
	uint64_t mask_late;  /* from the target on: fewer bits, cuts are likely */
	uint64_t gear[256];
};

/* Fill in the table of the gear hash, h = (h << 1) + gear[byte]: a constant of the format. */
void chunker_gear(uint64_t gear[static 256]);

/* The largest chunk for chunks of @target bytes or so. */
uint32_t chunker_max(uint32_t target);

/* Set up for @target, a power of two from CHUNKER_TARGET_MIN to CHUNKER_TARGET_MAX. */
void chunker_init(struct chunker *c, uint32_t target);

/*
 * Length of the first chunk of the @len bytes at @data. @last says that no
 * bytes follow them. Returns 0 when more bytes are needed to tell: never if
 * @last, or if @len is at least the maximum.
 */
size_t chunker_cut(const struct chunker *c, const uint8_t *data, size_t len, bool last);
