/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All parsers look at the file through one window that moves forward, and stop
 * where look() has nothing more to show: at the file's end, when reading
 * failed, and when there are enough borders. So none of them handles errors,
 * and none can loop: each step begins behind the one before.
 */
#include "borders.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/grow.h"

enum {
	BORDERS_MAX = 1 << 22,
	WINDOW_FIRST = 1 << 10, /* after a jump: mostly only a header is wanted */
	WINDOW_MAX = 68 << 10,  /* ZIP_TAIL_MAX fits */
};

#define NONE UINT64_MAX /* no such offset or size */

struct finder {
	borders_read_fn read;
	void *arg;
	uint64_t size;
	uint64_t min_run;
	int error; /* of reading or of memory; nothing is looked at any more */
	bool full; /* BORDERS_MAX is reached; likewise */
	uint8_t *window;
	uint64_t window_off;
	size_t window_len;
	struct borders found; /* in the order of the parser */
	size_t max;           /* what it has room for */
};

static uint16_t le16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32_at(const uint8_t *p)
{
	return (uint32_t)le16_at(p) | (uint32_t)le16_at(p + 2) << 16;
}

static uint64_t le64_at(const uint8_t *p)
{
	return (uint64_t)le32_at(p) | (uint64_t)le32_at(p + 4) << 32;
}

static uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static bool is_inside(const struct finder *f, uint64_t off, size_t len)
{
	return !f->error && !f->full && off <= f->size && len <= f->size - off;
}

static bool is_in_window(const struct finder *f, uint64_t off, size_t len)
{
	return off >= f->window_off && off + len <= f->window_off + f->window_len;
}

/*
 * The @len bytes at @off, at most WINDOW_MAX, until the next call; or NULL when
 * the file does not have them or nothing more is to be read. What follows the
 * window closely is likely to be read on: the window grows.
 */
static const uint8_t *look(struct finder *f, uint64_t off, size_t len)
{
	size_t wanted = WINDOW_FIRST;

	assert(len <= WINDOW_MAX);
	if (!is_inside(f, off, len))
		return NULL;
	if (is_in_window(f, off, len))
		return f->window + (off - f->window_off);
	if (off >= f->window_off && off - f->window_off <= f->window_len + WINDOW_FIRST)
		wanted += f->window_len * 2;
	if (wanted > WINDOW_MAX)
		wanted = WINDOW_MAX;
	if (wanted < len)
		wanted = len;
	if (wanted > f->size - off)
		wanted = (size_t)(f->size - off);
	f->window_off = off;
	f->window_len = wanted;
	f->error = f->read(f->arg, f->window, wanted, off);
	return f->error ? NULL : f->window;
}

/* As look(), but into @buf, leaving the window where it is. */
static bool peek(struct finder *f, uint64_t off, size_t len, uint8_t *buf)
{
	if (!is_inside(f, off, len))
		return false;
	if (is_in_window(f, off, len))
		memcpy(buf, f->window + (off - f->window_off), len);
	else
		f->error = f->read(f->arg, buf, len, off);
	return !f->error;
}

static void add(struct finder *f, uint64_t at)
{
	uint64_t *grown;

	if (f->error || f->full || at == 0 || at >= f->size)
		return;
	f->full = f->found.n == BORDERS_MAX;
	if (f->full)
		return;
	grown = array_grow(f->found.at, f->found.n, &f->max, sizeof(*grown));
	if (!grown) {
		f->error = -ENOMEM;
		return;
	}
	f->found.at = grown;
	f->found.at[f->found.n++] = at;
}

/* Borders around the bytes from @start to @end, if they are enough. */
static void add_run(struct finder *f, uint64_t start, uint64_t end)
{
	if (end - start < f->min_run)
		return;
	add(f, start);
	add(f, end);
}

/* ---- PNG: a signature, then chunks: length, type, data, checksum. ---- */

enum { PNG_SIGNATURE_SIZE = 8, PNG_HEADER_SIZE = 8, PNG_CHECKSUM_SIZE = 4 };

