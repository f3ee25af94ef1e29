/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses are joined twice: those of a file when the trace has been read, for only
 * then it is known which files have to be hashed, and those of a content
 * when equal files have been found.
 */
#include "first_use.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "contents.h"
#include "notes.h"
#include "trace.h"

void first_uses_release(struct first_uses *uses)
{
	free(uses->list);
	free(uses->split_sizes);
	*uses = FIRST_USES_INIT;
}

/* Of the file, or of the content: they stand in the same place. */
static uintptr_t key(const struct first_use *use)
{
	return (uintptr_t)use->file;
}

static int compare_uses(const void *a, const void *b)
{
	const struct first_use *x = a;
	const struct first_use *y = b;

	if (key(x) != key(y))
		return key(x) < key(y) ? -1 : 1;
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Join what touches of the @n uses of one file at @list, in order. Returns how many are left. */
static size_t join(struct first_use *list, size_t n)
{
	size_t joined = 0;

	for (size_t i = 0; i < n; i++) {
		struct first_use *last = joined > 0 ? &list[joined - 1] : NULL;

		if (!last || list[i].off > last->end) {
			list[joined++] = list[i];
			continue;
		}
		if (list[i].end > last->end)
			last->end = list[i].end;
		if (list[i].rank < last->rank)
			last->rank = list[i].rank;
	}
	return joined;
}

/* Sort the uses, and join those of each file or content. */
static void join_all(struct first_uses *uses)
{
	size_t n = 0;
	size_t end;

	if (uses->n > 1)
		qsort(uses->list, uses->n, sizeof(*uses->list), compare_uses);
	for (size_t i = 0; i < uses->n; i = end) {
		size_t joined;

		for (end = i + 1; end < uses->n && key(&uses->list[end]) == key(&uses->list[i]);
		     end++)
			;
		joined = join(&uses->list[i], end - i);
		memmove(&uses->list[n], &uses->list[i], joined * sizeof(*uses->list));
		n += joined;
	}
	uses->n = n;
}

/* What uses are added with. */
struct adding {
	struct first_uses *uses;
	const struct platform_tree *trees;
	unsigned n_trees;
	uint64_t target;
	uint32_t n_unknown; /* uses of no file */
};

/* Round [*@off, *@end) of @size bytes outward. What is not known to be a part is all. */
static void widen(uint64_t size, uint64_t target, uint64_t *off, uint64_t *end)
{
	if (size / target < SPLIT_TARGETS || *off >= *end || *off >= size)
		*off = *end = 0;
	*off -= *off % target;
	if (*end > 0 && *end < size)
		*end = (*end + target - 1) / target * target;
	if (*end == 0 || *end > size)
		*end = size;
}

static int add_use(struct adding *a, struct tree_node *file, const struct trace_use *use,
                   uint32_t rank)
{
	struct first_uses *uses = a->uses;
	struct first_use *last = uses->n > 0 ? &uses->list[uses->n - 1] : NULL;
	uint64_t off = use->off;
	uint64_t end = use->off + use->len;
	struct first_use *list;

	widen(file->size, a->target, &off, &end);
	/* Files are mostly read from the first byte to the last. */
	if (last && last->file == file && off >= last->off && off <= last->end) {
		last->end = end > last->end ? end : last->end;
		return 0;
	}
	list = array_grow(uses->list, uses->n, &uses->max, sizeof(*list));
	if (!list)
		return -ENOMEM;
	uses->list = list;
	list[uses->n++] = (struct first_use){ { file }, off, end, rank };
	return 0;
}

/* Add @use to each file that has its path in some tree. Returns 0 or -ENOMEM. */
static int add_to_trees(struct adding *a, const struct trace_use *use, uint32_t rank)
{
	const struct tree_node *last = NULL;
	bool known = false;
	int r = 0;

	for (unsigned t = 0; r == 0 && t < a->n_trees; t++) {
		struct tree_node *file = platform_tree_find(&a->trees[t], use->path);

		if (!file || !S_ISREG(file->mode))
			continue;
		known = true;
		if (file != last && file->size > 0)
			r = add_use(a, file, use, rank);
		last = file;
	}
	a->n_unknown += !known;
	return r;
}

static int add_all(struct adding *a, struct trace_reader *reader, struct err *err)
{
	struct trace_use use;
	int r;

	while ((r = trace_next(reader, &use, err)) == 1) {
		if (add_to_trees(a, &use, reader->n_uses) < 0)
			return err_set(err, -ENOMEM, "out of memory");
	}
	return r;
}

static int read_text(const struct trace_text *trace, struct adding *a, struct err *err)
{
	CLEANUP(free) struct trace_reader *reader = malloc(sizeof(*reader));
	int r;

	if (!reader)
		return err_set(err, -ENOMEM, "out of memory");
	r = trace_begin(reader, trace->text, trace->len, err);
	if (r == 0)
		r = add_all(a, reader, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", trace->path);
	if (a->n_unknown > 0)
		note("'%s': %u of %u uses are of no file in the tree; "
		     "the trace may be of another version",
		     trace->path, a->n_unknown, reader->n_uses);
	return 0;
}

static bool is_part(const struct first_use *use, uint64_t size)
{
	return use->off > 0 || use->end < size;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int list_split_sizes(struct first_uses *uses)
{
	uses->split_sizes = calloc(uses->n + 1, sizeof(*uses->split_sizes));
	if (!uses->split_sizes)
		return -ENOMEM;
	for (size_t i = 0; i < uses->n; i++) {
		uint64_t size = uses->list[i].file->size;

		if (is_part(&uses->list[i], size))
			uses->split_sizes[uses->n_split_sizes++] = size;
	}
	qsort(uses->split_sizes, uses->n_split_sizes, sizeof(*uses->split_sizes), compare_numbers);
	return 0;
}

int first_uses_read(const struct trace_text *trace, const struct platform_tree *trees,
                    unsigned n_trees, uint64_t target, struct first_uses *ret, struct err *err)
{
	CLEANUP(first_uses_release) struct first_uses uses = FIRST_USES_INIT;
	struct adding a = {
		.uses = &uses,
		.trees = trees,
		.n_trees = n_trees,
		.target = target,
	};
	int r = read_text(trace, &a, err);

	if (r < 0)
		return r;
	join_all(&uses);
	if (list_split_sizes(&uses) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = uses;
	uses = FIRST_USES_INIT;
	return 0;
}

bool first_uses_split(const struct first_uses *uses, uint64_t size)
{
	return uses->n_split_sizes > 0 && bsearch(&size, uses->split_sizes, uses->n_split_sizes,
	                                          sizeof(size), compare_numbers);
}

void first_uses_apply(struct first_uses *uses, struct contents *contents)
{
	size_t n = 0;

	for (size_t i = 0; i < uses->n; i++) {
		struct new_content *c = uses->list[i].file->content;

		uses->list[i].content = c;
	}
	join_all(uses);
	for (size_t i = 0; i < uses->n; i++) {
		struct first_use *use = &uses->list[i];
		struct new_content *c = use->content;

		if (c->rank == 0 || use->rank < c->rank)
			c->rank = use->rank;
		if (is_part(use, content_size(c)))
			uses->list[n++] = *use;
	}
	contents->parts = TAKE_PTR(uses->list);
	contents->n_parts = n;
	first_uses_release(uses);
}
