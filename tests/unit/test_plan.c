/* SPDX-License-Identifier: Apache-2.0 */
/* plan: the order of contents, and groups that one more file hardly disturbs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "prng.h"
#include "tree.h"

enum { N = 3000, DIRS = 20, GROUP_TARGET = 64 << 10 };

/* Contents with everything that a plan looks at. */
struct fixture {
	struct new_content content[N + 1];
	struct tree_node root, dir[DIRS], file[N + 1];
	char dir_name[DIRS][8], name[N + 1][32];
	struct new_content *list[N + 1];
};

static void add(struct fixture *f, size_t i, uint64_t size, struct prng *prng)
{
	static const char *const extensions[] = { "png", "ogg", "xml", "b3d" };

	f->file[i] = (struct tree_node){
		.parent = &f->dir[prng_below(prng, DIRS)],
		.name = f->name[i],
	};
	(void)snprintf(f->name[i], sizeof(f->name[i]), "f%05zu.%s", i,
	               extensions[prng_below(prng, 4)]);
	f->content[i] = (struct new_content){
		.small = true,
		.platforms = 1,
		.size = size,
		.file = &f->file[i],
	};
	for (size_t k = 0; k < DIGEST_SIZE; k++)
		f->content[i].digest.bytes[k] = (uint8_t)prng_next(prng);
	f->list[i] = &f->content[i];
}

static struct fixture *make_fixture(size_t n, uint64_t seed)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct prng prng = PRNG_INIT(seed);

	cr_assert_not_null(f);
	for (size_t i = 0; i < DIRS; i++) {
		(void)snprintf(f->dir_name[i], sizeof(f->dir_name[i]), "d%zu", i);
		f->dir[i] = (struct tree_node){ .parent = &f->root, .name = f->dir_name[i] };
	}
	for (size_t i = 0; i < n; i++)
		add(f, i, 1 + prng_below(&prng, 20000), &prng);
	return f;
}

/* A number for each group that depends on its members and their order. Returns how many. */
static size_t group_ids(const struct fixture *f, size_t n, uint64_t *ids)
{
	uint64_t id = 0;
	size_t n_groups = 0;

	for (size_t i = 0; i < n; i++) {
		id = (id + digest_key(&f->list[i]->digest)) * 0x9e3779b97f4a7c15u;
		if (!f->list[i]->ends_group)
			continue;
		ids[n_groups++] = id;
		id = 0;
	}
	return n_groups;
}

Test(plan, puts_more_platforms_first_then_small_then_extension_then_path)
{
	struct tree_node root = { .name = "" };
	struct tree_node a = { .parent = &root, .name = "a" };
	struct tree_node b = { .parent = &root, .name = "b" };
	struct tree_node c = { .parent = &root, .name = "c" };
	struct tree_node z = { .parent = &root, .name = "z" };
	struct tree_node file[7] = {
		{ .parent = &z, .name = "a.b3d" },      { .parent = &a, .name = "b.png" },
		{ .parent = &c, .name = "a.png" },      { .parent = &root, .name = ".hidden" },
		{ .parent = &b, .name = "big.b3d" },    { .parent = &root, .name = "one.b3d" },
		{ .parent = &root, .name = "two.b3d" },
	};
	/* In the order that is wanted. */
	static const size_t wanted[] = { 3, 0, 1, 2, 4, 5, 6 };
	struct new_content content[7];
	struct new_content *list[7];

	for (size_t i = 0; i < 7; i++) {
		content[i] = (struct new_content){ .file = &file[i], .size = 10, .small = i != 4 };
		content[i].platforms =
			i < 5 ? 3 : (uint32_t)i - 4; /* the last two: one platform each */
		list[6 - i] = &content[i];
	}
	plan_order(list, 7, GROUP_TARGET);
	for (size_t i = 0; i < 7; i++)
		cr_expect_eq(list[i], &content[wanted[i]], "place %zu has '%s'", i,
		             list[i]->file->name);
	cr_expect(content[2].ends_group, "no group goes on into large contents");
	cr_expect(content[5].ends_group, "no group goes on into another class");
}

Test(plan, does_not_depend_on_the_order_of_its_input)
{
	CLEANUP(free) struct fixture *a = make_fixture(N, 1);
	CLEANUP(free) struct fixture *b = make_fixture(N, 1);
	CLEANUP(free) uint64_t *ids_a = calloc(N, sizeof(*ids_a));
	CLEANUP(free) uint64_t *ids_b = calloc(N, sizeof(*ids_b));
	struct prng prng = PRNG_INIT(2);
	size_t n;

	for (size_t i = N; i-- > 1;) {
		size_t k = prng_below(&prng, i + 1);
		struct new_content *swap = b->list[i];

		b->list[i] = b->list[k];
		b->list[k] = swap;
	}
	plan_order(a->list, N, GROUP_TARGET);
	plan_order(b->list, N, GROUP_TARGET);
	n = group_ids(a, N, ids_a);
	cr_assert_eq(group_ids(b, N, ids_b), n);
	cr_expect_arr_eq(ids_a, ids_b, n * sizeof(*ids_a));
}

Test(plan, groups_are_near_their_target_and_never_over_four_times_it)
{
	CLEANUP(free) struct fixture *f = make_fixture(N, 3);
	uint64_t bytes = 0, total = 0, n = 0;

	plan_order(f->list, N, GROUP_TARGET);
	for (size_t i = 0; i < N; i++) {
		bytes += f->list[i]->size;
		cr_assert_leq(bytes, (uint64_t)4 * GROUP_TARGET);
		if (!f->list[i]->ends_group)
			continue;
		n++;
		total += bytes;
		bytes = 0;
	}
	cr_expect(f->list[N - 1]->ends_group);
	cr_expect(total / n > GROUP_TARGET / 2 && total / n < GROUP_TARGET * 3 / 2, "mean is %llu",
	          (unsigned long long)(total / n));
}

Test(plan, one_more_content_changes_few_groups)
{
	CLEANUP(free) uint64_t *before = calloc(N + 1, sizeof(*before));
	CLEANUP(free) uint64_t *after = calloc(N + 1, sizeof(*after));

	for (uint64_t round = 0; round < 20; round++) {
		CLEANUP(free) struct fixture *a = make_fixture(N, 4);
		CLEANUP(free) struct fixture *b = make_fixture(N, 4);
		struct prng prng = PRNG_INIT(100 + round);
		size_t n_before, n_after, n_gone = 0;

		add(b, N, 5000, &prng);
		plan_order(a->list, N, GROUP_TARGET);
		plan_order(b->list, N + 1, GROUP_TARGET);
		n_before = group_ids(a, N, before);
		n_after = group_ids(b, N + 1, after);
		for (size_t i = 0; i < n_before; i++) {
			size_t k = 0;

			while (k < n_after && after[k] != before[i])
				k++;
			n_gone += k == n_after;
		}
		cr_expect(n_gone <= 6, "%zu of %zu groups are gone", n_gone, n_before);
	}
}

Test(plan, cuts_after_a_content_in_proportion_to_its_size)
{
	const struct digest low = { .bytes = { 0x3f, 0xff } };  /* just below a quarter */
	const struct digest high = { .bytes = { 0x40, 0x00 } }; /* a quarter */

	cr_expect(plan_cuts_after(&low, 16 << 10, 64 << 10));
	cr_expect_not(plan_cuts_after(&high, 16 << 10, 64 << 10));
	cr_expect(plan_cuts_after(&high, (16 << 10) + 1, 64 << 10));
}