static const uint8_t png_signature[PNG_SIGNATURE_SIZE] = { 0x89, 'P',  'N',  'G',
	                                                   '\r', '\n', 0x1a, '\n' };

static bool is_png_type(const uint8_t type[static 4])
{
	for (size_t i = 0; i < 4; i++) {
		uint8_t lower = type[i] | 0x20;

		if (lower < 'a' || lower > 'z')
			return false;
	}
	return true;
}

/* Where the sound chunk at @off ends, or NONE. */
static uint64_t png_chunk(struct finder *f, uint64_t off, bool *ret_is_data)
{
	const uint8_t *header = look(f, off, PNG_HEADER_SIZE);
	uint64_t size;

	if (!header || !is_png_type(header + 4) || be32_at(header) > INT32_MAX)
		return NONE;
	size = (uint64_t)PNG_HEADER_SIZE + be32_at(header) + PNG_CHECKSUM_SIZE;
	*ret_is_data = memcmp(header + 4, "IDAT", 4) == 0;
	return size <= f->size - off ? off + size : NONE;
}

static void find_in_png(struct finder *f)
{
	uint64_t start = 0, off = PNG_SIGNATURE_SIZE;
	bool is_data = false;
	uint64_t end;

	while ((end = png_chunk(f, off, &is_data)) != NONE && (is_data || start == 0)) {
		if (start == 0 && is_data)
			start = off;
		off = end;
	}
	if (start > 0)
		add_run(f, start, off);
}

/* ---- tar: blocks of 512 bytes; a header, then the member's data, padded. ---- */

enum {
	TAR_BLOCK = 512,
	TAR_SIZE = 124, /* offsets of fields, and their lengths */
	TAR_SIZE_LEN = 12,
	TAR_CHECKSUM = 148,
	TAR_CHECKSUM_LEN = 8,
	TAR_TYPE = 156,
	TAR_MAGIC = 257,
	TAR_SPARSE_MORE = 482,       /* GNU: blocks with more of the map follow the header */
	TAR_SPARSE_BLOCK_MORE = 504, /* and that one more follows */
	PAX_LOOK = 64,               /* the start of a record, a size in any case */
	DECIMAL_MAX = 19,            /* digits that always fit 64 bits */
};

