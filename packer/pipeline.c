/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline.h"

#include <assert.h>
#include <errno.h>

#include "codec.h"
#include "input.h"
#include "pipeline_internal.h"

enum {
	BLOCK_MIN = 1 << 20,
	FRAME_SLACK = 128,  /* what codec_bound() adds to a slice beyond its share */
	BLOCKS_PER_JOB = 2, /* one being worked on, one ready */
	BLOCKS_EXTRA = 3,   /* for reader, hasher and committer */
};

void pipeline_fail(struct pipeline *p, int result, const struct err *err)
{
	(void)pthread_mutex_lock(&p->lock);
	if (p->result == 0) {
		p->result = result;
		p->err = *err;
	}
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
}

struct block *pipeline_wait_free(struct pipeline *p, uint64_t number)
{
	struct block *b = NULL;

	(void)pthread_mutex_lock(&p->lock);
	while (p->result == 0 && number - p->n_committed >= p->n_ring)
		(void)pthread_cond_wait(&p->changed, &p->lock);
	if (p->result == 0) {
		b = ring_block(p, number);
		b->packed = false;
		b->hashed = false;
		b->used = 0;
		b->n_slices = 0;
		b->n_parts = 0;
		b->n_bases = 0;
		b->deltas_used = 0;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return b;
}

void pipeline_filled(struct pipeline *p, uint64_t number)
{
	(void)pthread_mutex_lock(&p->lock);
	p->n_filled = number + 1;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
}

struct block *pipeline_wait_filled(struct pipeline *p, uint64_t number)
{
	bool filled;

	(void)pthread_mutex_lock(&p->lock);
	while (p->result == 0 && p->n_filled <= number && !p->all_read)
		(void)pthread_cond_wait(&p->changed, &p->lock);
	filled = p->result == 0 && p->n_filled > number;
	(void)pthread_mutex_unlock(&p->lock);
	return filled ? ring_block(p, number) : NULL;
}

/* As pipeline_wait_filled(), for the committer: the block must be done by the other stages. */
static struct block *wait_done(struct pipeline *p, uint64_t number)
{
	struct block *b = pipeline_wait_filled(p, number);
	bool done;

	if (!b)
		return NULL;
	(void)pthread_mutex_lock(&p->lock);
	while (p->result == 0 && !(b->packed && b->hashed))
		(void)pthread_cond_wait(&p->changed, &p->lock);
	done = p->result == 0;
	(void)pthread_mutex_unlock(&p->lock);
	return done ? b : NULL;
}

/* A content that is one slice has the slice's digest; the hasher leaves it to us. */
static int settle_digest(const struct slice *s, const struct part *part, struct err *err)
{
	struct new_content *c = part->content;

	if (s->n_parts != 1 || part->len != content_size(c))
		return 0;
	if (c->has_digest && !digest_equal(&c->digest, &s->digest))
		return input_changed(c->file, err);
	c->digest = s->digest;
	return 0;
}

/* Add the runs of all parts of @s, which is in @stored. */
static int add_runs(const struct block *b, const struct slice *s, struct stored_chunk *stored)
{
	const struct part *part = &b->parts[s->first_part];
	uint32_t chunk_off = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->n_parts; i++) {
		r = content_add_run(part[i].content, (struct run){
							     .off = part[i].off,
							     .len = part[i].len,
							     .chunk_off = chunk_off,
							     .chunk = stored,
						     });
		chunk_off += part[i].len;
	}
	return r;
}

static int commit_slice(struct pipeline *p, const struct block *b, const struct slice *s,
                        struct err *err)
{
	const struct part *part = &b->parts[s->first_part];
	struct new_chunk chunk = {
		.digest = s->digest,
		.size = s->len,
		.frame = b->frames + s->frame_start,
		.frame_size = s->frame_size,
		.platforms = part->content->platforms,
		.delta = s->delta_size > 0 ? b->deltas + s->delta_start : NULL,
		.delta_size = s->delta_size,
		.bases = s->delta_size > 0 ? b->bases + s->first_base : NULL,
		.n_bases = s->n_bases,
	};
	struct stored_chunk *stored;
	int r = settle_digest(s, part, err);

