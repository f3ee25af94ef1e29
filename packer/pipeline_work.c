/* SPDX-License-Identifier: Apache-2.0 */
/* Workers and hasher. */
#include <errno.h>
#include <string.h>

#include "codec.h"
#include "input.h"
#include "pipeline_delta.h"
#include "pipeline_internal.h"

/* What a worker has to itself. */
struct worker {
	struct codec *codec;             /* owned */
	struct delta_maker *delta_maker; /* owned; NULL without deltas */
};

/* Compared with itself shifted by one: memcmp() does that at the speed of memory. */
static bool is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* Hash @s and compress it unless it is known or a hole. */
static int pack_slice(const struct pipeline *p, struct worker *w, struct block *b, struct slice *s,
                      size_t *frames_used)
{
	const struct new_content *c = b->parts[s->first_part].content;
	const uint8_t *data = b->plain + s->start;
	size_t frame_size;
	int r;

	s->frame_start = *frames_used;
	s->hole = s->large && is_zero(data, s->len);
	if (s->hole && s->len != content_size(c))
		return 0;
	sha256(data, s->len, &s->digest);
	if (s->hole || packs_find(p->packs, &s->digest, c->platforms))
		return 0;
	r = codec_compress(w->codec, p->options->level, data, s->len, b->frames + *frames_used,
	                   p->frames_size - *frames_used, &frame_size);
	if (r < 0)
		return r;
	s->frame_size = (uint32_t)frame_size;
	*frames_used += frame_size;
	return w->delta_maker ? delta_maker_try(w->delta_maker, b, s) : 0;
}

static int pack_block(const struct pipeline *p, struct worker *w, struct block *b)
{
	size_t frames_used = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < b->n_slices; i++)
		r = pack_slice(p, w, b, &b->slices[i], &frames_used);
	return r;
}

/* The next block that no worker has begun; NULL when there are no more. */
static struct block *take_block(struct pipeline *p)
{
	struct block *b = NULL;

	(void)pthread_mutex_lock(&p->lock);
	while (p->result == 0 && p->n_taken == p->n_filled && !p->all_read)
		(void)pthread_cond_wait(&p->changed, &p->lock);
	if (p->result == 0 && p->n_taken < p->n_filled)
		b = ring_block(p, p->n_taken++);
	(void)pthread_mutex_unlock(&p->lock);
	return b;
}

static void block_done(struct pipeline *p, bool *stage)
{
	(void)pthread_mutex_lock(&p->lock);
	*stage = true;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
}

static int work(struct pipeline *p, struct worker *w)
{
	struct block *b;
	int r = 0;

	w->codec = codec_new();
	if (p->options->deltas)
		w->delta_maker = delta_maker_new(p->options->level);
	if (!w->codec || (p->options->deltas && !w->delta_maker))
		return -ENOMEM;
	while (r == 0 && (b = take_block(p))) {
		r = pack_block(p, w, b);
		if (r == 0)
			block_done(p, &b->packed);
	}
	return r;
}

void *pipeline_worker(void *arg)
{
	struct pipeline *p = arg;
	struct worker w = { .codec = NULL };
	struct err err = ERR_INIT;
	int r = work(p, &w);

	if (r < 0) {
		(void)err_set(&err, r, "compression failed: %s", strerrordesc_np(-r));
		pipeline_fail(p, r, &err);
	}
	codec_free(w.codec);
	delta_maker_free(w.delta_maker);
	return NULL;
}

/*
 * Hash one part of a content. A content that is a slice by itself has that
 * slice's digest, which a worker makes; another may have been hashed before, and
 * its file's stamp tells that it is still the same: nothing to do here.
 */
static void hash_part(struct sha256 *hash, const struct slice *s, const struct part *part,
                      const uint8_t *data)
{
	struct new_content *c = part->content;

	if (c->has_digest || (s->n_parts == 1 && part->len == content_size(c)))
		return;
	sha256_update(hash, data, part->len);
	if (part->off + part->len == content_size(c))
		sha256_final(hash, &c->digest);
}

static void hash_block(struct sha256 *hash, const struct block *b)
{
	for (uint32_t i = 0; i < b->n_slices; i++) {
		const struct slice *s = &b->slices[i];
		const uint8_t *data = b->plain + s->start;

		for (uint32_t k = 0; k < s->n_parts; k++) {
			const struct part *part = &b->parts[s->first_part + k];

			hash_part(hash, s, part, data);
			data += part->len;
		}
	}
}

void *pipeline_hasher(void *arg)
{
	struct pipeline *p = arg;
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	struct err err = ERR_INIT;
	struct block *b;
	int r = hash ? 0 : err_set(&err, -ENOMEM, "out of memory");

	for (uint64_t number = 0; r == 0 && (b = pipeline_wait_filled(p, number)); number++) {
		hash_block(hash, b);
		block_done(p, &b->hashed);
	}
	if (r < 0)
		pipeline_fail(p, r, &err);
	return NULL;
}
