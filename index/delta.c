/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table that parsed is right in every field. Its counts are at most 2^24
 * each, so that no sum or product of them wraps in 64 bits, and the memory that
 * it asks for is bounded by the bytes that are there (FORMAT_DELTA_RATIO_MAX).
 */
#include "delta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "codec.h"
#include "delta_internal.h"

struct delta_table {
	struct delta_counts n;
	void *plain;                 /* owned; what the table was before it was compressed */
	const struct digest *bases;  /* in plain, as the others */
	const struct digest *chunks; /* of each frame */
	const struct delta_entry *entries;
	const le32 *refs;
	uint32_t *bases_sorted;  /* owned; numbers of bases in order of digest */
	uint32_t *chunks_sorted; /* owned; numbers of frames in order of their chunk's digest */
	struct {
		uint64_t off;
		uint32_t first_ref;
	} * frames; /* owned */
};

/* Check the last bytes of a delta, and say how much there is. */
static int check_footer(const struct delta_footer *footer, uint64_t blob_size,
                        struct delta_counts *ret, struct err *err)
{
	struct delta_counts n = {
		.n_bases = le32_get(footer->n_bases),
		.n_frames = le32_get(footer->n_frames),
		.n_refs = le32_get(footer->n_refs),
		.stored = le32_get(footer->table_size),
	};

	if (le32_get(footer->magic) != FORMAT_DELTA_MAGIC)
		return err_set(err, -EBADMSG, "no table at the end: not a delta, or cut short");
	if (n.n_frames < 1 || n.n_frames > FORMAT_DELTA_COUNT_MAX || n.n_bases < 1 ||
	    n.n_bases > FORMAT_DELTA_COUNT_MAX || n.n_refs < n.n_frames ||
	    n.n_refs > FORMAT_DELTA_COUNT_MAX)
		return err_set(err, -EBADMSG,
		               "delta's table of %u frames, %u bases and %u references", n.n_frames,
		               n.n_bases, n.n_refs);
	if (delta_tail_size(&n) >= blob_size ||
	    delta_plain_size(&n) > (uint64_t)n.stored * FORMAT_DELTA_RATIO_MAX)
		return err_set(err, -EBADMSG,
		               "delta's table of %u bytes for %u frames, in a blob of %llu",
		               n.stored, n.n_frames, (unsigned long long)blob_size);
	*ret = n;
	return 0;
}

struct sorting {
	const struct digest *digests;
};

static int compare_digests(const void *a, const void *b, void *arg)
{
	const struct sorting *sorting = arg;
	uint32_t i, k;

	memcpy(&i, a, sizeof(i));
	memcpy(&k, b, sizeof(k));
	return digest_cmp(&sorting->digests[i], &sorting->digests[k]);
}

/* The numbers of @n digests in order. Returns 0, -EBADMSG when two are equal, or -ENOMEM. */
static int sort_digests(const struct digest *digests, uint32_t n, uint32_t **ret, struct err *err)
{
	CLEANUP(free) uint32_t *sorted = calloc(n, sizeof(*sorted));
	struct sorting sorting = { .digests = digests };

	if (!sorted)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < n; i++)
		sorted[i] = i;
	qsort_r(sorted, n, sizeof(*sorted), compare_digests, &sorting);
	for (uint32_t i = 1; i < n; i++) {
		if (digest_equal(&digests[sorted[i - 1]], &digests[sorted[i]]))
			return err_set(err, -EBADMSG, "delta's table has chunk or base %u twice",
			               sorted[i]);
	}
	*ret = TAKE_PTR(sorted);
	return 0;
}

/* Number of @digest among @n, of which @sorted is the order. */
static bool find_digest(const struct digest *digests, const uint32_t *sorted, uint32_t n,
                        const struct digest *digest, uint32_t *ret)
{
	uint32_t low = 0, high = n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int order = digest_cmp(digest, &digests[sorted[mid]]);

		if (order == 0) {
			*ret = sorted[mid];
			return true;
		}
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return false;
}

