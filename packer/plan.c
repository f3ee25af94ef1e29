/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "chunker.h"

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

	return order != 0 ? order : tree_file_cmp(a, b);
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
		order = compare_ranks(a->rank, b->rank);
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
	       (next->rank > 0) == (s->rank > 0);
}

static void mark_groups(struct plan *plan, uint32_t group_target)
{
	uint64_t group_max = chunker_max(group_target);
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

/* What goes through the contents, and adds what has to be packed of each. */
struct adding {
	struct plan *plan;
	uint64_t target;
	const struct contents *contents;
	size_t part; /* the first of this content, or of those behind it, that is not done */
};

/* The part of @c that comes next, or NULL. */
static const struct first_use *next_part(const struct adding *a, const struct new_content *c)
{
	const struct contents *all = a->contents;

	if (a->part == all->n_parts || all->parts[a->part].content != c)
		return NULL;
	return &all->parts[a->part];
}

/* Add [@off, @end) of @c at the end of the list; without a list, count it. */
static void add_segment(struct adding *a, struct new_content *c, uint64_t off, uint64_t end,
                        uint32_t rank)
{
	struct plan *plan = a->plan;

	if (plan->list)
		plan->list[plan->n] = (struct segment){
			.content = c,
			.off = off,
			.len = end - off,
			.rank = rank,
			.small = end - off < a->target,
		};
	plan->n++;
	plan->bytes += end - off;
}

/* Add [@off, @end) of @c, if there is any; with @split, a trace has only parts of it. */
static void add_gap(struct adding *a, struct new_content *c, uint64_t off, uint64_t end, bool split)
{
	while (off < end) {
		const struct first_use *part = next_part(a, c);
		uint32_t rank = split ? 0 : c->rank;
		uint64_t stop = end;

		if (part && part->end <= off) {
			a->part++;
			continue;
		}
		if (part && part->off <= off)
			rank = part->rank;
		if (part)
			stop = part->off <= off ? part->end : part->off;
		if (stop > end)
			stop = end;
		add_segment(a, c, off, stop, rank);
		off = stop;
	}
}

/* What is between the runs that @c has of its base, or all of it. */
static void add_content(struct adding *a, struct new_content *c)
{
	bool split = next_part(a, c) != NULL;
	uint64_t off = 0;

	if (!c->reused) {
		for (size_t i = 0; c->base && i < c->base->n_matches; i++) {
			const struct match *m = &c->base->matches[i];

			add_gap(a, c, off, m->off, split);
			off = m->off + m->len;
		}
		add_gap(a, c, off, content_size(c), split);
	}
	while (next_part(a, c))
		a->part++;
}

static void add_all(struct plan *plan, const struct contents *contents, uint64_t target)
{
	struct adding a = { .plan = plan, .target = target, .contents = contents };

	plan->n = 0;
	plan->bytes = 0;
	for (size_t i = 0; i < contents->n; i++)
		add_content(&a, &contents->list[i]);
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
