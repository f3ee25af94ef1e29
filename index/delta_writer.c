/* SPDX-License-Identifier: Apache-2.0 */
/* Bases are numbered in order of first use: the same frames in the same order make the same blob. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "base/table.h"
#include "blob_writer.h"
#include "codec.h"
#include "delta_internal.h"

enum { TABLE_LEVEL = 12 }; /* most of it are digests, which do not compress */

/* A digest that was listed, as a base or as the chunk of a frame. */
struct listed {
	struct table_node hook;
	struct digest digest;
	uint32_t number;
};

/* Digests in order of their first appearance. */
struct list {
	struct table table; /* its entries are owned */
	struct digest *all; /* owned */
	size_t max;         /* room in all */
};

struct delta_writer {
	struct blob_writer blob;
	struct list bases;
	struct list chunks;
	struct delta_entry *entries; /* owned; one for each chunk */
	size_t entries_max;
	le32 *refs; /* owned */
	uint32_t n_refs;
	size_t refs_max;
};

static uint32_t list_count(const struct list *list)
{
	return (uint32_t)list->table.n;
}

static struct listed *list_find(const struct list *list, const struct digest *digest)
{
	for (struct table_node *n = table_first(&list->table, digest_key(digest)); n;
	     n = table_next(n)) {
		struct listed *listed = TABLE_ENTRY(n, struct listed, hook);

		if (digest_equal(&listed->digest, digest))
			return listed;
	}
	return NULL;
}

static void list_release(struct list *list)
{
	for (struct table_node *n = table_walk(&list->table, NULL), *next; n; n = next) {
		next = table_walk(&list->table, n);
		free(TABLE_ENTRY(n, struct listed, hook));
	}
	table_release(&list->table);
	free(list->all);
}

/* Put @digest at the end of @list, in which it is not. */
static int list_add(struct list *list, const struct digest *digest, uint32_t *ret_number)
{
	uint32_t n = list_count(list);
	struct digest *all = array_grow(list->all, n, &list->max, sizeof(*all));
	struct listed *listed;
	int r;

	if (!all)
		return -ENOMEM;
	list->all = all;
	listed = calloc(1, sizeof(*listed));
	if (!listed)
		return -ENOMEM;
	listed->digest = *digest;
	listed->number = n;
	r = table_insert(&list->table, &listed->hook, digest_key(digest));
	if (r < 0) {
		free(listed);
		return r;
	}
	all[n] = *digest;
	*ret_number = n;
	return 0;
}