/* An octal number between spaces and up to a space or NUL. NONE when there is none. */
static uint64_t tar_octal(const uint8_t *field, size_t len)
{
	uint64_t number = 0;
	size_t i = 0, first;

	while (i < len && field[i] == ' ')
		i++;
	for (first = i; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		number = number << 3 | (uint64_t)(field[i] - '0');
	if (i == first || (i < len && field[i] != ' ' && field[i] != '\0'))
		return NONE;
	return number;
}

/* GNU: after a byte 0x80, a binary number, most significant byte first. */
static uint64_t tar_size(const uint8_t *header)
{
	const uint8_t *field = header + TAR_SIZE;
	uint64_t number = 0;

	if (!(field[0] & 0x80))
		return tar_octal(field, TAR_SIZE_LEN);
	if (field[0] != 0x80)
		return NONE; /* negative, or far above 64 bits */
	for (size_t i = 1; i < TAR_SIZE_LEN; i++) {
		if (number >> 56 != 0)
			return NONE;
		number = number << 8 | field[i];
	}
	return number;
}

/* A block of zeros, the archive's end, has no checksum either. */
static bool is_tar_header(const uint8_t *header)
{
	uint64_t sum = (uint64_t)TAR_CHECKSUM_LEN * ' ';

	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (i < TAR_CHECKSUM || i >= TAR_CHECKSUM + TAR_CHECKSUM_LEN)
			sum += header[i];
	return tar_octal(header + TAR_CHECKSUM, TAR_CHECKSUM_LEN) == sum;
}

/* Length of the decimal number at the start of @p, 0 when there is none that fits. */
static size_t decimal(const uint8_t *p, size_t len, uint64_t *ret)
{
	size_t n = 0;

	for (*ret = 0; n < len && p[n] >= '0' && p[n] <= '9'; n++) {
		if (n == DECIMAL_MAX)
			return 0;
		*ret = *ret * 10 + (uint64_t)(p[n] - '0');
	}
	return n;
}

/* The size that the pax records from @off to @end give the next member, or NONE. */
static uint64_t pax_size(struct finder *f, uint64_t off, uint64_t end)
{
	static const char key[] = " size=";
	const size_t key_len = sizeof(key) - 1;
	uint64_t size = NONE;

	while (off < end) {
		size_t len = end - off < PAX_LOOK ? (size_t)(end - off) : PAX_LOOK;
		const uint8_t *p = look(f, off, len);
		uint64_t record, value;
		size_t n = p ? decimal(p, len, &record) : 0;

		if (n == 0 || n == len || p[n] != ' ' || record <= n || record > end - off)
			break;
		if (len - n > key_len && memcmp(p + n, key, key_len) == 0 &&
		    decimal(p + n + key_len, len - n - key_len, &value) > 0)
			size = value;
		off += record;
	}
	return size;
}

/* Where data begin at or after @off: GNU's map of a sparse member can be longer than its header. */
static uint64_t tar_skip_map(struct finder *f, uint64_t off, bool more)
{
	while (more) {
		const uint8_t *block = look(f, off, TAR_BLOCK);

		if (!block)
			return NONE;
		more = block[TAR_SPARSE_BLOCK_MORE] != 0;
		off += TAR_BLOCK;
	}
	return off;
}

/* Step over the member at *@off. *@pax is the size that an extended header gave it, or NONE. */
static bool tar_member(struct finder *f, uint64_t *off, uint64_t *pax)
{
	const uint8_t *header = look(f, *off, TAR_BLOCK);
	uint64_t start, size;
	char type;

	if (!header || !is_tar_header(header))
		return false;
	type = (char)header[TAR_TYPE];
	size = tar_size(header);
	start = tar_skip_map(f, *off + TAR_BLOCK, type == 'S' && header[TAR_SPARSE_MORE] != 0);
	if (type >= '1' && type <= '6') {
		size = 0; /* links, devices, directories: a size says something else */
		*pax = NONE;
	} else if (type == 'x') {
		*pax = size <= f->size ? pax_size(f, start, start + size) : NONE;
	} else if (type != 'g' && type != 'L' && type != 'K') {
		size = *pax != NONE ? *pax : size;
		*pax = NONE;
	}
	if (start > f->size || size > f->size - start)
		return false;
	if (type == '0' || type == '\0' || type == '7')
		add_run(f, start, start + size);
	*off = start + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	return true;
}

static void find_in_tar(struct finder *f)
{
	uint64_t off = 0, pax = NONE;

	while (tar_member(f, &off, &pax))
		continue;
}

/*
 * ---- zip: members, each behind a local header; then the central directory,
 * ---- which alone tells their sizes for sure; then records that tell where that is.
 */

enum {
	ZIP_LOCAL = 0x04034b50,
	ZIP_LOCAL_SIZE = 30,
	ZIP_ENTRY = 0x02014b50,
	ZIP_ENTRY_SIZE = 46,
	ZIP_END = 0x06054b50,
	ZIP_END_SIZE = 22,
	ZIP_END_LAST = 0x06, /* the last byte of its signature */
	ZIP64_END = 0x06064b50,
	ZIP64_END_SIZE = 56,
	ZIP64_LOCATOR = 0x07064b50,
	ZIP64_LOCATOR_SIZE = 20,
	ZIP64_EXTRA = 1,
	ZIP_EXTRA_SIZE = 4, /* of what each extra field begins with: identifier and length */
	ZIP_ENCRYPTED = 1 << 0,
	ZIP_TAIL_MAX = ZIP_END_SIZE + UINT16_MAX, /* with the longest comment */
};

_Static_assert((int)ZIP_TAIL_MAX <= (int)WINDOW_MAX, "the end record is searched in one window");

struct zip_directory {
	uint64_t off;
	uint64_t end;
	uint64_t prefix; /* bytes before the archive, which its offsets do not count */
};

struct zip_member {
	uint64_t plain_size;
	uint64_t size;   /* of its data as they lie there */
	uint64_t header; /* offset of the local header */
};

static bool has_signature(struct finder *f, uint64_t off, uint32_t signature)
{
	const uint8_t *p = look(f, off, 4);

	return p && le32_at(p) == signature;
}

/*
 * Offset of the last end record whose comment ends with the file, or NONE.
 * Most files are no zip and have to be searched in vain: look for one byte.
 */
static uint64_t zip_end(struct finder *f)
{
	size_t len = f->size < ZIP_TAIL_MAX ? (size_t)f->size : ZIP_TAIL_MAX;
	const uint8_t *tail = look(f, f->size - len, len);
	size_t left = tail && len >= ZIP_END_SIZE ? len - ZIP_END_SIZE + 4 : 0;
	const uint8_t *last;

	while (left >= 4 && (last = memrchr(tail + 3, ZIP_END_LAST, left - 3))) {
		size_t at = (size_t)(last - tail) - 3;

		if (le32_at(tail + at) == ZIP_END &&
		    at + ZIP_END_SIZE + le16_at(tail + at + 20) == len)
			return f->size - len + at;
		left = at + 3;
	}
	return NONE;
}

/*
 * Offset of the zip64 end record whose locator ends at @end, or NONE. The
 * locator does not count a prefix, so the place before it comes first.
 */
static uint64_t zip64_end(struct finder *f, uint64_t end)
{
	uint8_t locator[ZIP64_LOCATOR_SIZE];
	uint64_t last, told;

	if (end < ZIP64_LOCATOR_SIZE + ZIP64_END_SIZE ||
	    !peek(f, end - ZIP64_LOCATOR_SIZE, sizeof(locator), locator) ||
	    le32_at(locator) != ZIP64_LOCATOR)
		return NONE;
	last = end - ZIP64_LOCATOR_SIZE - ZIP64_END_SIZE;
	if (has_signature(f, last, ZIP64_END))
		return last;
	told = le64_at(locator + 8);
	return told < last && has_signature(f, told, ZIP64_END) ? told : NONE;
}

static bool zip_directory(struct finder *f, struct zip_directory *ret)
{
	uint64_t end = zip_end(f);
	uint64_t end64 = end != NONE ? zip64_end(f, end) : NONE;
	const uint8_t *record = end != NONE ? look(f, end, ZIP_END_SIZE) : NULL;
	uint64_t size, off;

	if (!record)
		return false;
	size = le32_at(record + 12);
	off = le32_at(record + 16);
	if (end64 != NONE) {
		record = look(f, end64, ZIP64_END_SIZE);
		if (!record)
			return false;
		size = le64_at(record + 40);
		off = le64_at(record + 48);
		end = end64;
	}
	/* It ends where the records begin, unless something lies between them. */
	if (size > end || off > end - size)
		return false;
	*ret = (struct zip_directory){ .off = off, .end = off + size, .prefix = 0 };
	if (has_signature(f, end - size, ZIP_ENTRY))
		*ret = (struct zip_directory){ end - size, end, end - size - off };
	return true;
}

/* Replace what @m could not hold in 32 bits by the 64-bit values at @off, there only for such. */
static void zip64_values(struct finder *f, uint64_t off, size_t len, struct zip_member *m)
{
	uint64_t *const values[] = { &m->plain_size, &m->size, &m->header };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const uint8_t *p;

		if (*values[i] != UINT32_MAX)
			continue;
		p = len >= sizeof(uint64_t) ? look(f, off, sizeof(uint64_t)) : NULL;
		if (!p)
			return;
		*values[i] = le64_at(p);
		off += sizeof(uint64_t);
		len -= sizeof(uint64_t);
	}
}

