/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list has one element for each file at first; equal ones are then joined
 * in place.
 *
 * A large file that only some platforms have is hashed as well when another of
 * its size is for other platforms: if they are equal, the bytes have to go to
 * packs that both name, and that must be known before the first is written.
 */
#include "contents.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base.h"
#include "hashing.h"
#include "keyed.h"

void contents_release(struct contents *contents)
{
	for (size_t i = 0; i < contents->n; i++) {
		struct new_content *c = &contents->list[i];

		if (!c->whole && !c->is_twin)
			free(c->runs);
		base_free(c->base);
	}
	free(contents->list);
	free(contents->parts);
	*contents = CONTENTS_INIT;
}

/* Whether tree @t is the first that has @node, and it is a file with bytes. */
static bool is_first_file(const struct tree_node *node, unsigned t)
{
	return S_ISREG(node->mode) && node->size > 0 && !(node->platforms & ((1u << t) - 1));
}

/* Every regular file with bytes, once, in the order of the platforms' trees. */
static int list_files(const struct platform_tree *trees, unsigned n_trees, struct contents *ret)
{
	size_t n = 0;

	for (unsigned t = 0; t < n_trees; t++) {
		for (size_t i = 0; i < trees[t].n_nodes; i++)
			n += is_first_file(trees[t].nodes[i].node, t);
	}
	ret->list = calloc(n + 1, sizeof(*ret->list));
	if (!ret->list)
		return -ENOMEM;
	for (unsigned t = 0; t < n_trees; t++) {
		for (size_t i = 0; i < trees[t].n_nodes; i++) {
			struct tree_node *node = trees[t].nodes[i].node;

			if (is_first_file(node, t))
				ret->list[ret->n++] = (struct new_content){
					.file = node,
					.platforms = node->platforms,
				};
		}
	}
	return 0;
}

static int compare_sizes(const void *a, const void *b)
{
	uint64_t x = content_size(a);
	uint64_t y = content_size(b);

	return x < y ? -1 : x > y;
}

/* Mark files of one size that are for different platforms; orders the list by size. */
static void choose_mixed(struct contents *c)
{
	size_t end;

	qsort(c->list, c->n, sizeof(*c->list), compare_sizes);
	for (size_t i = 0; i < c->n; i = end) {
		bool mixed = false;

		for (end = i;
		     end < c->n && content_size(&c->list[end]) == content_size(&c->list[i]); end++)
			mixed |= c->list[end].platforms != c->list[i].platforms;
		for (size_t k = i; k < end; k++)
			c->list[k].to_hash = mixed;
	}
}

static void choose(struct contents *c, unsigned n_trees, const struct contents_options *options)
{
	if (n_trees > 1 && c->n > 1)
		choose_mixed(c);
	for (size_t i = 0; i < c->n; i++) {
		struct new_content *content = &c->list[i];

		content->to_hash |= options->hash_all ||
		                    content_size(content) < options->small_max ||
		                    first_uses_split(options->uses, content_size(content));
		content->to_hash &= !content->has_digest;
	}
}

/* Equal contents come to stand together, their first file first. */
static int compare_contents(const void *x, const void *y)
{
	const struct new_content *a = x;
	const struct new_content *b = y;
	int order = compare_sizes(a, b);

	if (order == 0)
		order = (int)a->has_digest - (int)b->has_digest;
	if (order == 0 && a->has_digest)
		order = digest_cmp(&a->digest, &b->digest);
	return order != 0 ? order : tree_file_cmp(a->file, b->file);
}

static int compare_keyed(const void *x, const void *y, void *arg)
{
	const struct new_content *list = arg;

	return compare_contents(&list[((const struct keyed *)x)->at],
	                        &list[((const struct keyed *)y)->at]);
}

/* The first bytes of the digest: hardly any two that differ have them in common. */
static uint64_t digest_start(const struct new_content *c)
{
	return c->has_digest ? be64toh(digest_key(&c->digest)) : 0;
}

static uint64_t size_key(const struct new_content *c)
{
	return content_size(c) << 1 | c->has_digest;
}

/* The order of compare_contents(), which takes many looks at contents far apart: by numbers first. */
static int list_order(struct new_content *list, size_t n, struct keyed *order)
{
	size_t end;
	int r;

	for (size_t i = 0; i < n; i++)
		order[i] = (struct keyed){ digest_start(&list[i]), i };
	r = keyed_sort(order, n);
	for (size_t i = 0; i < n; i++)
		order[i].key = size_key(&list[order[i].at]);
	if (r == 0)
		r = keyed_sort(order, n);
	for (size_t i = 0; r == 0 && i < n; i = end) {
		const struct new_content *c = &list[order[i].at];

		for (end = i + 1; end < n && order[end].key == order[i].key &&
		                  digest_start(&list[order[end].at]) == digest_start(c);
		     end++)
			;
		if (end - i > 1)
			qsort_r(&order[i], end - i, sizeof(*order), compare_keyed, list);
	}
	return r;
}

