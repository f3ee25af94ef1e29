/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table that parsed is right in every field: sizes within the format's
 * bounds, frames and table adding up to the pack. Sums of untrusted sizes are
 * made in 64 bits from at most 2^27 numbers below 2^23, and cannot wrap.
 */
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "blob_writer.h"
#include "format.h"

struct seek_table {
	uint32_t n;
	struct frame frame[];
};

uint64_t pack_overhead(uint64_t n_frames)
{
	return sizeof(struct seek_header) + n_frames * sizeof(struct seek_entry) +
	       sizeof(struct seek_footer);
}

/* Check the last bytes of a pack, and say how many frames there are. */
static int check_footer(const struct seek_footer *footer, uint64_t pack_size, uint32_t *ret_n,
                        struct err *err)
{
	uint32_t n = le32_get(footer->n_frames);
	le32 magic;

	memcpy(&magic, footer->magic, sizeof(magic));
	if (le32_get(magic) != FORMAT_SEEK_MAGIC)
		return err_set(err, -EBADMSG, "no seek table at the end: not a pack, or cut short");
	if (footer->descriptor != 0)
		return err_set(err, -EBADMSG, "seek table of an unknown kind: descriptor %#x",
		               footer->descriptor);
	if (n < 1 || n > FORMAT_PACK_FRAMES_MAX || pack_overhead(n) > pack_size)
		return err_set(err, -EBADMSG, "seek table of %u frames in a pack of %llu bytes", n,
		               (unsigned long long)pack_size);
	*ret_n = n;
	return 0;
}

/* Fill @table from the entries and compare their sum with the pack. */
static int read_entries(struct seek_table *table, const uint8_t *entries, uint64_t pack_size,
                        struct err *err)
{
	uint64_t off = 0;

	for (uint32_t i = 0; i < table->n; i++) {
		struct seek_entry entry;
		struct frame *frame = &table->frame[i];

		memcpy(&entry, entries + (size_t)i * sizeof(entry), sizeof(entry));
		*frame = (struct frame){
			.off = off,
			.size = le32_get(entry.frame_size),
			.plain_size = le32_get(entry.size),
		};
		if (frame->size < 1 || frame->size > FORMAT_FRAME_MAX || frame->plain_size < 1 ||
		    frame->plain_size > FORMAT_CHUNK_MAX)
			return err_set(err, -EBADMSG,
			               "seek table: frame %u has %u bytes that hold %u", i,
			               frame->size, frame->plain_size);
		off += frame->size;
	}
	if (off != pack_size - pack_overhead(table->n))
		return err_set(err, -EBADMSG, "seek table: frames do not add up to the pack");
	return 0;
}

int seek_table_parse(const void *tail, size_t size, uint64_t pack_size, struct seek_table **ret,
                     struct err *err)
{
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	struct seek_header header;
	struct seek_footer footer;
	const uint8_t *start;
	uint32_t n = 0;
	int r;