/* Check the entries one by one, and that they add up to @frames_size bytes and to the references. */
static int check_entries(const struct delta_table *table, uint64_t frames_size, struct err *err)
{
	uint64_t off = 0, n_refs = 0;

	for (uint32_t i = 0; i < table->n.n_frames; i++) {
		const struct delta_entry *entry = &table->entries[i];
		uint32_t size = le32_get(entry->size);
		uint32_t frame_size = le32_get(entry->frame_size);
		uint32_t n_bases = le32_get(entry->n_bases);

		if (size < 1 || size > FORMAT_CHUNK_MAX || frame_size < 1 ||
		    frame_size > FORMAT_FRAME_MAX || n_bases < 1 ||
		    n_bases > FORMAT_PREFIX_CHUNKS_MAX)
			return err_set(err, -EBADMSG,
			               "delta's frame %u has %u bytes that hold %u, and %u bases",
			               i, frame_size, size, n_bases);
		table->frames[i].off = off;
		table->frames[i].first_ref = (uint32_t)n_refs;
		off += frame_size;
		n_refs += n_bases;
	}
	if (off != frames_size)
		return err_set(err, -EBADMSG, "delta's frames do not add up to the blob");
	if (n_refs != table->n.n_refs)
		return err_set(err, -EBADMSG, "delta's bases do not add up to the table");
	for (uint32_t i = 0; i < table->n.n_refs; i++) {
		if (le32_get(table->refs[i]) >= table->n.n_bases)
			return err_set(err, -EBADMSG,
			               "delta's table has %u bases, none of number %u",
			               table->n.n_bases, le32_get(table->refs[i]));
	}
	return 0;
}

/* Decompress the table to table->plain and set what points into it. */
static int unpack_table(struct delta_table *table, const void *stored, struct err *err)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	const struct delta_counts *n = &table->n;
	size_t size = delta_plain_size(n);
	const uint8_t *at;
	int r;

	table->plain = malloc(size + 1); /* analyzers cannot tell that there is something */
	table->frames = calloc(n->n_frames + 1u, sizeof(*table->frames));
	if (!codec || !table->plain || !table->frames)
		return err_set(err, -ENOMEM, "out of memory");
	r = codec_decompress_table(codec, stored, n->stored, table->plain, size, err);
	if (r < 0)
		return err_wrap(err, r, "delta's table");
	/* All of these are made of bytes: no alignment, no padding. */
	at = table->plain;
	table->bases = (const void *)at;
	at += (size_t)n->n_bases * sizeof(*table->bases);
	table->chunks = (const void *)at;
	at += (size_t)n->n_frames * sizeof(*table->chunks);
	table->entries = (const void *)at;
	at += (size_t)n->n_frames * sizeof(*table->entries);
	table->refs = (const void *)at;
	return 0;
}

int delta_table_parse(const void *tail, size_t size, uint64_t blob_size, struct delta_table **ret,
                      struct err *err)
{
	CLEANUP(delta_table_free) struct delta_table *table = calloc(1, sizeof(*table));
	struct delta_header header;
	struct delta_footer footer;
	const uint8_t *start;
	int r;

	if (!table)
		return err_set(err, -ENOMEM, "out of memory");
	if (size < sizeof(footer) || size > blob_size)
		return err_set(err, -EBADMSG, "too short for a delta: %zu bytes", size);
	memcpy(&footer, (const uint8_t *)tail + size - sizeof(footer), sizeof(footer));
	r = check_footer(&footer, blob_size, &table->n, err);
	if (r < 0)
		return r;
	if (delta_tail_size(&table->n) > size)
		return err_set(err, -EBADMSG, "delta's table is cut short");
	start = (const uint8_t *)tail + size - delta_tail_size(&table->n);
	memcpy(&header, start, sizeof(header));
	if (le32_get(header.skippable) != FORMAT_DELTA_SKIPPABLE ||
	    le32_get(header.size) != delta_tail_size(&table->n) - sizeof(header))
		return err_set(err, -EBADMSG, "delta's table does not start where its end says");
	r = unpack_table(table, start + sizeof(header), err);
	if (r == 0)
		r = check_entries(table, blob_size - delta_tail_size(&table->n), err);
	if (r == 0)
		r = sort_digests(table->bases, table->n.n_bases, &table->bases_sorted, err);
	if (r == 0)
		r = sort_digests(table->chunks, table->n.n_frames, &table->chunks_sorted, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(table);
	return 0;
}

int delta_tail_needed(const uint8_t end[static DELTA_END], uint64_t blob_size, size_t *ret,
                      struct err *err)
{
	struct delta_counts n = { .n_frames = 0 };
	struct delta_footer footer;
	int r;

