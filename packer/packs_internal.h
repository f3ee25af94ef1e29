/* SPDX-License-Identifier: Apache-2.0 */
/* The body of struct packs, shared by the files that make it up. */
#pragma once

#include <pthread.h>

#include "base/aside.h"
#include "base/table.h"
#include "pack.h"
#include "packs.h"

enum {
	FINISHING_MAX = 2, /* packs on their way to the disk while the next are filled */
	OPEN_COVERED = 0,  /* chunks that a delta has, too */
	OPEN_OTHER,
	OPEN_MAX,
};

/* A chunk in the table of digests. */
struct entry {
	struct table_node hook;
	struct stored_chunk chunk;
	uint32_t platforms; /* whose images may name its pack */
	uint32_t users;     /* whose contents use it */
	uint32_t held;      /* earlier images that have it, one bit each */
	uint64_t order;     /* in which it became known */
};

static inline struct entry *packs_entry(struct stored_chunk *chunk)
{
	return TABLE_ENTRY(chunk, struct entry, chunk);
}

struct open_pack {
	struct pack_writer *writer; /* owned; NULL: none is open */
	uint32_t record;            /* its place among the records */
};

/* A full pack that a thread of its own makes durable. */
struct finishing {
	struct aside aside;
	struct pack_writer *writer; /* owned; NULL: the place is free */
	size_t record;
	struct digest digest;
	uint64_t size;
};

struct packs {
	/* of the thread that adds */
	int dirfd;          /* borrowed */
	const char *path;   /* borrowed; of the layout */
	uint32_t platforms; /* of what is open */
	struct open_pack open[OPEN_MAX];
	struct delta_writer *delta;  /* owned; or NULL */
	struct pack_record *records; /* owned */
	size_t n_records, records_max;
	struct delta_record *deltas; /* owned */
	size_t n_deltas, deltas_max;
	struct finishing finishing[FINISHING_MAX];
	size_t n_finishing;            /* that were begun */
	uint32_t bases[PLATFORMS_MAX]; /* of each platform: its earlier image, as a bit */
	struct stored_chunk **chunks;  /* owned list of what the table's entries hold */
	size_t n_chunks, chunks_max;

	pthread_mutex_t lock;
	struct table table; /* under lock; its entries are owned */
};