/* Move each of @list to its place in @order, which is used up. */
static void arrange(struct new_content *list, size_t n, struct keyed *order)
{
	for (size_t i = 0; i < n; i++) {
		struct new_content first = list[i];
		size_t to = i;

		while (order[to].at != i && order[to].at != SIZE_MAX) {
			size_t from = order[to].at;

			list[to] = list[from];
			order[to].at = SIZE_MAX;
			to = from;
		}
		if (order[to].at != SIZE_MAX) {
			list[to] = first;
			order[to].at = SIZE_MAX;
		}
	}
}

static int sort_contents(struct contents *c)
{
	CLEANUP(free) struct keyed *order = calloc(c->n + 1, sizeof(*order));
	int r = order ? list_order(c->list, c->n, order) : -ENOMEM;

	if (r == 0)
		arrange(c->list, c->n, order);
	return r;
}

/* Give each file its content, with equal ones joined. @c is sorted. */
static void join(struct contents *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++) {
		struct new_content *last = n > 0 ? &c->list[n - 1] : NULL;
		const struct new_content *next = &c->list[i];
		bool same = last && next->has_digest && last->has_digest &&
		            digest_equal(&next->digest, &last->digest);

		if (!same)
			c->list[n++] = *next;
		else
			last->platforms |= next->platforms;
		c->list[i].file->content = &c->list[n - 1];
	}
	c->n = n;
}

int contents_collect(const struct platform_tree *trees, unsigned n_trees,
                     const struct contents_options *options, struct contents *ret, struct err *err)
{
	CLEANUP(contents_release) struct contents c = CONTENTS_INIT;
	int r;

	if (list_files(trees, n_trees, &c) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (options->cache)
		cache_fill(options->cache, c.list, c.n);
	choose(&c, n_trees, options);
	r = hash_contents(c.list, c.n, options->jobs, options->progress, err);
	if (r == 0 && sort_contents(&c) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	join(&c);
	*ret = c;
	c = CONTENTS_INIT;
	return 0;
}

int content_add_run(struct new_content *c, struct run run)
{
	uint32_t n = c->n_runs;
	struct run *runs = c->runs;

	if (n == 0 && run.off == 0 && run.len == content_size(c)) {
		c->whole = true;
		c->chunk = run.chunk;
		c->chunk_off = run.chunk_off;
		c->n_runs = 1;
		return 0;
	}
	/* There is room for as many runs as the next power of two. */
	if ((n & (n - 1)) == 0) {
		runs = reallocarray(c->runs, n > 0 ? (size_t)n * 2 : 1, sizeof(*runs));
		if (!runs)
			return -ENOMEM;
		c->runs = runs;
	}
	runs[c->n_runs++] = run;
	return 0;
}

static int compare_runs(const void *a, const void *b)
{
	uint64_t x = ((const struct run *)a)->off;
	uint64_t y = ((const struct run *)b)->off;

	return x < y ? -1 : x > y;
}

/* Join runs that continue each other in the content and in the chunk. */
static void sort_runs(struct new_content *c)
{
	uint32_t n = 0;

	qsort(c->runs, c->n_runs, sizeof(*c->runs), compare_runs);
	for (uint32_t i = 0; i < c->n_runs; i++) {
		const struct run *next = &c->runs[i];
		struct run *last = n > 0 ? &c->runs[n - 1] : NULL;

		if (last && last->chunk == next->chunk && last->off + last->len == next->off &&
		    last->chunk_off + last->len == next->chunk_off)
			last->len += next->len;
		else
			c->runs[n++] = *next;
	}
	c->n_runs = n;
}

static void make_twin(struct new_content *c, struct new_content *of)
{
	if (!c->whole)
		free(c->runs);
	c->whole = false;
	c->is_twin = true;
	c->twin = of;
	of->platforms |= c->platforms;
}

static int compare_digests(const void *a, const void *b)
{
	const struct new_content *x = *(struct new_content *const *)a;
	const struct new_content *y = *(struct new_content *const *)b;
	int order = digest_cmp(&x->digest, &y->digest);

	return order != 0 ? order : (x < y ? -1 : x > y);
}

/* The @n contents at @list have one size; some were not hashed before they were packed. */
static int find_twins(struct new_content *list, size_t n)
{
	CLEANUP(free) struct new_content **order = calloc(n, sizeof(struct new_content *));
	struct new_content *first;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = &list[i];
	qsort(order, n, sizeof(struct new_content *), compare_digests);
	first = order[0];
	for (size_t i = 1; i < n; i++) {
		if (digest_equal(&order[i]->digest, &first->digest))
			make_twin(order[i], first);
		else
			first = order[i];
	}
	return 0;
}

int contents_settle(struct contents *contents)
{
	size_t end;
	int r = 0;

	for (size_t i = 0; i < contents->n; i++) {
		if (!contents->list[i].whole && contents->list[i].n_runs > 1)
			sort_runs(&contents->list[i]);
	}
	/*
	 * The list is in order of size, and in that those that had no digest come first: others of
	 * that size may be equal to them.
	 */
	for (size_t i = 0; r == 0 && i < contents->n; i = end) {
		const struct new_content *c = &contents->list[i];

		for (end = i + 1;
		     end < contents->n && content_size(&contents->list[end]) == content_size(c);
		     end++)
			;
		if (end - i > 1 && !c->has_digest)
			r = find_twins(&contents->list[i], end - i);
	}
	return r;
}
