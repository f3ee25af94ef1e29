/* SPDX-License-Identifier: Apache-2.0 */
/* The reader: files into blocks, blocks into slices. */
#include <errno.h>
#include <string.h>

#include "base/grow.h"
#include "borders.h"
#include "input.h"
#include "pipeline_internal.h"

struct reader {
	struct pipeline *p;
	struct input in;
	struct block *block;                /* being filled */
	uint64_t number;                    /* of that block */
	struct err err;                     /* of reading for borders */
	const struct new_content *bordered; /* borrowed; what the borders are of, or NULL */
	struct borders borders;             /* owned; of its whole content */
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

/* A large segment on its way through the reader. */
struct large {
	const struct segment *s;
	const struct borders *borders; /* borrowed */
	size_t next_border;            /* the first one that is behind off */
	uint64_t run;                  /* where the run began: at a border or at the start */
	uint64_t off;                  /* in the content: sliced so far */
	size_t have;                   /* bytes read beyond that */
};

static uint64_t large_end(const struct large *l)
{
	return l->s->off + l->s->len;
}

/* Bytes up to where the next slice must end at the latest. */
static uint64_t bytes_to_border(struct large *l)
{
	const struct borders *borders = l->borders;
	uint64_t end = large_end(l);

	while (l->next_border < borders->n && borders->at[l->next_border] <= l->off)
		l->run = borders->at[l->next_border++];
	if (l->next_border < borders->n && borders->at[l->next_border] < end)
		end = borders->at[l->next_border];
	return end - l->off;
}

/*
 * Length of the next slice, or 0 when more bytes are needed to tell. A run that
 * is short enough to be one slice is: files of this size are read whole, and
 * what an update changes in them is found byte by byte.
 */
static size_t next_cut(const struct reader *rd, struct large *l)
{
	const struct chunker *chunker = &rd->p->options->chunker;
	uint64_t limit = bytes_to_border(l);
	bool last = limit <= l->have;

	if (l->off == l->run && limit <= chunker->max)
		return last ? (size_t)limit : 0;
	return chunker_cut(chunker, rd->block->plain + rd->block->used,
	                   last ? (size_t)limit : l->have, last);
}

/* Cut what has been read, behind the slices of the block, as far as it can be told. */
static int cut(struct reader *rd, struct large *l)
{
	struct block *b = rd->block;

	while (l->have > 0 && b->n_slices < SLICES_MAX) {
		size_t n = next_cut(rd, l);

		if (n == 0)
			break;
		if (add_part(b, l->s->content, l->off, (uint32_t)n) < 0)
			return -ENOMEM;
		add_slice(b, (uint32_t)n, 1);
		b->slices[b->n_slices - 1].large = true;
		l->off += n;
		l->have -= n;
	}
	return 0;
}

static int read_for_borders(void *arg, void *buf, size_t len, uint64_t off)
{
	struct reader *rd = arg;

	return input_read(&rd->in, buf, len, off, &rd->err);
}

/* Read and cut one large segment of the open file. */
static int read_and_cut(struct reader *rd, struct large *l, struct err *err)
{
	uint64_t end = large_end(l);
	int r = 0;

	while (r == 0 && l->off < end) {
		struct block *b = rd->block;
		size_t room = rd->p->block_size - b->used - l->have;
		uint64_t left = end - l->off - l->have;
		size_t n = left < room ? (size_t)left : room;

		r = input_read(&rd->in, b->plain + b->used + l->have, n, l->off + l->have, err);
		l->have += n;
		if (r == 0 && cut(rd, l) < 0)
			r = err_set(err, -ENOMEM, "out of memory");
		if (r == 0 && l->off < end)
			r = turn_block(rd, l->have);
	}
	return r;
}

/* Find the borders of @c, whose file is open, unless its last segment was the one before. */
static int find_borders(struct reader *rd, const struct new_content *c, struct err *err)
{
	int r;

	if (rd->bordered == c)
		return 0;
	rd->bordered = NULL;
	borders_release(&rd->borders);
	r = borders_find(read_for_borders, rd, content_size(c), rd->p->options->chunker.target,
	                 &rd->borders);
	if (r < 0)
		return err_set(err, r, "%s", r == -ENOMEM ? "out of memory" : rd->err.msg);
	rd->bordered = c;
	return 0;
}

/* Returns 1, the number of segments read, or -errno. */
static ssize_t read_large(struct reader *rd, const struct segment *s, struct err *err)
{
	struct large l = { .s = s, .borders = &rd->borders, .run = s->off, .off = s->off };
	int r = input_open(&rd->in, s->content->file, err);

	if (r == 0)
		r = find_borders(rd, s->content, err);
	if (r == 0)
		r = read_and_cut(rd, &l, err);
	if (r == 0)
		r = input_close(&rd->in, err);
	return r < 0 ? r : 1;
}

/* Bytes and number of the segments from @plan on that are one group. */
static size_t measure_group(const struct segment *plan, size_t *ret_n)
{
	size_t bytes = 0;
	size_t n = 0;

	do
		bytes += plan[n].len;
	while (!plan[n++].ends_group);
	*ret_n = n;
	return bytes;
}

/* Read a small segment to @at of the block. */
static int read_small(struct reader *rd, const struct segment *s, size_t at, struct err *err)
{
	int r = input_open(&rd->in, s->content->file, err);

	if (r == 0)
		r = input_read(&rd->in, rd->block->plain + at, s->len, s->off, err);
	if (r == 0)
		r = input_close(&rd->in, err);
	if (r == 0 && add_part(rd->block, s->content, s->off, (uint32_t)s->len) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	return r;
}

/* Read the group that begins at @plan. Returns the number of its segments, or -errno. */
static ssize_t read_group(struct reader *rd, const struct segment *plan, struct err *err)
{
	size_t n;
	size_t bytes = measure_group(plan, &n);
	size_t at;
	int r = 0;

	if (bytes > rd->p->block_size - rd->block->used || rd->block->n_parts >= PARTS_MAX)
		r = turn_block(rd, 0);
	at = rd->block->used;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = read_small(rd, &plan[i], at, err);
		at += plan[i].len;
	}
	if (r < 0)
		return r;
	add_slice(rd->block, (uint32_t)bytes, n);
	return (ssize_t)n;
}

static int read_all(struct reader *rd, struct err *err)
{
	const struct plan *plan = rd->p->plan;
	size_t i = 0;

	while (i < plan->n) {
		ssize_t n = rd->block->n_slices == SLICES_MAX ? turn_block(rd, 0) : 0;

		if (n < 0)
			return (int)n;
		n = plan->list[i].small ? read_group(rd, &plan->list[i], err)
		                        : read_large(rd, &plan->list[i], err);
		if (n < 0)
			return (int)n;
		i += (size_t)n;
	}
	return 0;
}

void *pipeline_reader(void *arg)
{
	struct pipeline *p = arg;
	struct reader rd = { .p = p,
		             .in = INPUT_INIT,
		             .err = ERR_INIT,
		             .block = pipeline_wait_free(p, 0) };
	struct err err = ERR_INIT;
	int r = rd.block ? read_all(&rd, &err) : -ECANCELED;

	input_release(&rd.in);
	borders_release(&rd.borders);
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
