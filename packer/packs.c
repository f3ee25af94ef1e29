/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two packs may be open at a time, one for chunks with deltas and one for those
 * without. A record is made when a pack is opened, so that its number is known
 * to chunks; digest and size follow when it is finished.
 */
#include "packs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "base/table.h"
#include "format.h"
#include "pack.h"
#include "packs_internal.h"

#define PACK_FULL ((uint64_t)64 << 20) /* bytes of frames, format.md §3.2 */

static int publish_pack(void *arg, struct err *err)
{
	struct finishing *f = arg;

	return pack_writer_publish(f->writer, &f->digest, &f->size, err);
}

/* Wait for the pack in @f, if there is one, to be durable. */
static int wait_finished(struct packs *packs, struct finishing *f, struct err *err)
{
	int r;

	if (!f->writer)
		return 0;
	r = aside_end(&f->aside, err);
	pack_writer_free(f->writer);
	f->writer = NULL;
	if (r < 0)
		return err_wrap(err, r, "'%s'", packs->path);
	packs->records[f->record].digest = f->digest;
	packs->records[f->record].size = f->size;
	return 0;
}

struct packs *packs_new(int dirfd, const char *path)
{
	struct packs *packs = calloc(1, sizeof(*packs));

	if (!packs)
		return NULL;
	packs->dirfd = dirfd;
	packs->path = path;
	(void)pthread_mutex_init(&packs->lock, NULL);
	return packs;
}

void packs_free(struct packs *packs)
{
	if (!packs)
		return;
	for (size_t i = 0; i < FINISHING_MAX; i++)
		(void)wait_finished(packs, &packs->finishing[i], NULL);
	for (size_t i = 0; i < packs->n_chunks; i++)
		free(packs_entry(packs->chunks[i]));
	table_release(&packs->table);
	for (size_t i = 0; i < OPEN_MAX; i++)
		pack_writer_free(packs->open[i].writer);
	delta_writer_free(packs->delta);
	free(packs->records);
	free(packs->deltas);
	free(packs->chunks);
	(void)pthread_mutex_destroy(&packs->lock);
	free(packs);
}

struct stored_chunk *packs_find(struct packs *packs, const struct digest *digest,
                                uint32_t platforms)
{
	struct stored_chunk *found = NULL;

	(void)pthread_mutex_lock(&packs->lock);
	for (struct table_node *n = table_first(&packs->table, digest_key(digest)); n;
	     n = table_next(n)) {
		struct entry *entry = TABLE_ENTRY(n, struct entry, hook);

		if (!digest_equal(&entry->chunk.digest, digest) ||
		    (entry->platforms & platforms) != platforms)
			continue;
		/* The earliest, whatever the order of the table. */
		if (!found || entry->order < packs_entry(found)->order)
			found = &entry->chunk;
	}
	(void)pthread_mutex_unlock(&packs->lock);
	return found;
}

/* Let the open pack @o be made durable by a thread of its own: waiting would keep cores idle. */
static int finish_pack(struct packs *packs, struct open_pack *o, struct err *err)
{
	struct finishing *f = &packs->finishing[packs->n_finishing++ % FINISHING_MAX];
	int r = wait_finished(packs, f, err);

	if (r < 0)
		return r;
	*f = (struct finishing){ .writer = o->writer, .record = o->record };
	o->writer = NULL;
	aside_begin(&f->aside, publish_pack, f, /* threaded= */ true);
	return 0;
}

/* A new record at the end. Returns its place, or -errno. */
static int64_t add_record(struct packs *packs, struct pack_record record, struct err *err)
{
	struct pack_record *records;

	if (packs->n_records >= FORMAT_PACKS_MAX)
		return err_set(err, -EOVERFLOW, "the image would need more than %d packs",
		               FORMAT_PACKS_MAX);
	records =
		array_grow(packs->records, packs->n_records, &packs->records_max, sizeof(*records));
	if (!records)
		return err_set(err, -ENOMEM, "out of memory");
	packs->records = records;
	records[packs->n_records] = record;
	return (int64_t)packs->n_records++;
}

static int finish_delta(struct packs *packs, struct err *err)
{
	struct delta_record *deltas;
	struct delta_record record = { .platforms = packs->platforms };
	int r;

	if (!packs->delta)
		return 0;
	deltas = array_grow(packs->deltas, packs->n_deltas, &packs->deltas_max, sizeof(*deltas));
	if (!deltas)
		return err_set(err, -ENOMEM, "out of memory");
	packs->deltas = deltas;
	r = delta_writer_publish(packs->delta, &record.digest, &record.size, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", packs->path);
	deltas[packs->n_deltas++] = record;
	delta_writer_free(packs->delta);
	packs->delta = NULL;
	return 0;
}

static int finish_open(struct packs *packs, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < OPEN_MAX; i++) {
		if (packs->open[i].writer)
			r = finish_pack(packs, &packs->open[i], err);
	}
	return r < 0 ? r : finish_delta(packs, err);
}

/* Have @o open, for a chunk of @platforms. */
static int open_pack(struct packs *packs, struct open_pack *o, uint32_t platforms, struct err *err)
{
	int64_t record;
	int r = 0;

	if (packs->platforms != platforms)
		r = finish_open(packs, err);
	packs->platforms = platforms;
	if (r == 0 && o->writer && pack_writer_size(o->writer) >= PACK_FULL)
		r = finish_pack(packs, o, err);
	if (r < 0 || o->writer)
		return r;
	record = add_record(packs, (struct pack_record){ .old = false }, err);
	if (record < 0)
		return (int)record;
	o->record = (uint32_t)record;
	r = pack_writer_open(packs->dirfd, &o->writer, err);
	return r < 0 ? err_wrap(err, r, "'%s'", packs->path) : 0;
}

