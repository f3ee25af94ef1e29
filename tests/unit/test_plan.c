/* SPDX-License-Identifier: Apache-2.0 */
/* plan: what is packed, in which order, and groups that one more file hardly disturbs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "plan.h"
#include "prng.h"

enum { N = 3000, DIRS = 20, TARGET = 32 << 10, GROUP_TARGET = 64 << 10 };

/* Contents with everything that a plan looks at. */
struct fixture {
	struct new_content list[N + 1];
	struct tree_node root, dir[DIRS], file[N + 1];
	char dir_name[DIRS][8], name[N + 1][32];
};

static void add(struct fixture *f, size_t i, uint64_t size, struct prng *prng)
{
	static const char *const extensions[] = { "png", "ogg", "xml", "b3d" };

	f->file[i] = (struct tree_node){
		.parent = &f->dir[prng_below(prng, DIRS)],
		.name = f->name[i],
		.size = size,
	};
	(void)snprintf(f->name[i], sizeof(f->name[i]), "f%05zu.%s", i,
	               extensions[prng_below(prng, 4)]);
	f->list[i] = (struct new_content){ .platforms = 1, .file = &f->file[i] };
	for (size_t k = 0; k < DIGEST_SIZE; k++)
		f->list[i].digest.bytes[k] = (uint8_t)prng_next(prng);
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

static struct plan make_plan(struct new_content *list, size_t n)
{
	const struct contents contents = { .list = list, .n = n };
	struct plan plan;

	cr_assert_eq(plan_make(&contents, TARGET, GROUP_TARGET, &plan), 0);
	return plan;
}

/* A number for each group that depends on its members and their order. Returns how many. */
static size_t group_ids(const struct plan *plan, uint64_t *ids)
{
	uint64_t id = 0;
	size_t n_groups = 0;

	for (size_t i = 0; i < plan->n; i++) {
		id = (id + digest_key(&plan->list[i].content->digest)) * 0x9e3779b97f4a7c15u;
		if (!plan->list[i].ends_group)
			continue;
		ids[n_groups++] = id;
		id = 0;
	}
	return n_groups;
}

/* A content of a file in the root, for tests of a few. */
static struct new_content content_of(struct tree_node *file, uint64_t size)
{
	file->size = size;
	return (struct new_content){ .file = file, .platforms = 1 };
}

static void expect_segment(const struct plan *plan, size_t i, const struct new_content *content,
                           uint64_t off, uint64_t len)
{
	cr_assert_lt(i, plan->n);
	cr_expect_eq(plan->list[i].content, content, "segment %zu is of '%s'", i,
	             plan->list[i].content->file->name);
	cr_expect_eq(plan->list[i].off, off, "segment %zu is at %llu", i,
	             (unsigned long long)plan->list[i].off);
	cr_expect_eq(plan->list[i].len, len, "segment %zu has %llu bytes", i,
	             (unsigned long long)plan->list[i].len);
	cr_expect_eq(plan->list[i].small, len < TARGET);
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
	struct new_content list[7];
	CLEANUP(plan_release) struct plan plan = PLAN_INIT;

	for (size_t i = 0; i < 7; i++) {
		list[6 - i] = content_of(&file[i], i == 4 ? TARGET : 10);
		list[6 - i].platforms =
			i < 5 ? 3 : (uint32_t)i - 4; /* the last two: one platform each */
	}
	plan = make_plan(list, 7);
	cr_assert_eq(plan.n, 7);
	cr_expect_eq(plan.bytes, 60 + TARGET);
	for (size_t i = 0; i < 7; i++)
		expect_segment(&plan, i, &list[6 - wanted[i]], 0, wanted[i] == 4 ? TARGET : 10);
	cr_expect(plan.list[3].ends_group, "no group goes on into large contents");
	cr_expect_not(plan.list[4].ends_group, "a large segment is no group");
	cr_expect(plan.list[5].ends_group, "no group goes on into another class");
}

Test(plan, puts_what_a_trace_has_first_in_its_order)
{
	struct tree_node root = { .name = "" };
	struct tree_node file[5] = {
		{ .parent = &root, .name = "a.b3d" }, { .parent = &root, .name = "b.b3d" },
		{ .parent = &root, .name = "c.b3d" }, { .parent = &root, .name = "d.b3d" },
		{ .parent = &root, .name = "e.b3d" },
	};
	static const uint32_t ranks[] = { 0, 3, 1, 2, 1 };
	static const size_t wanted[] = { 4, 2, 3, 1, 0 };
	struct new_content list[5];
	CLEANUP(plan_release) struct plan plan = PLAN_INIT;

	for (size_t i = 0; i < 5; i++) {
		list[i] = content_of(&file[i], i == 3 ? TARGET : 10);
		list[i].rank = ranks[i];
		list[i].platforms = i == 4 ? 3 : 1;
		/* Nothing but the plan's rules ends a group. */
		memset(&list[i].digest, 0xff, sizeof(list[i].digest));
	}
	plan = make_plan(list, 5);
	cr_assert_eq(plan.n, 5);
	for (size_t i = 0; i < 5; i++)
		cr_expect_eq(plan.list[i].content, &list[wanted[i]], "place %zu has '%s'", i,
		             plan.list[i].content->file->name);
	cr_expect(plan.list[0].ends_group, "classes come before ranks");
	cr_expect(plan.list[3].ends_group, "no group goes on behind the trace");
	cr_expect(plan.list[4].ends_group);
}

Test(plan, has_the_gaps_between_the_matches_of_a_base)
{
	struct tree_node root = { .name = "" };
	struct tree_node file[4] = {
		{ .parent = &root, .name = "a" },
		{ .parent = &root, .name = "b" },
		{ .parent = &root, .name = "c" },
		{ .parent = &root, .name = "d" },
	};
	/* a: gaps at the ends and between; b: matched at the ends; c: matched whole; d: not. */
	struct match a[] = { { .off = 100, .len = 50 },
		             { .off = 150, .len = 10 },
		             { .off = 200, .len = 7 } };
	struct match b[] = { { .off = 0, .len = 9 }, { .off = 9 + TARGET, .len = 1 } };
	struct match c[] = { { .off = 0, .len = 500 } };
	struct base bases[] = {
		{ .matches = a, .n_matches = 3 },
		{ .matches = b, .n_matches = 2 },
		{ .matches = c, .n_matches = 1 },
		{ .matches = NULL },
	};
	static const uint64_t sizes[] = { 300, TARGET + 10, 500, 40 };
	struct new_content list[4];
	CLEANUP(plan_release) struct plan plan = PLAN_INIT;

	for (size_t i = 0; i < 4; i++) {
		list[i] = content_of(&file[i], sizes[i]);
		list[i].base = &bases[i];
	}
	plan = make_plan(list, 4);
	cr_assert_eq(plan.n, 5);
	cr_expect_eq(plan.bytes, 100 + 40 + 93 + 40 + TARGET);
	expect_segment(&plan, 0, &list[0], 0, 100);
	expect_segment(&plan, 1, &list[0], 160, 40);
	expect_segment(&plan, 2, &list[0], 207, 93);
	expect_segment(&plan, 3, &list[3], 0, 40);
	expect_segment(&plan, 4, &list[1], 9, TARGET);
}

Test(plan, has_nothing_of_contents_that_are_reused)
{
	struct tree_node root = { .name = "" };
	struct tree_node file[3] = {
		{ .parent = &root, .name = "a" },
		{ .parent = &root, .name = "b" },
		{ .parent = &root, .name = "c" },
	};
	struct new_content list[3];
	struct plan plan;

	for (size_t i = 0; i < 3; i++) {
		list[i] = content_of(&file[i], 10);
		list[i].reused = i != 1;
	}
	plan = make_plan(list, 3);
	cr_assert_eq(plan.n, 1);
	expect_segment(&plan, 0, &list[1], 0, 10);
	cr_expect(plan.list[0].ends_group, "the last group ends");
	plan_release(&plan);
	list[1].reused = true;
	plan = make_plan(list, 3);
	cr_expect(plan.n == 0 && plan.bytes == 0);
	plan_release(&plan);
	plan = make_plan(list, 0);
	cr_expect(plan.n == 0 && plan.bytes == 0);
	plan_release(&plan);
}

Test(plan, does_not_depend_on_the_order_of_its_input)
{
	CLEANUP(free) struct fixture *a = make_fixture(N, 1);
	CLEANUP(free) struct fixture *b = make_fixture(N, 1);
	CLEANUP(free) uint64_t *ids_a = calloc(N, sizeof(*ids_a));
	CLEANUP(free) uint64_t *ids_b = calloc(N, sizeof(*ids_b));
	CLEANUP(plan_release) struct plan plan_a = PLAN_INIT, plan_b = PLAN_INIT;
	struct prng prng = PRNG_INIT(2);
	size_t n;

	for (size_t i = N; i-- > 1;) {
		size_t k = prng_below(&prng, i + 1);
		struct new_content swap = b->list[i];

		b->list[i] = b->list[k];
		b->list[k] = swap;
	}
	plan_a = make_plan(a->list, N);
	plan_b = make_plan(b->list, N);
	n = group_ids(&plan_a, ids_a);
	cr_assert_eq(group_ids(&plan_b, ids_b), n);
	cr_expect_arr_eq(ids_a, ids_b, n * sizeof(*ids_a));
}

Test(plan, groups_are_near_their_target_and_never_over_four_times_it)
{
	CLEANUP(free) struct fixture *f = make_fixture(N, 3);
	CLEANUP(plan_release) struct plan plan = make_plan(f->list, N);
	uint64_t bytes = 0, total = 0, n = 0, n_short = 0;

	cr_assert_eq(plan.n, N);
	for (size_t i = 0; i < N; i++) {
		bytes += plan.list[i].len;
		cr_assert_leq(bytes, (uint64_t)4 * GROUP_TARGET);
		if (!plan.list[i].ends_group)
			continue;
		n++;
		n_short += bytes < GROUP_TARGET;
		total += bytes;
		bytes = 0;
	}
	cr_expect(plan.list[N - 1].ends_group);
	cr_expect_eq(total, plan.bytes);
	cr_expect(total / n > GROUP_TARGET && total / n < (uint64_t)2 * GROUP_TARGET,
	          "mean is %llu", (unsigned long long)(total / n));
	/* Without normalisation, half of them or more would be. */
	cr_expect(n_short < n * 2 / 5, "%llu of %llu are below the target",
	          (unsigned long long)n_short, (unsigned long long)n);
}

/* How many groups of @before are not in @after. */
static size_t count_gone(const struct plan *before, const struct plan *after)
{
	CLEANUP(free) uint64_t *a = calloc(before->n, sizeof(*a));
	CLEANUP(free) uint64_t *b = calloc(after->n, sizeof(*b));
	size_t n_a = group_ids(before, a), n_b = group_ids(after, b), n_gone = 0;

	for (size_t i = 0; i < n_a; i++) {
		size_t k = 0;

		while (k < n_b && b[k] != a[i])
			k++;
		n_gone += k == n_b;
	}
	return n_gone;
}

Test(plan, one_more_content_changes_few_groups)
{
	size_t total = 0;

	for (uint64_t round = 0; round < 20; round++) {
		CLEANUP(free) struct fixture *a = make_fixture(N, 4);
		CLEANUP(free) struct fixture *b = make_fixture(N, 4);
		CLEANUP(plan_release) struct plan before = PLAN_INIT, after = PLAN_INIT;
		struct prng prng = PRNG_INIT(100 + round);
		size_t n_gone;

		add(b, N, 5000, &prng);
		before = make_plan(a->list, N);
		after = make_plan(b->list, N + 1);
		n_gone = count_gone(&before, &after);
		total += n_gone;
		cr_expect(n_gone >= 1 && n_gone <= 20, "%zu groups are gone", n_gone);
	}
	cr_expect(total <= 120, "%zu groups are gone in 20 rounds", total);
}

Test(plan, cuts_after_a_content_in_proportion_to_its_size)
{
	const struct digest low = { .bytes = { 0x3f, 0xff } };  /* just below a quarter */
	const struct digest high = { .bytes = { 0x40, 0x00 } }; /* a quarter */
	const uint32_t target = 64 << 10;

	cr_expect(plan_cuts_after(&low, 16 << 10, target, target));
	cr_expect_not(plan_cuts_after(&high, 16 << 10, target, target));
	cr_expect(plan_cuts_after(&high, (16 << 10) + 1, target, target));
}

Test(plan, cuts_a_quarter_as_often_before_the_target)
{
	const struct digest low = { .bytes = { 0x3f, 0xff } };
	const struct digest high = { .bytes = { 0x40, 0x00 } };
	const uint32_t target = 64 << 10;

	cr_expect_not(plan_cuts_after(&low, 16 << 10, target - 1, target));
	cr_expect(plan_cuts_after(&low, 64 << 10, target - 1, target));
	cr_expect_not(plan_cuts_after(&high, 64 << 10, target - 1, target));
}