int delta_writer_open(int dirfd, struct delta_writer **ret, struct err *err)
{
	CLEANUP(delta_writer_free) struct delta_writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	r = blob_writer_open(&w->blob, dirfd, "delta", err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

static int add_refs(struct delta_writer *w, const struct digest *bases, uint32_t n_bases)
{
	for (uint32_t i = 0; i < n_bases; i++) {
		const struct listed *listed = list_find(&w->bases, &bases[i]);
		le32 *refs = array_grow(w->refs, w->n_refs, &w->refs_max, sizeof(*refs));
		uint32_t number = listed ? listed->number : 0;
		int r;

		if (!refs)
			return -ENOMEM;
		w->refs = refs;
		r = listed ? 0 : list_add(&w->bases, &bases[i], &number);
		if (r < 0)
			return r;
		refs[w->n_refs++] = le32_put(number);
	}
	return 0;
}

static int add_entry(struct delta_writer *w, const struct digest *chunk, struct delta_entry entry)
{
	uint32_t n = list_count(&w->chunks);
	struct delta_entry *entries = array_grow(w->entries, n, &w->entries_max, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	w->entries = entries;
	entries[n] = entry;
	return list_add(&w->chunks, chunk, &n);
}

/* A frame, its chunk and its bases make eight. NOLINTNEXTLINE(readability-function-size) */
int delta_writer_append(struct delta_writer *w, const struct digest *chunk, uint32_t size,
                        const void *frame, uint32_t frame_size, const struct digest *bases,
                        uint32_t n_bases, struct err *err)
{
	struct delta_entry entry = { le32_put(size), le32_put(frame_size), le32_put(n_bases) };
	int r;

	if (size < 1 || size > FORMAT_CHUNK_MAX || frame_size < 1 ||
	    frame_size > FORMAT_FRAME_MAX || n_bases < 1 || n_bases > FORMAT_PREFIX_CHUNKS_MAX)
		return err_set(err, -EINVAL,
		               "a frame of %u bytes for %u with %u bases has no place in a delta",
		               frame_size, size, n_bases);
	if (list_find(&w->chunks, chunk))
		return err_set(err, -EINVAL, "a chunk has one frame in a delta");
	if (w->n_refs + n_bases > FORMAT_DELTA_COUNT_MAX)
		return err_set(err, -EOVERFLOW, "a delta has at most %u references to bases",
		               (unsigned)FORMAT_DELTA_COUNT_MAX);
	r = blob_writer_append(&w->blob, frame, frame_size, err);
	if (r < 0)
		return r;
	r = add_refs(w, bases, n_bases);
	if (r == 0)
		r = add_entry(w, chunk, entry);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

uint64_t delta_writer_size(const struct delta_writer *w)
{
	return w->blob.size;
}

uint32_t delta_writer_count(const struct delta_writer *w)
{
	return list_count(&w->chunks);
}

static void *append(uint8_t *at, const void *data, size_t size)
{
	memcpy(at, data, size);
	return at + size;
}

/* Compress the table to new memory, which the caller frees. */
static int pack_table(const struct delta_writer *w, struct delta_counts *n, void **ret,
                      struct err *err)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	size_t plain_size = delta_plain_size(n), stored = 0;
	CLEANUP(free) uint8_t *plain = malloc(plain_size);
	CLEANUP(free) void *frame = malloc(codec_bound(plain_size));
	uint8_t *at = plain;
	int r;

	if (!codec || !plain || !frame)
		return err_set(err, -ENOMEM, "out of memory");
	at = append(at, w->bases.all, n->n_bases * sizeof(*w->bases.all));
	at = append(at, w->chunks.all, n->n_frames * sizeof(*w->chunks.all));
	at = append(at, w->entries, n->n_frames * sizeof(*w->entries));
	(void)append(at, w->refs, n->n_refs * sizeof(*w->refs));
	r = codec_compress_table(codec, TABLE_LEVEL, plain, plain_size, frame,
	                         codec_bound(plain_size), &stored);
	if (r < 0)
		return err_set(err, r, "delta's table could not be compressed");
	n->stored = (uint32_t)stored;
	*ret = TAKE_PTR(frame);
	return 0;
}

static int write_table(struct delta_writer *w, struct err *err)
{
	struct delta_counts n = {
		.n_bases = list_count(&w->bases),
		.n_frames = list_count(&w->chunks),
		.n_refs = w->n_refs,
	};
	CLEANUP(free) void *stored = NULL;
	struct delta_header header = { .skippable = le32_put(FORMAT_DELTA_SKIPPABLE) };
	struct delta_footer footer;
	int r = pack_table(w, &n, &stored, err);

	if (r < 0)
		return r;
	header.size = le32_put((uint32_t)(delta_tail_size(&n) - sizeof(header)));
	footer = (struct delta_footer){
		.n_bases = le32_put(n.n_bases),
		.n_frames = le32_put(n.n_frames),
		.n_refs = le32_put(n.n_refs),
		.table_size = le32_put(n.stored),
		.magic = le32_put(FORMAT_DELTA_MAGIC),
	};
	r = blob_writer_append(&w->blob, &header, sizeof(header), err);
	if (r == 0)
		r = blob_writer_append(&w->blob, stored, n.stored, err);
	if (r == 0)
		r = blob_writer_append(&w->blob, &footer, sizeof(footer), err);
	return r;
}

int delta_writer_publish(struct delta_writer *w, struct digest *ret_digest, uint64_t *ret_size,
                         struct err *err)
{
	int r;

	if (list_count(&w->chunks) == 0)
		return err_set(err, -EINVAL, "a delta holds at least one frame");
	r = write_table(w, err);
	if (r == 0)
		r = blob_writer_publish(&w->blob, ret_digest, err);
	if (r < 0)
		return r;
	*ret_size = w->blob.size;
	return 0;
}

void delta_writer_free(struct delta_writer *w)
{
	if (!w)
		return;
	blob_writer_release(&w->blob);
	list_release(&w->bases);
	list_release(&w->chunks);
	free(w->entries);
	free(w->refs);
	free(w);
}
