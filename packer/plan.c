/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "tree.h"

/* The extension of @name, with its dot; "" when there is none, also for ".name". */
static const char *extension(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name ? dot : "";
}

static int compare_classes(uint32_t a, uint32_t b)
{
	int more = __builtin_popcount(b) - __builtin_popcount(a);

	if (more != 0)
		return more;
	return a < b ? -1 : a > b;
}

static int compare(const void *x, const void *y)
{
	const struct new_content *a = *(struct new_content *const *)x;
	const struct new_content *b = *(struct new_content *const *)y;
	int order = compare_classes(a->platforms, b->platforms);

	if (order == 0)
		order = b->small - a->small;
	if (order == 0)
		order = strcmp(extension(a->file->name), extension(b->file->name));
	if (order == 0)
		order = tree_path_cmp(a->file, b->file);
	if (order == 0)
		order = (int)a->file->rank - (int)b->file->rank;
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

bool plan_cuts_after(const struct digest *digest, uint64_t size, uint32_t group_target)
{
	/* fraction / 2^64 < size / target, without rounding. */
	return (unsigned __int128)fraction(digest) * group_target < (unsigned __int128)size << 64;
}

/* Whether content @next can be in one group with its predecessor of @platforms. */
static bool same_kind(const struct new_content *next, uint32_t platforms)
{
	return next->small && next->platforms == platforms;
}

void plan_order(struct new_content **list, size_t n, uint32_t group_target)
{
	uint64_t group_max = (uint64_t)group_target * 4;
	uint64_t used = 0;

	if (n > 1)
		qsort(list, n, sizeof(struct new_content *), compare);
	for (size_t i = 0; i < n && list; i++) {
		struct new_content *c = list[i];

		if (!c->small)
			continue;
		used += c->size;
		c->ends_group = i + 1 == n || !same_kind(list[i + 1], c->platforms) ||
		                used + list[i + 1]->size > group_max ||
		                plan_cuts_after(&c->digest, c->size, group_target);
		if (c->ends_group)
			used = 0;
	}
}