	if (size < sizeof(footer) || size > pack_size)
		return err_set(err, -EBADMSG, "too short for a pack: %zu bytes", size);
	memcpy(&footer, (const uint8_t *)tail + size - sizeof(footer), sizeof(footer));
	r = check_footer(&footer, pack_size, &n, err);
	if (r < 0)
		return r;
	if (pack_overhead(n) > size)
		return err_set(err, -EBADMSG, "seek table of %u frames is cut short", n);
	start = (const uint8_t *)tail + size - pack_overhead(n);
	memcpy(&header, start, sizeof(header));
	if (le32_get(header.skippable) != FORMAT_SEEK_SKIPPABLE ||
	    le32_get(header.size) != pack_overhead(n) - sizeof(header))
		return err_set(err, -EBADMSG, "seek table does not start where its end says");
	table = malloc(sizeof(*table) + n * sizeof(table->frame[0]));
	if (!table)
		return err_set(err, -ENOMEM, "out of memory");
	table->n = n;
	r = read_entries(table, start + sizeof(header), pack_size, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(table);
	return 0;
}

static int read_tail(int fd, void *buf, size_t size, uint64_t pack_size, struct err *err)
{
	int r = io_pread(fd, buf, size, pack_size - size);

	if (r == -ENODATA)
		return err_set(err, -EBADMSG, "became shorter while it was read");
	if (r < 0)
		return err_set(err, r, "seek table could not be read: %s", strerrordesc_np(-r));
	return 0;
}

int seek_table_load(int fd, struct seek_table **ret, struct err *err)
{
	CLEANUP(free) void *tail = NULL;
	struct seek_footer footer;
	struct stat st;
	uint64_t pack_size;
	uint32_t n = 0;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size of the pack");
	pack_size = (uint64_t)st.st_size;
	if (pack_size < sizeof(footer))
		return err_set(err, -EBADMSG, "too short for a pack: %llu bytes",
		               (unsigned long long)pack_size);
	r = read_tail(fd, &footer, sizeof(footer), pack_size, err);
	if (r == 0)
		r = check_footer(&footer, pack_size, &n, err);
	if (r < 0)
		return r;
	tail = malloc(pack_overhead(n));
	if (!tail)
		return err_set(err, -ENOMEM, "out of memory");
	r = read_tail(fd, tail, pack_overhead(n), pack_size, err);
	if (r < 0)
		return r;
	return seek_table_parse(tail, pack_overhead(n), pack_size, ret, err);
}

uint32_t seek_table_count(const struct seek_table *table)
{
	return table->n;
}

struct frame seek_table_frame(const struct seek_table *table, uint32_t i)
{
	return table->frame[i];
}

void seek_table_free(struct seek_table *table)
{
	free(table);
}

struct pack_writer {
	struct blob_writer blob;
	struct seek_entry *entries; /* owned */
	uint32_t n;
	size_t n_max; /* room in entries */
};

int pack_writer_open(int dirfd, struct pack_writer **ret, struct err *err)
{
	CLEANUP(pack_writer_free) struct pack_writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	r = blob_writer_open(&w->blob, dirfd, "pack", err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

static int add_entry(struct pack_writer *w, struct seek_entry entry, struct err *err)
{
	struct seek_entry *entries = array_grow(w->entries, w->n, &w->n_max, sizeof(entry));

	if (!entries)
		return err_set(err, -ENOMEM, "out of memory");
	w->entries = entries;
	entries[w->n++] = entry;
	return 0;
}

int pack_writer_append(struct pack_writer *w, const void *frame, uint32_t frame_size,
                       uint32_t plain_size, uint64_t *ret_off, struct err *err)
{
	struct seek_entry entry = { le32_put(frame_size), le32_put(plain_size) };
	uint64_t off = w->blob.size;
	int r;

	if (frame_size < 1 || frame_size > FORMAT_FRAME_MAX || plain_size < 1 ||
	    plain_size > FORMAT_CHUNK_MAX)
		return err_set(err, -EINVAL, "a frame of %u bytes for %u has no place in a pack",
		               frame_size, plain_size);
	if (w->n == FORMAT_PACK_FRAMES_MAX)
		return err_set(err, -EOVERFLOW, "a pack has at most %u frames",
		               (unsigned)FORMAT_PACK_FRAMES_MAX);
	r = blob_writer_append(&w->blob, frame, frame_size, err);
	if (r == 0)
		r = add_entry(w, entry, err);
	if (r < 0)
		return r;
	*ret_off = off;
	return 0;
}

uint64_t pack_writer_size(const struct pack_writer *w)
{
	return w->blob.size;
}

static int write_table(struct pack_writer *w, struct err *err)
{
	struct seek_header header = {
		.skippable = le32_put(FORMAT_SEEK_SKIPPABLE),
		.size = le32_put((uint32_t)(pack_overhead(w->n) - sizeof(header))),
	};
	struct seek_footer footer = { .n_frames = le32_put(w->n), .descriptor = 0 };
	le32 magic = le32_put(FORMAT_SEEK_MAGIC);
	int r;

	memcpy(footer.magic, &magic, sizeof(magic));
	r = blob_writer_append(&w->blob, &header, sizeof(header), err);
	if (r == 0)
		r = blob_writer_append(&w->blob, w->entries, (size_t)w->n * sizeof(*w->entries),
		                       err);
	if (r == 0)
		r = blob_writer_append(&w->blob, &footer, sizeof(footer), err);
	return r;
}

int pack_writer_publish(struct pack_writer *w, struct digest *ret_digest, uint64_t *ret_size,
                        struct err *err)
{
	int r;

	if (w->n == 0)
		return err_set(err, -EINVAL, "a pack holds at least one frame");
	r = write_table(w, err);
	if (r == 0)
		r = blob_writer_publish(&w->blob, ret_digest, err);
	if (r < 0)
		return r;
	*ret_size = w->blob.size;
	return 0;
}

int pack_writer_publish_as(struct pack_writer *w, const struct digest *wanted, struct err *err)
{
	int r;

	if (w->n == 0)
		return err_set(err, -EINVAL, "a pack holds at least one frame");
	r = write_table(w, err);
	return r < 0 ? r : blob_writer_publish_as(&w->blob, wanted, err);
}

void pack_writer_free(struct pack_writer *w)
{
	if (!w)
		return;
	blob_writer_release(&w->blob);
	free(w->entries);
	free(w);
}
