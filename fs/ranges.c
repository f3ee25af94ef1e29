/* SPDX-License-Identifier: Apache-2.0 */
#include "ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ranges_release(struct ranges *set)
{
	free(set->range);
	*set = RANGES_INIT;
}

/* The first range whose end is not before @pos: the only one that could touch it from the left. */
static size_t find(const struct ranges *set, uint64_t pos)
{
	size_t lo = 0;
	size_t hi = set->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (set->range[mid].end < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int make_room(struct ranges *set)
{
	size_t cap = set->cap > 0 ? set->cap * 2 : 4;
	struct range *range;

	if (set->n < set->cap)
		return 0;
	range = reallocarray(set->range, cap, sizeof(*range));
	if (!range)
		return -ENOMEM;
	set->range = range;
	set->cap = cap;
	return 0;
}

int ranges_add(struct ranges *set, uint64_t start, uint64_t end)
{
	size_t first = find(set, start);
	size_t last = first; /* one past the ranges that [start, end) touches */
	int r;

	if (start >= end)
		return 0;
	for (; last < set->n && set->range[last].start <= end; last++) {
		if (set->range[last].start < start)
			start = set->range[last].start;
		if (set->range[last].end > end)
			end = set->range[last].end;
	}
	if (last == first) {
		r = make_room(set);
		if (r < 0)
			return r;
		memmove(&set->range[first + 1], &set->range[first],
		        (set->n - first) * sizeof(set->range[0]));
		set->n++;
	} else {
		memmove(&set->range[first + 1], &set->range[last],
		        (set->n - last) * sizeof(set->range[0]));
		set->n -= last - first - 1;
	}
	set->range[first] = (struct range){ .start = start, .end = end };
	return 0;
}

int ranges_remove(struct ranges *set, uint64_t start, uint64_t end)
{
	size_t first = find(set, start + 1); /* the first range that ends behind @start */
	size_t last = first;                 /* one past those that begin before @end */
	struct range left, right;
	size_t n_kept;
	int r;

	while (last < set->n && set->range[last].start < end)
		last++;
	if (start >= end || last == first)
		return 0;
	left = (struct range){ .start = set->range[first].start, .end = start };
	right = (struct range){ .start = end, .end = set->range[last - 1].end };
	n_kept = (size_t)(left.start < left.end) + (size_t)(right.start < right.end);
	/* Only one that is cut in the middle becomes more. */
	r = n_kept > last - first ? make_room(set) : 0;
	if (r < 0)
		return r;
	memmove(&set->range[first + n_kept], &set->range[last],
	        (set->n - last) * sizeof(set->range[0]));
	set->n = set->n - (last - first) + n_kept;
	if (left.start < left.end)
		set->range[first++] = left;
	if (right.start < right.end)
		set->range[first] = right;
	return 0;
}

bool ranges_gap(const struct ranges *set, uint64_t start, uint64_t end, struct range *ret)
{
	size_t i = find(set, start + 1);

	if (i < set->n && set->range[i].start <= start)
		start = set->range[i++].end;
	if (i < set->n && set->range[i].start < end)
		end = set->range[i].start;
	*ret = (struct range){ .start = start, .end = end };
	return start < end;
}

bool ranges_cover(const struct ranges *set, uint64_t start, uint64_t end)
{
	size_t i;

	if (start >= end)
		return true;
	i = find(set, start + 1);
	return i < set->n && set->range[i].start <= start && set->range[i].end >= end;
}

bool ranges_touch(const struct ranges *set, uint64_t start, uint64_t end)
{
	size_t i = find(set, start + 1);

	return start < end && i < set->n && set->range[i].start < end;
}

uint64_t ranges_bytes(const struct ranges *set)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < set->n; i++)
		bytes += set->range[i].end - set->range[i].start;
	return bytes;
}
