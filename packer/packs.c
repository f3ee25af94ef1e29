/* SPDX-License-Identifier: Apache-2.0 */
#include "packs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "format.h"
#include "grow.h"
#include "pack.h"

#define PACK_FULL ((uint64_t)64 << 20) /* bytes of frames, format.md §3.2 */

enum { FINISHING_MAX = 2 }; /* packs on their way to the disk while the next is filled */

/* A chunk in the table of digests. */
struct entry {
	struct table_node hook;
	struct stored_chunk chunk;
	uint32_t platforms;
};

/*
 * A full pack that a thread of its own makes durable: waiting for the disk
 * would keep all cores idle.
 */
struct finishing {
	pthread_t thread;
	struct pack_writer *writer; /* owned; NULL: the place is free */
	size_t record;              /* its place among the records */
	struct digest digest;
	uint64_t size;
	int result;
	struct err err;
};

struct packs {
	/* of the thread that adds */
	int dirfd;                     /* borrowed */
	const char *path;              /* borrowed; of the layout */
	struct pack_writer *writer;    /* owned; NULL between packs */
	uint32_t platforms;            /* of the writer's pack */
	struct pack_record *records;   /* owned */
	size_t n_records, records_max; /* full ones */
	struct finishing finishing[FINISHING_MAX];
	struct stored_chunk **chunks; /* owned list of what the table's entries hold */
	size_t n_chunks, chunks_max;

	pthread_mutex_t lock;
	struct table table; /* under lock; its entries are owned */
};

static void *publish_pack(void *arg)
{
	struct finishing *f = arg;

	f->result = pack_writer_publish(f->writer, &f->digest, &f->size, &f->err);
	return NULL;
}

/* Wait for the pack in @f, if there is one, to be durable. */
static int wait_finished(struct packs *packs, struct finishing *f, struct err *err)
{
	if (!f->writer)
		return 0;
	(void)pthread_join(f->thread, NULL);
	pack_writer_free(f->writer);
	f->writer = NULL;
	if (f->result < 0)
		return err_set(err, f->result, "'%s': %s", packs->path, f->err.msg);
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
		free(TABLE_ENTRY(packs->chunks[i], struct entry, chunk));
	table_release(&packs->table);
	pack_writer_free(packs->writer);
	free(packs->records);
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
		if (!found || entry->chunk.id < found->id)
			found = &entry->chunk;
	}
	(void)pthread_mutex_unlock(&packs->lock);
	return found;
}

/* Let the pack that is open be made durable. */
static int finish_pack(struct packs *packs, struct err *err)
{
	struct finishing *f = &packs->finishing[packs->n_records % FINISHING_MAX];
	struct pack_record *records =
		array_grow(packs->records, packs->n_records, &packs->records_max, sizeof(*records));
	int r;

	if (!records)
		return err_set(err, -ENOMEM, "out of memory");
	packs->records = records;
	r = wait_finished(packs, f, err);
	if (r < 0)
		return r;
	*f = (struct finishing){ .writer = packs->writer, .record = packs->n_records };
	packs->writer = NULL;
	records[packs->n_records++] = (struct pack_record){ .platforms = packs->platforms };
	r = pthread_create(&f->thread, NULL, publish_pack, f);
	if (r == 0)
		return 0;
	pack_writer_free(f->writer);
	f->writer = NULL;
	return err_set(err, -r, "a thread could not be started: %s", strerrordesc_np(r));
}

/* Have a pack open that takes a chunk for @platforms. */
static int open_pack(struct packs *packs, uint32_t platforms, struct err *err)
{
	int r = 0;

	if (packs->writer &&
	    (packs->platforms != platforms || pack_writer_size(packs->writer) >= PACK_FULL))
		r = finish_pack(packs, err);
	if (r < 0 || packs->writer)
		return r;
	if (packs->n_records >= FORMAT_PACKS_MAX)
		return err_set(err, -EOVERFLOW, "the image would need more than %d packs",
		               FORMAT_PACKS_MAX);
	packs->platforms = platforms;
	r = pack_writer_open(packs->dirfd, &packs->writer, err);
	return r < 0 ? err_wrap(err, r, "'%s'", packs->path) : 0;
}

/* Make a stored chunk known. Takes @entry, also on failure. */
static int remember(struct packs *packs, struct entry *entry)
{
	struct stored_chunk **chunks = array_grow(
		packs->chunks, packs->n_chunks, &packs->chunks_max, sizeof(struct stored_chunk *));
	int r;

	if (!chunks) {
		free(entry);
		return -ENOMEM;
	}
	packs->chunks = chunks;
	chunks[packs->n_chunks++] = &entry->chunk;
	(void)pthread_mutex_lock(&packs->lock);
	r = table_insert(&packs->table, &entry->hook, digest_key(&entry->chunk.digest));
	(void)pthread_mutex_unlock(&packs->lock);
	return r;
}

int packs_add(struct packs *packs, const struct new_chunk *chunk, struct stored_chunk **ret,
              struct err *err)
{
	struct entry *entry;
	uint64_t off;
	int r = open_pack(packs, chunk->platforms, err);

	if (r < 0)
		return r;
	r = pack_writer_append(packs->writer, chunk->frame, chunk->frame_size, chunk->size, &off,
	                       err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", packs->path);
	entry = malloc(sizeof(*entry));
	if (!entry)
		return err_set(err, -ENOMEM, "out of memory");
	*entry = (struct entry){
		.platforms = chunk->platforms,
		.chunk = {
			.digest = chunk->digest,
			.pack = (uint32_t)packs->n_records,
			.size = chunk->size,
			.frame_off = off,
			.frame_size = chunk->frame_size,
			.id = packs->n_chunks,
		},
	};
	r = remember(packs, entry);
	if (r < 0)
		return err_set(err, r, "out of memory");
	*ret = &entry->chunk;
	return 0;
}

int packs_finish(struct packs *packs, struct err *err)
{
	int r = packs->writer ? finish_pack(packs, err) : 0;

	for (size_t i = 0; i < FINISHING_MAX; i++) {
		int waited = wait_finished(packs, &packs->finishing[i], r == 0 ? err : NULL);

		r = r < 0 ? r : waited;
	}
	return r;
}

const struct pack_record *packs_records(const struct packs *packs, uint32_t *ret_n)
{
	*ret_n = (uint32_t)packs->n_records;
	return packs->records;
}

struct stored_chunk *const *packs_chunks(const struct packs *packs, size_t *ret_n)
{
	*ret_n = packs->n_chunks;
	return packs->chunks;
}