/* Find the values that @m could not hold in the extra fields from @off to @end. */
static void zip64_member(struct finder *f, uint64_t off, uint64_t end, struct zip_member *m)
{
	while (end - off >= ZIP_EXTRA_SIZE) {
		const uint8_t *field = look(f, off, ZIP_EXTRA_SIZE);
		uint16_t id, len;

		if (!field)
			return;
		id = le16_at(field);
		len = le16_at(field + 2);
		off += ZIP_EXTRA_SIZE;
		if (len > end - off)
			return;
		if (id == ZIP64_EXTRA) {
			zip64_values(f, off, len, m);
			return;
		}
		off += len;
	}
}

/* One whose data are not where the directory says is left out. */
static void zip_member(struct finder *f, const struct zip_directory *d, const struct zip_member *m)
{
	uint8_t local[ZIP_LOCAL_SIZE];
	uint64_t start;

	if (m->size < f->min_run || m->header > d->off - d->prefix ||
	    !peek(f, d->prefix + m->header, sizeof(local), local) || le32_at(local) != ZIP_LOCAL)
		return;
	start = d->prefix + m->header + ZIP_LOCAL_SIZE + le16_at(local + 26) + le16_at(local + 28);
	if (start <= d->off && m->size <= d->off - start)
		add_run(f, start, start + m->size);
}

