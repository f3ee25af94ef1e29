/* SPDX-License-Identifier: Apache-2.0 */
/* The reader: files into blocks, blocks into slices. */
#include <errno.h>
#include <string.h>

#include "grow.h"
#include "input.h"
#include "pipeline_internal.h"

struct reader {
	struct pipeline *p;
	struct input in;
	struct block *block; /* being filled */
	uint64_t number;     /* of that block */
};

/*
 * Hand the block on and begin the next with @carry bytes that follow the
 * slices of this one. Returns 0, or -ECANCELED when everyone is to stop.
 */
static int turn_block(struct reader *rd, size_t carry)
{
	struct block *next = pipeline_wait_free(rd->p, rd->number + 1);

	if (!next)
		return -ECANCELED;
	if (carry > 0)
		memcpy(next->plain, rd->block->plain + rd->block->used, carry);
	pipeline_filled(rd->p, rd->number);
	rd->block = next;
	rd->number++;
	return 0;
}

static int add_part(struct block *b, struct new_content *c, uint64_t off, uint32_t len)
{
	struct part *parts = array_grow(b->parts, b->n_parts, &b->parts_max, sizeof(*parts));

	if (!parts)
		return -ENOMEM;
	b->parts = parts;
	parts[b->n_parts++] = (struct part){ .content = c, .off = off, .len = len };
	return 0;
}

/* The next @len bytes of the block, and the last @n_parts parts, are a slice. */
static void add_slice(struct block *b, uint32_t len, size_t n_parts)
{
	b->slices[b->n_slices++] = (struct slice){
		.start = b->used,
		.len = len,
		.first_part = (uint32_t)(b->n_parts - n_parts),
		.n_parts = (uint32_t)n_parts,
	};
	b->used += len;
}

/* Cut what has been read of @c, @have bytes behind the slices, as far as it can be told. */
static int cut(struct reader *rd, struct new_content *c, uint64_t *off, size_t *have)
{
	struct block *b = rd->block;

	while (*have > 0 && b->n_slices < SLICES_MAX) {
		bool last = *off + *have == c->size;
		size_t n = chunker_cut(&rd->p->options->chunker, b->plain + b->used, *have, last);

		if (n == 0)
			break;
		if (add_part(b, c, *off, (uint32_t)n) < 0)
			return -ENOMEM;
		add_slice(b, (uint32_t)n, 1);
		*off += n;
		*have -= n;
	}
	return 0;
}

/* Read and cut one large content. Returns 1, the number of contents read, or -errno. */
static ssize_t read_large(struct reader *rd, struct new_content *c, struct err *err)
{
	uint64_t off = 0; /* sliced so far */
	size_t have = 0;  /* read beyond that */
	int r = input_open(&rd->in, c->file, err);

	while (r == 0 && off < c->size) {
		struct block *b = rd->block;
		size_t room = rd->p->block_size - b->used - have;
		uint64_t left = c->size - off - have;
		size_t n = left < room ? (size_t)left : room;

		r = input_read(&rd->in, b->plain + b->used + have, n, off + have, err);
		have += n;
		if (r == 0)
			r = cut(rd, c, &off, &have) < 0 ? err_set(err, -ENOMEM, "out of memory")
			                                : 0;
		if (r == 0 && off < c->size)
			r = turn_block(rd, have);
	}
	if (r == 0)
		r = input_close(&rd->in, err);
	return r < 0 ? r : 1;
}

/* Bytes and number of the contents from @plan on that are one group. */
static size_t measure_group(struct new_content *const *plan, size_t *ret_n)
{
	size_t bytes = 0;
	size_t n = 0;

	do
		bytes += plan[n]->size;
	while (!plan[n++]->ends_group);
	*ret_n = n;
	return bytes;
}

static int read_small(struct reader *rd, struct new_content *c, size_t at, struct err *err)
{
	int r = input_open(&rd->in, c->file, err);

	if (r == 0)
		r = input_read(&rd->in, rd->block->plain + at, c->size, 0, err);
	if (r == 0)
		r = input_close(&rd->in, err);
	if (r == 0 && add_part(rd->block, c, 0, (uint32_t)c->size) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	return r;
}

/* Read the group that begins at @plan. Returns the number of its contents, or -errno. */
static ssize_t read_group(struct reader *rd, struct new_content *const *plan, struct err *err)
{
	size_t n;
	size_t bytes = measure_group(plan, &n);
	size_t at;
	int r = 0;

	if (bytes > rd->p->block_size - rd->block->used || rd->block->n_parts >= PARTS_MAX)
		r = turn_block(rd, 0);
	at = rd->block->used;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = read_small(rd, plan[i], at, err);
		at += plan[i]->size;
	}
	if (r < 0)
		return r;
	add_slice(rd->block, (uint32_t)bytes, n);
	return (ssize_t)n;
}

static int read_all(struct reader *rd, struct err *err)
{
	const struct pipeline *p = rd->p;
	size_t i = 0;

	while (i < p->n) {
		ssize_t n = rd->block->n_slices == SLICES_MAX ? turn_block(rd, 0) : 0;

		if (n < 0)
			return (int)n;
		n = p->plan[i]->small ? read_group(rd, p->plan + i, err)
		                      : read_large(rd, p->plan[i], err);
		if (n < 0)
			return (int)n;
		i += (size_t)n;
	}
	return 0;
}

void *pipeline_reader(void *arg)
{
	struct pipeline *p = arg;
	struct reader rd = { .p = p, .in = INPUT_INIT, .block = pipeline_wait_free(p, 0) };
	struct err err = ERR_INIT;
	int r = rd.block ? read_all(&rd, &err) : -ECANCELED;

	input_release(&rd.in);
	if (r < 0) {
		pipeline_fail(p, r, &err);
		return NULL;
	}
	pipeline_filled(p, rd.number);
	(void)pthread_mutex_lock(&p->lock);
	p->all_read = true;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}
