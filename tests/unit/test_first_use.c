/* SPDX-License-Identifier: Apache-2.0 */
/* first_use, plan: what a trace has comes first, in parts if large; contents: equal ones. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "contents.h"
#include "plan.h"

enum { TARGET = 1000, N_FILES = 4 };

/* Files a, b, c and d in a root, each with a content; a and b are large. */
struct fixture {
	struct tree_node root, file[N_FILES];
	struct contents contents;
	struct first_uses uses;
};

static void setup(struct fixture *f)
{
	static const char *const names[N_FILES] = { "a", "b", "c", "d" };
	static const uint64_t sizes[N_FILES] = { 10500, 8000, 300, 200 };

	memset(f, 0, sizeof(*f));
	f->contents.list = calloc(N_FILES, sizeof(*f->contents.list));
	cr_assert_not_null(f->contents.list);
	f->contents.n = N_FILES;
	for (size_t i = 0; i < N_FILES; i++) {
		struct new_content *c = &f->contents.list[i];

		f->file[i] = (struct tree_node){ .parent = &f->root, .name = names[i] };
		f->file[i].size = sizes[i];
		f->file[i].content = c;
		*c = (struct new_content){
			.file = &f->file[i],
			.platforms = 1,
			.has_digest = true,
		};
		/* No group ends after it by itself. */
		memset(c->digest.bytes, 0xff, sizeof(c->digest.bytes));
	}
}

static void release_cleanup(struct fixture *f)
{
	contents_release(&f->contents);
	first_uses_release(&f->uses);
}

static void use(struct fixture *f, char file, uint64_t off, uint64_t end, uint32_t rank)
{
	struct first_uses *uses = &f->uses;

	uses->list = reallocarray(uses->list, uses->n + 1, sizeof(*uses->list));
	cr_assert_not_null(uses->list);
	uses->list[uses->n++] = (struct first_use){ { &f->file[file - 'a'] }, off, end, rank };
}

struct wanted {
	uint64_t off, end;
	char file;
	bool small;
};

static void expect_plan(struct fixture *f, const struct wanted *wanted, size_t n)
{
	CLEANUP(plan_release) struct plan plan = PLAN_INIT;
	uint64_t bytes = 0;

	first_uses_apply(&f->uses, &f->contents);
	cr_assert_eq(plan_make(&f->contents, TARGET, TARGET, &plan), 0);
	cr_assert_eq(plan.n, n, "%zu segments", plan.n);
	for (size_t i = 0; i < n; i++) {
		const struct segment *s = &plan.list[i];

		cr_expect(s->content->file->name[0] == wanted[i].file && s->off == wanted[i].off &&
		                  s->off + s->len == wanted[i].end && s->small == wanted[i].small,
		          "segment %zu is %s [%llu, +%llu)", i, s->content->file->name,
		          (unsigned long long)s->off, (unsigned long long)s->len);
		bytes += s->len;
	}
	cr_expect_eq(plan.bytes, bytes);
}

#define EXPECT_PLAN(f, ...)                                               \
	do {                                                              \
		static const struct wanted wanted[] = { __VA_ARGS__ };    \
		expect_plan(f, wanted, sizeof(wanted) / sizeof(*wanted)); \
	} while (0)

Test(first_use, without_a_trace_small_ones_come_first)
{
	CLEANUP(release) struct fixture f;

	setup(&f);
	EXPECT_PLAN(&f, { 0, 300, 'c', true }, { 0, 200, 'd', true }, { 0, 10500, 'a', false },
	            { 0, 8000, 'b', false });
}

Test(first_use, ranks_whole_contents_whatever_their_size)
{
	CLEANUP(release) struct fixture f;

	setup(&f);
	use(&f, 'd', 0, 200, 7);
	use(&f, 'b', 0, 8000, 3);
	use(&f, 'd', 0, 200, 1);
	use(&f, 'a', 0, 10500, 2);
	EXPECT_PLAN(&f, { 0, 200, 'd', true }, { 0, 10500, 'a', false }, { 0, 8000, 'b', false },
	            { 0, 300, 'c', true });
}

