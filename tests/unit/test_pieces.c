/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "pieces.h"

enum {
	SPACE = 256,
	OBJECTS = 4,
};

/* Addresses that stand for objects: nothing looks into them. */
static char object[OBJECTS];

static struct piece piece_of(size_t obj, uint64_t off, uint32_t chunk_off, uint32_t len)
{
	return (struct piece){ .obj = (struct object *)(void *)&object[obj],
		               .off = off,
		               .chunk_off = chunk_off,
		               .len = len };
}

static void add(struct pieces *set, size_t obj, uint64_t off, uint32_t chunk_off, uint32_t len)
{
	struct piece piece = piece_of(obj, off, chunk_off, len);

	pieces_add(set, &piece);
}

Test(pieces, empty_set_holds_nothing)
{
	struct pieces set = PIECES_INIT;

	cr_assert_null(pieces_at(&set, 0));
	cr_assert_not(pieces_cover(&set, 0, 1));
}

Test(pieces, of_several_objects_cover_together)
{
	struct pieces set = PIECES_INIT;

	add(&set, 0, 1000, 10, 10);
	add(&set, 1, 0, 30, 10);
	cr_assert_not(pieces_cover(&set, 15, 20));
	add(&set, 2, 7, 18, 14);
	cr_assert_eq(set.n, 3);
	cr_assert(pieces_cover(&set, 10, 30));
	cr_assert_not(pieces_cover(&set, 9, 2));
	cr_assert_not(pieces_cover(&set, 39, 2));
	cr_assert_eq(pieces_at(&set, 17)->chunk_off, 10);
	cr_assert_eq(pieces_at(&set, 18)->chunk_off, 18, "it reaches further");
	cr_assert_eq(pieces_at(&set, 39)->off, 0);
	pieces_release(&set);
}

Test(pieces, that_lie_alike_merge)
{
	struct pieces set = PIECES_INIT;

	add(&set, 0, 100, 0, 10);
	add(&set, 0, 120, 20, 10);
	add(&set, 0, 111, 10, 10); /* one byte off */
	cr_assert_eq(set.n, 3);
	pieces_release(&set);
	add(&set, 0, 100, 0, 10);
	add(&set, 0, 120, 20, 10);
	add(&set, 1, 110, 10, 9);
	add(&set, 0, 110, 10, 10);
	cr_assert_eq(set.n, 1, "the three are one, and what lies within is gone");
	cr_assert_eq(set.piece[0].off, 100);
	cr_assert_eq(set.piece[0].len, 30);
	pieces_release(&set);
}

/* A copy of the chunk's end at the start of an object: it would begin before the object does. */
Test(pieces, that_lie_alike_merge_at_the_start_of_an_object)
{
	struct pieces set = PIECES_INIT;

	add(&set, 0, 0, 50, 10);
	add(&set, 0, 10, 60, 10);
	cr_assert_eq(set.n, 1);
	cr_assert_eq(set.piece[0].off, 0);
	cr_assert_eq(set.piece[0].len, 20);
	pieces_release(&set);
}

Test(pieces, beyond_the_limit_are_forgotten_unless_they_merge)
{
	struct pieces set = PIECES_INIT;

	for (uint32_t i = 0; i <= PIECES_MAX; i++)
		add(&set, i % OBJECTS, (uint64_t)3 * i, 2 * i, 1);
	cr_assert_eq(set.n, PIECES_MAX);
	cr_assert_not(pieces_cover(&set, 2 * PIECES_MAX, 1));
	add(&set, 0, 1, 1, 1); /* goes on where the first ends */
	cr_assert_eq(set.n, PIECES_MAX);
	cr_assert_eq(set.piece[0].len, 2);
	add(&set, 1, 0, 0, 3 * PIECES_MAX);
	cr_assert_eq(set.n, 1);
	pieces_release(&set);
}

static void check_invariants(const struct pieces *set)
{
	for (uint32_t i = 1; i < set->n; i++) {
		const struct piece *a = &set->piece[i - 1], *b = &set->piece[i];

		cr_assert_lt(a->chunk_off, b->chunk_off);
		cr_assert_lt(a->chunk_off + a->len, b->chunk_off + b->len);
	}
	for (uint32_t i = 0; i < set->n; i++) {
		for (uint32_t k = i + 1; k < set->n; k++) {
			const struct piece *a = &set->piece[i], *b = &set->piece[k];

			cr_assert(a->obj != b->obj ||
			          b->off - b->chunk_off != a->off - a->chunk_off ||
			          b->chunk_off > a->chunk_off + a->len);
		}
	}
}

/* What piece @p says of byte @pos must have been said by a piece that was added. */
static void check_origin(bool said[OBJECTS][2][SPACE], const struct piece *p, uint32_t pos)
{
	size_t obj = (size_t)((char *)p->obj - object);
	uint64_t lie = p->off - p->chunk_off;

	cr_assert(pos >= p->chunk_off && pos < p->chunk_off + p->len);
	cr_assert_lt(lie, 2);
	cr_assert(said[obj][lie][pos]);
}

/* Against plain arrays of flags, for many random sets. */
Test(pieces, behave_like_an_array_of_bytes)
{
	srandom(1);
	for (int round = 0; round < 500; round++) {
		bool said[OBJECTS][2][SPACE] = { 0 };
		bool model[SPACE] = { false };
		struct pieces set = PIECES_INIT;

		for (int i = 0; i < 60; i++) {
			uint32_t start = (uint32_t)random() % SPACE;
			uint32_t len = 1 + (uint32_t)random() % (SPACE - start) % 40;
			size_t obj = (size_t)random() % OBJECTS;
			uint64_t lie = (uint64_t)random() % 2;
			bool covered = true;

			for (uint32_t k = start; k < start + len; k++)
				covered = covered && model[k];
			cr_assert_eq(pieces_cover(&set, start, len), covered);
			if (random() % 2 == 0)
				continue;
			add(&set, obj, start + lie, start, len);
			for (uint32_t k = start; k < start + len; k++)
				model[k] = said[obj][lie][k] = true;
			check_invariants(&set);
		}
		for (uint32_t k = 0; k < SPACE; k++) {
			const struct piece *p = pieces_at(&set, k);

			cr_assert_eq(p != NULL, model[k]);
			if (p)
				check_origin(said, p, k);
		}
		pieces_release(&set);
	}
}