	_Static_assert(sizeof(footer) == DELTA_END, "as delta.h has it");
	memcpy(&footer, end, sizeof(footer));
	r = check_footer(&footer, blob_size, &n, err);
	if (r == 0)
		*ret = delta_tail_size(&n);
	return r;
}

static int read_tail(int fd, void *buf, uint64_t size, uint64_t blob_size, struct err *err)
{
	int r = io_pread(fd, buf, size, blob_size - size);

	if (r == -ENODATA)
		return err_set(err, -EBADMSG, "became shorter while it was read");
	if (r < 0)
		return err_set(err, r, "delta's table could not be read: %s", strerrordesc_np(-r));
	return 0;
}

int delta_table_load(int fd, struct delta_table **ret, struct err *err)
{
	CLEANUP(free) void *tail = NULL;
	struct delta_footer footer;
	struct delta_counts n = { .n_frames = 0 };
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size of the delta");
	size = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode) || size < sizeof(footer))
		return err_set(err, -EBADMSG, "too short for a delta: %llu bytes",
		               (unsigned long long)size);
	r = read_tail(fd, &footer, sizeof(footer), size, err);
	if (r == 0)
		r = check_footer(&footer, size, &n, err);
	if (r < 0)
		return r;
	tail = malloc(delta_tail_size(&n));
	if (!tail)
		return err_set(err, -ENOMEM, "out of memory");
	r = read_tail(fd, tail, delta_tail_size(&n), size, err);
	return r < 0 ? r : delta_table_parse(tail, delta_tail_size(&n), size, ret, err);
}

void delta_table_free(struct delta_table *table)
{
	if (!table)
		return;
	free(table->plain);
	free(table->frames);
	free(table->bases_sorted);
	free(table->chunks_sorted);
	free(table);
}

uint32_t delta_table_count(const struct delta_table *table)
{
	return table->n.n_frames;
}

struct delta_frame delta_table_frame(const struct delta_table *table, uint32_t i)
{
	const struct delta_entry *entry = &table->entries[i];

	return (struct delta_frame){
		.off = table->frames[i].off,
		.size = le32_get(entry->frame_size),
		.plain_size = le32_get(entry->size),
		.n_bases = le32_get(entry->n_bases),
		.first_base = table->frames[i].first_ref,
	};
}

const struct digest *delta_table_chunk(const struct delta_table *table, uint32_t i)
{
	return &table->chunks[i];
}

bool delta_table_find(const struct delta_table *table, const struct digest *chunk, uint32_t *ret_i)
{
	return find_digest(table->chunks, table->chunks_sorted, table->n.n_frames, chunk, ret_i);
}

uint32_t delta_table_n_bases(const struct delta_table *table)
{
	return table->n.n_bases;
}

const struct digest *delta_table_base_digest(const struct delta_table *table, uint32_t i)
{
	return &table->bases[i];
}

uint32_t delta_table_base(const struct delta_table *table, uint32_t ref)
{
	return le32_get(table->refs[ref]);
}

bool delta_table_find_base(const struct delta_table *table, const struct digest *base,
                           uint32_t *ret_i)
{
	return find_digest(table->bases, table->bases_sorted, table->n.n_bases, base, ret_i);
}
