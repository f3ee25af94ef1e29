/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "keyed.h"
#include "prng.h"

enum { N_MAX = 3000 };

/* Keys of as many bits as @mask has, some of which are equal. */
static void expect_sorted(size_t n, uint64_t mask)
{
	struct prng prng = PRNG_INIT(n + mask);
	struct keyed *list = calloc(n + 1, sizeof(*list));
	uint64_t *keys = calloc(n + 1, sizeof(*keys));

	cr_assert(list && keys);
	for (size_t i = 0; i < n; i++) {
		keys[i] = prng_next(&prng) & mask;
		list[i] = (struct keyed){ keys[i], i };
	}
	cr_assert_eq(keyed_sort(list, n), 0);
	for (size_t i = 0; i < n; i++) {
		cr_assert_lt(list[i].at, n);
		cr_expect_eq(list[i].key, keys[list[i].at]);
		keys[list[i].at] = ~mask; /* no place comes twice */
		cr_expect(i == 0 || list[i - 1].key < list[i].key ||
		                  (list[i - 1].key == list[i].key && list[i - 1].at < list[i].at),
		          "place %zu of %zu", i, n);
	}
	free(list);
	free(keys);
}

Test(keyed, order_of_keys_and_then_of_places)
{
	static const uint64_t masks[] = { 0, 3, 0xff00, 0x30000007, INT64_MAX, 0x8000000000000001 };

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		for (size_t n = 0; n < N_MAX; n = n * 2 + 1)
			expect_sorted(n, masks[i]);
	}
}
