/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/pool.h"

enum { N = 1000 };

struct item {
	uint64_t number;
	char rest[120];
};

struct large {
	char bytes[100000];
};

static bool is_zero(const struct item *item)
{
	static const struct item zero;

	return memcmp(item, &zero, sizeof(zero)) == 0;
}

Test(pool, items_are_apart_and_begin_as_zeros)
{
	struct pool pool = POOL_INIT(struct item);
	struct item *items[N];

	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < N; i++) {
			items[i] = pool_get(&pool);
			cr_assert_not_null(items[i]);
			cr_assert(is_zero(items[i]));
			cr_assert_eq((uintptr_t)items[i] % _Alignof(struct item), 0);
			memset(items[i], 0xff, sizeof(*items[i]));
			items[i]->number = i;
		}
		for (uint64_t i = 0; i < N; i++)
			cr_assert_eq(items[i]->number, i);
		for (size_t i = 0; i < N; i++)
			pool_put(&pool, items[(i * 7) % N]);
	}
	pool_put(&pool, NULL);
	pool_release(&pool);
}

Test(pool, what_is_put_back_is_used_again)
{
	struct pool pool = POOL_INIT(struct item);

	for (int i = 0; i < N * N; i++) {
		struct item *item = pool_get(&pool);

		cr_assert_not_null(item);
		pool_put(&pool, item);
	}
	pool_release(&pool);
}

Test(pool, items_may_be_larger_than_a_block)
{
	struct pool pool = POOL_INIT(struct large);
	struct large *a = pool_get(&pool);
	struct large *b = pool_get(&pool);

	cr_assert(a && b);
	memset(a, 1, sizeof(*a));
	memset(b, 2, sizeof(*b));
	cr_expect_eq(a->bytes[sizeof(a->bytes) - 1], 1);
	cr_expect_eq(b->bytes[0], 2);
	pool_put(&pool, a);
	pool_put(&pool, b);
	pool_release(&pool);
}