static void find_in_zip(struct finder *f)
{
	struct zip_directory d;
	uint64_t off, next;

	if (!zip_directory(f, &d))
		return;
	for (off = d.off; off < d.end && d.end - off >= ZIP_ENTRY_SIZE; off = next) {
		const uint8_t *entry = look(f, off, ZIP_ENTRY_SIZE);
		uint64_t extra, extra_end;
		struct zip_member m;
		bool encrypted;

		if (!entry || le32_at(entry) != ZIP_ENTRY)
			return;
		extra = off + ZIP_ENTRY_SIZE + le16_at(entry + 28);
		extra_end = extra + le16_at(entry + 30);
		next = extra_end + le16_at(entry + 32);
		encrypted = le16_at(entry + 8) & ZIP_ENCRYPTED;
		m = (struct zip_member){ .plain_size = le32_at(entry + 24),
			                 .size = le32_at(entry + 20),
			                 .header = le32_at(entry + 42) };
		if (m.size == UINT32_MAX || m.header == UINT32_MAX)
			zip64_member(f, extra, extra_end, &m);
		if (!encrypted)
			zip_member(f, &d, &m);
	}
}

/* ---- */

static void find(struct finder *f)
{
	const uint8_t *p = look(f, 0, PNG_SIGNATURE_SIZE);

	if (p && memcmp(p, png_signature, PNG_SIGNATURE_SIZE) == 0) {
		find_in_png(f);
		return;
	}
	p = look(f, 0, TAR_BLOCK);
	if (p && memcmp(p + TAR_MAGIC, "ustar", 5) == 0 && is_tar_header(p))
		find_in_tar(f);
	else
		find_in_zip(f);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_unique(struct borders *b)
{
	size_t n = 0, sorted = 1;

	while (sorted < b->n && b->at[sorted - 1] <= b->at[sorted])
		sorted++;
	if (sorted < b->n) /* few archives are out of order */
		qsort(b->at, b->n, sizeof(*b->at), compare);
	for (size_t i = 0; i < b->n; i++)
		if (n == 0 || b->at[i] != b->at[n - 1])
			b->at[n++] = b->at[i];
	b->n = n;
}

int borders_find(borders_read_fn read, void *arg, uint64_t size, uint64_t min_run,
                 struct borders *ret)
{
	CLEANUP(free) uint8_t *window = malloc(WINDOW_MAX);
	struct finder f = {
		.read = read,
		.arg = arg,
		.size = size,
		.min_run = min_run > 0 ? min_run : 1,
		.error = window ? 0 : -ENOMEM,
		.window = window,
	};

	assert(size <= INT64_MAX);
	find(&f);
	*ret = f.found;
	if (f.error)
		borders_release(ret);
	else
		sort_unique(ret);
	return f.error;
}

void borders_release(struct borders *b)
{
	free(b->at);
	*b = (struct borders){ .at = NULL, .n = 0 };
}