	if (r < 0 || s->hole)
		return r;
	stored = packs_find(p->packs, &s->digest, chunk.platforms);
	if (!stored)
		r = packs_add(p->packs, &chunk, &stored, err);
	if (r == 0 && add_runs(b, s, stored) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return r;
}

/* The committer: store all blocks in order. */
static int commit_all(struct pipeline *p, struct progress *progress, struct err *err)
{
	uint64_t done = 0;
	const struct block *b;

	for (uint64_t number = 0; (b = wait_done(p, number)); number++) {
		for (uint32_t i = 0; i < b->n_slices; i++) {
			int r = commit_slice(p, b, &b->slices[i], err);

			if (r < 0)
				return r;
		}
		done += b->used;
		progress_update(progress, done);
		(void)pthread_mutex_lock(&p->lock);
		p->n_committed++;
		(void)pthread_cond_broadcast(&p->changed);
		(void)pthread_mutex_unlock(&p->lock);
	}
	return 0;
}

static int ring_init(struct pipeline *p)
{
	p->ring = calloc(p->n_ring, sizeof(*p->ring));
	for (uint32_t i = 0; p->ring && i < p->n_ring; i++) {
		struct block *b = &p->ring[i];

		b->plain = malloc(p->block_size);
		b->frames = malloc(p->frames_size);
		b->slices = calloc(SLICES_MAX, sizeof(*b->slices));
		if (!b->plain || !b->frames || !b->slices)
			return -ENOMEM;
	}
	return p->ring ? 0 : -ENOMEM;
}

static void pipeline_release_cleanup(struct pipeline *p)
{
	for (uint32_t i = 0; p->ring && i < p->n_ring; i++) {
		free(p->ring[i].plain);
		free(p->ring[i].frames);
		free(p->ring[i].deltas);
		free(p->ring[i].bases);
		free(p->ring[i].slices);
		free(p->ring[i].parts);
	}
	free(p->ring);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
}

/* Start a thread; if that fails, everyone stops. Returns whether it runs. */
static bool start(struct pipeline *p, pthread_t *thread, void *(*body)(void *))
{
	struct err err = ERR_INIT;
	int r = pthread_create(thread, NULL, body, p);

	if (r == 0)
		return true;
	(void)err_set(&err, -r, "a thread could not be started: %s", strerrordesc_np(r));
	pipeline_fail(p, -r, &err);
	return false;
}

/* Run all stages to their end. @threads has room for jobs + 2. */
static void run_stages(struct pipeline *p, pthread_t *threads, struct progress *progress)
{
	struct err err = ERR_INIT;
	unsigned n = 0;
	int r;

	n += start(p, &threads[n], pipeline_reader);
	n += start(p, &threads[n], pipeline_hasher);
	for (unsigned i = 0; i < p->options->jobs; i++)
		n += start(p, &threads[n], pipeline_worker);
	r = commit_all(p, progress, &err);
	if (r < 0)
		pipeline_fail(p, r, &err);
	while (n > 0)
		(void)pthread_join(threads[--n], NULL);
}

static size_t block_size(const struct pipeline_options *o)
{
	/* Twice the largest chunk: what is carried over to the next block is small beside it. */
	size_t size = (size_t)o->chunker.max * 2;

	assert(chunker_max(o->group_target) <= o->chunker.max);
	return size > BLOCK_MIN ? size : BLOCK_MIN;
}

int pipeline_run(const struct plan *plan, const struct pipeline_options *options,
                 struct packs *packs, struct progress *progress, struct err *err)
{
	CLEANUP(free) pthread_t *threads = calloc(options->jobs + 2, sizeof(*threads));
	CLEANUP(pipeline_release)
	struct pipeline p = {
		.options = options,
		.plan = plan,
		.packs = packs,
		.block_size = block_size(options),
		.n_ring = options->jobs * BLOCKS_PER_JOB + BLOCKS_EXTRA,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.err = ERR_INIT,
	};

	p.frames_size = codec_bound(p.block_size) + (size_t)SLICES_MAX * FRAME_SLACK;
	if (!threads || ring_init(&p) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	run_stages(&p, threads, progress);
	progress_end(progress);
	if (p.result < 0)
		return err_set(err, p.result, "%s", p.err.msg);
	return packs_finish(packs, err);
}
