/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

enum { NORMALISATION = 4 };

/* The extension of @name, with its dot; "" when there is none, also for ".name". */
static const char *extension(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name ? dot : "";
}

int plan_compare_files(const struct tree_node *a, const struct tree_node *b)
{
	int order = strcmp(extension(a->name), extension(b->name));

	if (order == 0)
		order = tree_path_cmp(a, b);
	return order != 0 ? order : (int)a->rank - (int)b->rank;
}

static int compare_classes(uint32_t a, uint32_t b)
{
	int more = __builtin_popcount(b) - __builtin_popcount(a);

	if (more != 0)
		return more;
	return a < b ? -1 : a > b;
}

/* By first use; what no trace has comes last. */
static int compare_ranks(uint32_t a, uint32_t b)
{
	if (a == 0 || b == 0)
		return (a == 0) - (b == 0);
	return a < b ? -1 : a > b;
}

static int compare(const void *x, const void *y)
{
	const struct segment *a = x;
	const struct segment *b = y;
	const struct new_content *ca = a->content;
	const struct new_content *cb = b->content;
	int order = compare_classes(ca->platforms, cb->platforms);

	if (order == 0)
		order = compare_ranks(ca->rank, cb->rank);
	if (order == 0)
		order = (int)b->small - (int)a->small;
	if (order == 0)
		order = plan_compare_files(ca->file, cb->file);
	if (order == 0)
		order = a->off < b->off ? -1 : a->off > b->off;
	return order;
}

/* The first 8 bytes as a number, most significant first: format.md reads them so. */
static uint64_t fraction(const struct digest *digest)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 8; i++)
		value = value << 8 | digest->bytes[i];
	return value;
}

bool plan_cuts_after(const struct digest *digest, uint64_t size, uint64_t used,
                     uint32_t group_target)
{
	/* Few groups end early: what compresses well together stays together. */
	uint64_t weight = used < group_target ? size / NORMALISATION : size;

	/* fraction / 2^64 < weight / target, without rounding. */
	return (unsigned __int128)fraction(digest) * group_target < (unsigned __int128)weight << 64;
}

/* Whether @next can be in one group with @s, which is small. */
static bool can_follow(const struct segment *s, const struct segment *next)
{
	return next->small && next->content->platforms == s->content->platforms &&
	       (next->content->rank > 0) == (s->content->rank > 0);
}

static void mark_groups(struct plan *plan, uint32_t group_target)
{
	uint64_t group_max = (uint64_t)group_target * 4;
	uint64_t used = 0;

	for (size_t i = 0; i < plan->n; i++) {
		struct segment *s = &plan->list[i];

		if (!s->small)
			continue;
		used += s->len;
		s->ends_group = i + 1 == plan->n || !can_follow(s, s + 1) ||
		                used + s[1].len > group_max ||
		                plan_cuts_after(&s->content->digest, s->len, used, group_target);
		if (s->ends_group)
			used = 0;
	}
}

/* Add [@off, @end) of @c at the end of the list, if there is one; counts in any case. */
static void add_segment(struct plan *plan, struct new_content *c, uint64_t off, uint64_t end,
                        uint64_t target)
{
	if (off == end)
		return;
	if (plan->list)
		plan->list[plan->n] = (struct segment){
			.content = c,
			.off = off,
			.len = end - off,
			.small = end - off < target,
		};
	plan->n++;
	plan->bytes += end - off;
}

/* What is between the runs that @c has of its base, or all of it. */
static void add_content(struct plan *plan, struct new_content *c, uint64_t target)
{
	uint64_t off = 0;

	if (c->reused)
		return;
	for (size_t i = 0; c->base && i < c->base->n_matches; i++) {
		const struct match *m = &c->base->matches[i];

		add_segment(plan, c, off, m->off, target);
		off = m->off + m->len;
	}
	add_segment(plan, c, off, content_size(c), target);
}

static void add_all(struct plan *plan, const struct contents *contents, uint64_t target)
{
	plan->n = 0;
	plan->bytes = 0;
	for (size_t i = 0; i < contents->n; i++)
		add_content(plan, &contents->list[i], target);
}

int plan_make(const struct contents *contents, uint64_t target, uint32_t group_target,
              struct plan *ret)
{
	struct plan plan = PLAN_INIT;

	/* First only to count: the list is as long as it has to be. */
	add_all(&plan, contents, target);
	plan.list = calloc(plan.n + 1, sizeof(*plan.list));
	if (!plan.list)
		return -ENOMEM;
	add_all(&plan, contents, target);
	if (plan.n > 1)
		qsort(plan.list, plan.n, sizeof(*plan.list), compare);
	mark_groups(&plan, group_target);
	*ret = plan;
	return 0;
}

void plan_release(struct plan *plan)
{
	free(plan->list);
	*plan = PLAN_INIT;
}