/* Make a stored chunk known. */
static int remember(struct packs *packs, const struct stored_chunk *chunk, uint32_t platforms,
                    struct stored_chunk **ret)
{
	CLEANUP(free) struct entry *entry = malloc(sizeof(*entry));
	struct stored_chunk **chunks = array_grow(
		packs->chunks, packs->n_chunks, &packs->chunks_max, sizeof(struct stored_chunk *));
	int r;

	if (chunks)
		packs->chunks = chunks;
	if (!chunks || !entry)
		return -ENOMEM;
	*entry = (struct entry){
		.chunk = *chunk,
		.platforms = platforms,
		.order = packs->n_chunks,
	};
	(void)pthread_mutex_lock(&packs->lock);
	r = table_insert(&packs->table, &entry->hook, digest_key(&chunk->digest));
	(void)pthread_mutex_unlock(&packs->lock);
	if (r < 0)
		return r;
	*ret = &entry->chunk;
	chunks[packs->n_chunks++] = &TAKE_PTR(entry)->chunk;
	return 0;
}

static int add_delta(struct packs *packs, const struct new_chunk *chunk, struct err *err)
{
	int r = 0;

	if (packs->delta && delta_writer_size(packs->delta) >= PACK_FULL)
		r = finish_delta(packs, err);
	if (r == 0 && !packs->delta)
		r = delta_writer_open(packs->dirfd, &packs->delta, err);
	if (r == 0)
		r = delta_writer_append(packs->delta, &chunk->digest, chunk->size, chunk->delta,
		                        chunk->delta_size, chunk->bases, chunk->n_bases, err);
	return r < 0 ? err_wrap(err, r, "'%s'", packs->path) : 0;
}

/* Whether @chunk has a delta that all its platforms can use. */
static bool has_delta(struct packs *packs, const struct new_chunk *chunk)
{
	uint32_t wanted = 0;

	if (chunk->delta_size == 0)
		return false;
	for (unsigned i = 0; i < PLATFORMS_MAX; i++)
		wanted |= chunk->platforms & (1u << i) ? packs->bases[i] : 0;
	for (uint32_t i = 0; i < chunk->n_bases; i++) {
		struct stored_chunk *base = packs_find(packs, &chunk->bases[i], UINT32_MAX);

		if (!base || (packs_entry(base)->held & wanted) != wanted)
			return false;
	}
	return true;
}

int packs_add(struct packs *packs, const struct new_chunk *chunk, struct stored_chunk **ret,
              struct err *err)
{
	bool delta = has_delta(packs, chunk);
	struct open_pack *o = &packs->open[delta ? OPEN_COVERED : OPEN_OTHER];
	struct stored_chunk stored = {
		.digest = chunk->digest,
		.size = chunk->size,
		.frame_size = chunk->frame_size,
	};
	int r = open_pack(packs, o, chunk->platforms, err);

	if (r < 0)
		return r;
	r = pack_writer_append(o->writer, chunk->frame, chunk->frame_size, chunk->size,
	                       &stored.frame_off, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", packs->path);
	if (delta)
		r = add_delta(packs, chunk, err);
	if (r < 0)
		return r;
	stored.pack = o->record;
	r = remember(packs, &stored, chunk->platforms, ret);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

int packs_add_old(struct packs *packs, const struct descriptor *pack, struct err *err)
{
	for (size_t i = 0; i < packs->n_records; i++) {
		if (digest_equal(&packs->records[i].digest, &pack->digest))
			return (int)i;
	}
	return (int)add_record(packs,
	                       (struct pack_record){
				       .digest = pack->digest,
				       .size = pack->size,
				       .old = true,
			       },
	                       err);
}

void packs_set_base(struct packs *packs, unsigned platform, unsigned image)
{
	packs->bases[platform] = 1u << image;
}

int packs_add_old_chunk(struct packs *packs, uint32_t pack, unsigned image,
                        const struct chunk *chunk)
{
	const struct stored_chunk stored = {
		.digest = chunk->digest,
		.pack = pack,
		.frame_off = chunk->frame_off,
		.frame_size = chunk->frame_size,
		.size = chunk->size,
	};
	struct stored_chunk *known = packs_find(packs, &chunk->digest, UINT32_MAX);

	if (!known && remember(packs, &stored, UINT32_MAX, &known) < 0)
		return -ENOMEM;
	packs_entry(known)->held |= 1u << image;
	return 0;
}

static int compare_places(const void *a, const void *b)
{
	const struct stored_chunk *x = *(struct stored_chunk *const *)a;
	const struct stored_chunk *y = *(struct stored_chunk *const *)b;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	return x->frame_off < y->frame_off ? -1 : x->frame_off > y->frame_off;
}

int packs_finish(struct packs *packs, struct err *err)
{
	int r = finish_open(packs, err);

	for (size_t i = 0; i < FINISHING_MAX; i++) {
		int waited = wait_finished(packs, &packs->finishing[i], r == 0 ? err : NULL);

		r = r < 0 ? r : waited;
	}
	if (packs->n_chunks > 1)
		qsort(packs->chunks, packs->n_chunks, sizeof(struct stored_chunk *),
		      compare_places);
	return r;
}

const struct pack_record *packs_records(const struct packs *packs, uint32_t *ret_n)
{
	*ret_n = (uint32_t)packs->n_records;
	return packs->records;
}

const struct delta_record *packs_deltas(const struct packs *packs, uint32_t *ret_n)
{
	*ret_n = (uint32_t)packs->n_deltas;
	return packs->deltas;
}

struct stored_chunk *const *packs_chunks(const struct packs *packs, size_t *ret_n)
{
	*ret_n = packs->n_chunks;
	return packs->chunks;
}
