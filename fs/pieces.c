/* SPDX-License-Identifier: Apache-2.0 */
#include "pieces.h"

#include <stdlib.h>
#include <string.h>

void pieces_release(struct pieces *set)
{
	if (set->piece != &set->one)
		free(set->piece);
	*set = PIECES_INIT;
}

static uint32_t end_of(const struct piece *piece)
{
	return piece->chunk_off + piece->len;
}

/* The first piece that starts at @pos or after. */
static uint32_t first_from(const struct pieces *set, uint32_t pos)
{
	uint32_t lo = 0;
	uint32_t hi = set->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (set->piece[mid].chunk_off < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The first piece that ends after @pos. */
static uint32_t first_beyond(const struct pieces *set, uint32_t pos)
{
	uint32_t lo = 0;
	uint32_t hi = set->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (end_of(&set->piece[mid]) <= pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct piece *pieces_at(const struct pieces *set, uint32_t pos)
{
	uint32_t i = first_from(set, pos + 1);

	return i > 0 && end_of(&set->piece[i - 1]) > pos ? &set->piece[i - 1] : NULL;
}

bool pieces_cover(const struct pieces *set, uint32_t chunk_off, uint32_t len)
{
	uint32_t pos = chunk_off;

	while (pos < chunk_off + len) {
		const struct piece *piece = pieces_at(set, pos);

		if (!piece)
			return false;
		pos = end_of(piece);
	}
	return true;
}

/* Whether both are parts of one copy of the chunk, which may begin before the object does. */
static bool lie_alike(const struct piece *a, const struct piece *b)
{
	return a->obj == b->obj && a->off - a->chunk_off == b->off - b->chunk_off;
}

/* Widen @fresh by what touches it and lies alike. */
static void widen(const struct pieces *set, struct piece *fresh)
{
	const uint32_t start = fresh->chunk_off;
	const uint32_t end = end_of(fresh);

	for (uint32_t i = start > 0 ? first_beyond(set, start - 1) : 0;
	     i < set->n && set->piece[i].chunk_off <= end; i++) {
		const struct piece *piece = &set->piece[i];

		if (!lie_alike(piece, fresh))
			continue;
		if (piece->chunk_off < fresh->chunk_off) {
			fresh->len += fresh->chunk_off - piece->chunk_off;
			fresh->off = piece->off;
			fresh->chunk_off = piece->chunk_off;
		}
		if (end_of(piece) > end_of(fresh))
			fresh->len = end_of(piece) - fresh->chunk_off;
	}
}

static bool make_room(struct pieces *set)
{
	bool inside = set->piece == &set->one;
	struct piece *more;

	if (set->n < set->cap)
		return true;
	if (set->cap == 0) {
		set->piece = &set->one;
		set->cap = 1;
		return true;
	}
	if (set->n >= PIECES_MAX)
		return false;
	more = reallocarray(inside ? NULL : set->piece, (size_t)set->cap * 2, sizeof(*more));
	if (!more)
		return false;
	if (inside)
		more[0] = set->one;
	set->piece = more;
	set->cap *= 2;
	return true;
}

void pieces_add(struct pieces *set, const struct piece *piece)
{
	struct piece fresh = *piece;
	uint32_t first, end; /* the pieces that lie within the fresh one, which replaces them */

	if (pieces_cover(set, fresh.chunk_off, fresh.len))
		return;
	widen(set, &fresh);
	first = first_from(set, fresh.chunk_off);
	end = first_beyond(set, end_of(&fresh));
	if (first == end && !make_room(set))
		return;
	memmove(&set->piece[first + 1], &set->piece[end], (set->n - end) * sizeof(set->piece[0]));
	set->n = set->n - (end - first) + 1;
	set->piece[first] = fresh;
}

void pieces_drop(struct pieces *set, const struct object *obj)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < set->n; i++) {
		if (set->piece[i].obj != obj)
			set->piece[n++] = set->piece[i];
	}
	set->n = n;
}
