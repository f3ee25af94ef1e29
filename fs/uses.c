/* SPDX-License-Identifier: Apache-2.0 */
#include "uses.h"

#include <errno.h>
#include <stdlib.h>

static struct used_file *file_of(struct table_node *node)
{
	return TABLE_ENTRY(node, struct used_file, node);
}

void uses_release(struct uses *uses)
{
	struct table_node *n;

	while ((n = table_walk(&uses->files, NULL)) != NULL) {
		table_remove(&uses->files, n);
		ranges_release(&file_of(n)->ranges);
		free(file_of(n)->path);
		free(file_of(n));
	}
	table_release(&uses->files);
	free(uses->list);
	*uses = USES_INIT(uses->max);
}

struct used_file *uses_find(const struct uses *uses, uint64_t file)
{
	struct table_node *n = table_first(&uses->files, file);

	return n ? file_of(n) : NULL;
}

static int find_or_add(struct uses *uses, uint64_t file, struct used_file **ret)
{
	struct used_file *f = uses_find(uses, file);

	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f || table_insert(&uses->files, &f->node, file) < 0) {
			free(f);
			return -ENOMEM;
		}
	}
	*ret = f;
	return 0;
}

int uses_append(struct uses *uses, const struct use *use)
{
	if (uses->n == uses->max)
		return -ENOSPC;
	if (!uses->list || uses->n == uses->cap) {
		size_t cap = uses->cap > 0 ? uses->cap * 2 : 256;
		struct use *list = reallocarray(uses->list, cap, sizeof(*list));

		if (!list)
			return -ENOMEM;
		uses->list = list;
		uses->cap = cap;
	}
	uses->list[uses->n++] = *use;
	return 0;
}

/* Add [@off, @end), of which nothing is there. */
static int add_fresh(struct uses *uses, uint64_t file, uint64_t off, uint64_t end)
{
	struct use *last = uses->n > 0 ? &uses->list[uses->n - 1] : NULL;

	if (last && last->file == file && last->len > 0 && last->off + last->len == off) {
		last->len += end - off;
		return 0;
	}
	return uses_append(uses, &(struct use){ .file = file, .off = off, .len = end - off });
}

/* The first range that ends behind @pos. */
static size_t first_behind(const struct ranges *set, uint64_t pos)
{
	size_t lo = 0;
	size_t hi = set->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (set->range[mid].end <= pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int uses_add(struct uses *uses, uint64_t file, uint64_t off, uint64_t end)
{
	struct used_file *f;
	int r = off < end ? find_or_add(uses, file, &f) : 0;
	uint64_t pos = off;

	if (r < 0 || off >= end || f->unknown)
		return r;
	for (size_t i = first_behind(&f->ranges, off); r == 0 && pos < end; i++) {
		bool gap_is_last = i >= f->ranges.n || f->ranges.range[i].start >= end;
		uint64_t gap_end = gap_is_last ? end : f->ranges.range[i].start;

		if (pos < gap_end)
			r = add_fresh(uses, file, pos, gap_end);
		pos = gap_is_last ? end : f->ranges.range[i].end;
	}
	return r < 0 ? r : ranges_add(&f->ranges, off, end);
}

int uses_add_open(struct uses *uses, uint64_t file, bool unknown)
{
	bool known = uses_find(uses, file) != NULL;
	struct used_file *f;
	int r = find_or_add(uses, file, &f);

	if (r < 0 || (known && (!unknown || f->unknown)))
		return r;
	f->unknown = unknown;
	return uses_append(uses, &(struct use){ .file = file });
}
