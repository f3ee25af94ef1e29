/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdint.h>

#include "listings.h"

enum { SMALL = 64 };

struct taken {
	uint64_t sum;
	size_t n;
};

static void take(void *arg, uint64_t ino)
{
	struct taken *taken = arg;

	taken->sum += ino;
	taken->n++;
}

static struct taken take_all(struct listings *listings)
{
	struct taken taken = { 0 };

	listings_take(listings, take, &taken);
	return taken;
}

Test(listings, small_ones_are_taken_once)
{
	struct listings *listings = listings_new();

	cr_assert_not_null(listings);
	cr_expect_eq(take_all(listings).n, 0);
	for (uint64_t ino = 1; ino <= 1000; ino++)
		listings_add(listings, ino, ino % SMALL);
	listings_add(listings, 5000, SMALL + 1);
	cr_expect_eq(take_all(listings).sum, 1000 * 1001 / 2);
	cr_expect_eq(take_all(listings).n, 0);
	listings_add(listings, 7, SMALL);
	cr_expect_eq(take_all(listings).sum, 7);
	listings_free(listings);
}

Test(listings, there_is_a_bound)
{
	struct listings *listings = listings_new();
	struct taken taken;

	cr_assert_not_null(listings);
	for (uint64_t ino = 1; ino <= 1000000; ino++)
		listings_add(listings, ino, 1);
	taken = take_all(listings);
	cr_expect_geq(taken.n, 1000);
	cr_expect_leq(taken.n, 100000);
	listings_free(listings);
	listings_free(NULL);
}
