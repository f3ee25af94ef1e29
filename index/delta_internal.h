/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a delta (format.md §3.3), as its reader and its writer see it. */
#pragma once

#include "delta.h"
#include "format.h"

/* What the footer says. */
struct delta_counts {
	uint32_t n_bases;
	uint32_t n_frames;
	uint32_t n_refs;
	uint32_t stored; /* compressed bytes of the table */
};

static inline uint64_t delta_plain_size(const struct delta_counts *n)
{
	return (uint64_t)n->n_bases * sizeof(struct digest) +
	       (uint64_t)n->n_frames * (sizeof(struct digest) + sizeof(struct delta_entry)) +
	       (uint64_t)n->n_refs * sizeof(le32);
}

/* Bytes from the skippable frame's magic to the end of the blob. */
static inline uint64_t delta_tail_size(const struct delta_counts *n)
{
	return sizeof(struct delta_header) + (uint64_t)n->stored + sizeof(struct delta_footer);
}