Test(first_use, parts_come_at_their_own_use_and_the_rest_where_it_was)
{
	CLEANUP(release) struct fixture f;

	setup(&f);
	use(&f, 'a', 10000, 10500, 1);
	use(&f, 'd', 0, 200, 2);
	use(&f, 'a', 2000, 4000, 5);
	use(&f, 'a', 4000, 5000, 4); /* touches the one before */
	use(&f, 'b', 0, 1000, 6);
	EXPECT_PLAN(&f, { 10000, 10500, 'a', true }, { 0, 200, 'd', true },
	            { 2000, 5000, 'a', false }, { 0, 1000, 'b', false }, { 0, 300, 'c', true },
	            { 0, 2000, 'a', false }, { 5000, 10000, 'a', false },
	            { 1000, 8000, 'b', false });
}

Test(first_use, parts_of_equal_files_are_parts_of_one_content)
{
	CLEANUP(release) struct fixture f;

	setup(&f);
	/* File c is as file b. */
	f.file[2].size = f.file[1].size;
	f.file[2].content = &f.contents.list[1];
	f.contents.list[2] = f.contents.list[3];
	f.file[3].content = &f.contents.list[2];
	f.contents.n = 3;
	use(&f, 'b', 3000, 5000, 2);
	use(&f, 'c', 4000, 6000, 1);
	EXPECT_PLAN(&f, { 3000, 6000, 'b', false }, { 0, 200, 'd', true }, { 0, 10500, 'a', false },
	            { 0, 3000, 'b', false }, { 6000, 8000, 'b', false });
}

Test(first_use, splits_what_a_base_leaves)
{
	CLEANUP(release) struct fixture f;
	struct base *base = calloc(1, sizeof(*base));

	setup(&f);
	cr_assert_not_null(base);
	f.contents.list[0].base = base;
	f.contents.list[1].reused = true;
	base->n_matches = 2;
	base->matches = calloc(2, sizeof(*base->matches));
	cr_assert_not_null(base->matches);
	base->matches[0] = (struct match){ .off = 2500, .len = 1000 };
	base->matches[1] = (struct match){ .off = 7000, .len = 500 };
	use(&f, 'a', 2000, 5000, 1);
	use(&f, 'a', 7000, 8000, 2);
	use(&f, 'b', 0, 1000, 3);
	use(&f, 'c', 0, 300, 4);
	EXPECT_PLAN(&f, { 2000, 2500, 'a', true }, { 3500, 5000, 'a', false },
	            { 7500, 8000, 'a', true }, { 0, 300, 'c', true }, { 0, 200, 'd', true },
	            { 0, 2000, 'a', false }, { 5000, 7000, 'a', false },
	            { 8000, 10500, 'a', false });
}

Test(first_use, no_group_goes_on_behind_what_the_trace_has)
{
	CLEANUP(release) struct fixture f;
	CLEANUP(plan_release) struct plan plan = PLAN_INIT;

	setup(&f);
	use(&f, 'd', 0, 200, 1);
	first_uses_apply(&f.uses, &f.contents);
	cr_assert_eq(plan_make(&f.contents, TARGET, TARGET, &plan), 0);
	cr_expect(plan.list[0].content->file == &f.file[3] && plan.list[0].ends_group);
}

Test(contents, that_were_not_hashed_can_be_equal_to_one_that_was)
{
	CLEANUP(release) struct fixture f;
	struct new_content *list;

	setup(&f);
	/* In the order that collecting leaves: those without a digest come first. */
	list = f.contents.list;
	f.file[0].size = f.file[1].size;
	list[0].has_digest = false;
	f.contents.n = 2;
	cr_assert_eq(contents_settle(&f.contents), 0);
	cr_expect_not(list[0].is_twin);
	cr_expect(list[1].is_twin && list[1].twin == &list[0]);
}
