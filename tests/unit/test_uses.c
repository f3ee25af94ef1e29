/* SPDX-License-Identifier: Apache-2.0 */
/* uses: order of first use, every byte once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "uses.h"

static void expect_uses(const struct uses *uses, const struct use *want, size_t n)
{
	cr_assert_eq(uses->n, n, "%zu uses", uses->n);
	for (size_t i = 0; i < n; i++)
		cr_expect(uses->list[i].file == want[i].file && uses->list[i].off == want[i].off &&
		                  uses->list[i].len == want[i].len,
		          "use %zu: %llu+%llu of %llu", i, (unsigned long long)uses->list[i].off,
		          (unsigned long long)uses->list[i].len,
		          (unsigned long long)uses->list[i].file);
}

#define EXPECT_USES(uses, ...)                                              \
	do {                                                                \
		static const struct use want_[] = { __VA_ARGS__ };          \
		expect_uses(uses, want_, sizeof(want_) / sizeof(want_[0])); \
	} while (0)

Test(uses, what_follows_the_last_one_lengthens_it)
{
	struct uses uses = USES_INIT(100);

	cr_assert_eq(uses_add(&uses, 7, 0, 10), 0);
	cr_assert_eq(uses_add(&uses, 7, 10, 20), 0);
	cr_assert_eq(uses_add(&uses, 8, 20, 30), 0);
	cr_assert_eq(uses_add(&uses, 7, 20, 30), 0);
	cr_assert_eq(uses_add(&uses, 7, 31, 32), 0);
	cr_assert_eq(uses_add(&uses, 7, 5, 5), 0);
	EXPECT_USES(&uses, { 7, 0, 20 }, { 8, 20, 10 }, { 7, 20, 10 }, { 7, 31, 1 });
	uses_release(&uses);
}

Test(uses, only_what_is_new_is_added)
{
	struct uses uses = USES_INIT(100);

	cr_assert_eq(uses_add(&uses, 1, 10, 20), 0);
	cr_assert_eq(uses_add(&uses, 1, 30, 40), 0);
	cr_assert_eq(uses_add(&uses, 1, 12, 18), 0);
	cr_assert_eq(uses_add(&uses, 1, 0, 50), 0);
	cr_assert_eq(uses_add(&uses, 1, 0, 51), 0);
	EXPECT_USES(&uses, { 1, 10, 10 }, { 1, 30, 10 }, { 1, 0, 10 }, { 1, 20, 10 },
	            { 1, 40, 11 });
	uses_release(&uses);
}

Test(uses, opens_count_once)
{
	struct uses uses = USES_INIT(100);

	cr_assert_eq(uses_add_open(&uses, 1, false), 0);
	cr_assert_eq(uses_add_open(&uses, 1, false), 0);
	cr_assert_eq(uses_add(&uses, 1, 0, 5), 0);
	cr_assert_eq(uses_add_open(&uses, 1, true), 0);
	cr_assert_eq(uses_add_open(&uses, 1, true), 0);
	cr_assert_eq(uses_add_open(&uses, 1, false), 0);
	cr_assert_eq(uses_add(&uses, 1, 5, 9), 0);
	EXPECT_USES(&uses, { 1, 0, 0 }, { 1, 0, 5 }, { 1, 0, 0 });
	cr_expect(uses_find(&uses, 1)->unknown);
	cr_expect_null(uses_find(&uses, 2));
	uses_release(&uses);
}

Test(uses, are_bounded)
{
	struct uses uses = USES_INIT(2);

	cr_assert_eq(uses_add(&uses, 1, 0, 5), 0);
	cr_assert_eq(uses_add_open(&uses, 2, false), 0);
	cr_expect_eq(uses_add(&uses, 3, 0, 5), -ENOSPC);
	cr_expect_eq(uses_add_open(&uses, 4, true), -ENOSPC);
	cr_expect_eq(uses_append(&uses, &(struct use){ .file = 5, .len = 1 }), -ENOSPC);
	cr_expect_eq(uses.n, 2);
	uses_release(&uses);
}

/* Against arrays of flags: the list has each byte once, at its first use. */
Test(uses, behave_like_arrays_of_bytes)
{
	enum { FILES = 3, SPACE = 128, ADDS = 60 };

	srandom(2);
	for (int round = 0; round < 100; round++) {
		struct uses uses = USES_INIT(1000);
		bool model[FILES][SPACE] = { { false } };
		bool seen[FILES][SPACE] = { { false } };
		size_t bytes = 0;
		size_t listed = 0;

		for (int i = 0; i < ADDS; i++) {
			uint64_t file = (uint64_t)random() % FILES;
			uint64_t off = (uint64_t)random() % SPACE;
			uint64_t end = off + (uint64_t)random() % (SPACE - off + 1);

			cr_assert_eq(uses_add(&uses, file, off, end), 0);
			for (uint64_t k = off; k < end; k++) {
				bytes += !model[file][k];
				model[file][k] = true;
			}
		}
		for (size_t i = 0; i < uses.n; i++) {
			for (uint64_t k = 0; k < uses.list[i].len; k++) {
				bool *flag = &seen[uses.list[i].file][uses.list[i].off + k];

				cr_assert_not(*flag);
				*flag = true;
				listed++;
			}
		}
		cr_assert_eq(listed, bytes);
		uses_release(&uses);
	}
}
