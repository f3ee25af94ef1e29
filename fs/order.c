/* SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fill.h"
#include "trace.h"

/* What is added. Contents that are there whole have a bit: most are small, and cost no more. */
struct adding {
	struct order *order;
	struct index *idx;
	uint64_t n_contents;
	uint64_t *whole; /* owned; a bit per content id */
	struct err *err;
};

static int begin(struct adding *a, struct order *order, struct index *idx, struct err *err)
{
	*a = (struct adding){ .order = order, .idx = idx, .err = err };
	a->n_contents = index_info(idx)->n_contents;
	a->whole = calloc(a->n_contents / 64 + 1, sizeof(*a->whole));
	return a->whole ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int add_whole(struct adding *a, uint64_t content, uint64_t size)
{
	uint64_t bit = (uint64_t)1 << (content % 64);
	struct use use = { .file = content, .len = size };

	if (content > a->n_contents || size == 0 || (a->whole[content / 64] & bit))
		return 0;
	a->whole[content / 64] |= bit;
	/* Of a large file parts may be there. */
	if (size > SYNC_FILL_MAX)
		return uses_add(&a->order->uses, content, 0, size);
	return uses_append(&a->order->uses, &use);
}

static int add_use(struct adding *a, const struct trace_use *use, const struct node *node)
{
	uint64_t end = use->off + use->len;

	if (node->size <= SYNC_FILL_MAX || use->len == 0)
		return add_whole(a, node->content, node->size);
	if (end > node->size)
		end = node->size;
	return uses_add(&a->order->uses, node->content, use->off, end);
}

static int add_uses(struct adding *a, struct trace_reader *reader)
{
	struct trace_use use;
	struct node node;
	int r;

	while ((r = trace_next(reader, &use, a->err)) == 1) {
		r = index_resolve(a->idx, use.path, &node, a->err);
		if (r < 0)
			return r;
		if (r == 0 || !S_ISREG(node.mode))
			a->order->n_unknown++;
		else if (node.content != 0 && add_use(a, &use, &node) < 0)
			return err_set(a->err, -ENOMEM, "out of memory");
	}
	return r;
}

static void sum(struct order *order)
{
	order->bytes = 0;
	for (size_t i = 0; i < order->uses.n; i++)
		order->bytes += order->uses.list[i].len;
}

int order_add_trace(struct order *order, struct index *idx, const char *text, size_t len,
                    struct err *err)
{
	CLEANUP(free) struct trace_reader *reader = malloc(sizeof(*reader));
	struct adding a;
	int r;

	if (!reader)
		return err_set(err, -ENOMEM, "out of memory");
	r = begin(&a, order, idx, err);
	if (r < 0)
		return r;
	r = trace_begin(reader, text, len, err);
	if (r == 0)
		r = add_uses(&a, reader);
	free(a.whole);
	sum(order);
	return r;
}

static int add_extent(void *arg, const struct content *content, const struct extent *extent)
{
	struct adding *a = arg;

	(void)extent;
	return add_whole(a, content->id, content->size);
}

static int add_chunk(void *arg, const struct chunk *chunk)
{
	struct adding *a = arg;

	return index_chunk_extents(a->idx, chunk->id, add_extent, a, a->err);
}

static int add_content(void *arg, const struct content *content)
{
	return add_whole(arg, content->id, content->size);
}

int order_add_all(struct order *order, struct index *idx, struct err *err)
{
	struct adding a;
	int r = begin(&a, order, idx, err);

	if (r < 0)
		return r;
	r = index_each_chunk(idx, add_chunk, &a, err);
	/* Those that are one hole are in no chunk. */
	if (r == 0)
		r = index_each_content(idx, add_content, &a, err);
	free(a.whole);
	sum(order);
	return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

void order_release(struct order *order)
{
	uses_release(&order->uses);
	*order = ORDER_INIT;
}
