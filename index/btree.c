/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page is kept until one cell of the next one is known: no page may be empty, and what a page
 * above has of it depends on whether there is one.
 *
 * In a table, a page above has the number of the last row of each page below. In an index, a row
 * that does not fit becomes the page above's, and is in no leaf.
 */
#include "btree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

enum {
	GATHERED = 64,                          /* pages that are written at once */
	LOCK_PAGE = (1 << 30) / BTREE_PAGE + 1, /* holds no data, in no file */
	PAGES_MAX = INT32_MAX - 1,

	TABLE_LEAF = 13,
	TABLE_ABOVE = 5,
	INDEX_LEAF = 10,
	INDEX_ABOVE = 2,

	AT_PAGES = 28, /* in the file's header: how many it has */

	/* Offsets in a page's head; numbers are big-endian. */
	AT_CELLS = 3,
	AT_CONTENT = 5,
	AT_RIGHT = 8,
	LEAF_HEAD = 8,
	ABOVE_HEAD = 12,

	CHILD = 4, /* bytes of a page number, before each cell of a page above */

	/* Bytes of a row that a page has at most; when it has more, the rest goes to pages of its own. */
	TABLE_LOCAL_MAX = BTREE_PAGE - 35,
	INDEX_LOCAL_MAX = (BTREE_PAGE - 12) * 64 / 255 - 23,
	LOCAL_MIN = (BTREE_PAGE - 12) * 32 / 255 - 23,
	OVERFLOW = BTREE_PAGE - 4, /* bytes in each of these */

	VARINT_MAX = 9,
	RECORD_HEAD = 64,
	CELL_MAX = 2 * VARINT_MAX + TABLE_LOCAL_MAX + 4,
	DIVIDER_MAX = VARINT_MAX + INDEX_LOCAL_MAX + 4,
};

struct btree_level {
	uint8_t page[BTREE_PAGE]; /* being filled */
	bool has_full;
	uint8_t full[BTREE_PAGE];     /* the one before, not written yet */
	uint8_t divider[DIVIDER_MAX]; /* what the level above gets for it */
	size_t divider_len;
};

static void put16(uint8_t *at, uint32_t n)
{
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void put32(uint8_t *at, uint32_t n)
{
	put16(at, n >> 16);
	put16(at + 2, n & 0xffff);
}

/* Returns the number of bytes. */
static size_t put_varint(uint8_t *at, uint64_t n)
{
	uint8_t reversed[VARINT_MAX];
	size_t len = 0;

	if (n >> 56) {
		at[8] = (uint8_t)n;
		n >>= 8;
		for (int i = 7; i >= 0; i--, n >>= 7)
			at[i] = (uint8_t)(n & 0x7f) | 0x80;
		return VARINT_MAX;
	}
	do {
		reversed[len++] = (uint8_t)(n & 0x7f) | 0x80;
		n >>= 7;
	} while (n > 0);
	reversed[0] &= 0x7f;
	for (size_t i = 0; i < len; i++)
		at[i] = reversed[len - 1 - i];
	return len;
}

int btree_file_init(struct btree_file *f, int fd, const void *front, uint32_t n_front)
{
	*f = (struct btree_file){ .fd = fd, .n = n_front, .n_front = n_front };
	f->buf = malloc(((size_t)n_front + GATHERED) * BTREE_PAGE);
	if (!f->buf)
		return -ENOMEM;
	memcpy(f->buf, front, (size_t)n_front * BTREE_PAGE);
	return 0;
}

static uint8_t *gathered(const struct btree_file *f)
{
	return f->buf + (size_t)f->n_front * BTREE_PAGE;
}

int btree_file_flush(struct btree_file *f)
{
	uint32_t n = f->n_gathered;

	f->n_gathered = 0;
	return n == 0 ? 0
	              : io_pwrite(f->fd, gathered(f), (size_t)n * BTREE_PAGE,
	                          (uint64_t)(f->n - n) * BTREE_PAGE);
}

int btree_file_finish(struct btree_file *f)
{
	uint32_t n = f->n_front;
	int r = 0;

	put32(f->buf + AT_PAGES, f->n);
	/* A small file is written at once. */
	if (f->n - f->n_gathered == n)
		n = f->n;
	else
		r = btree_file_flush(f);
	f->n_gathered = 0;
	return r < 0 ? r : io_pwrite(f->fd, f->buf, (size_t)n * BTREE_PAGE, 0);
}

void btree_file_release(struct btree_file *f)
{
	free(f->buf);
	f->buf = NULL;
}

static int gather(struct btree_file *f, const uint8_t *page)
{
	if (f->n >= PAGES_MAX)
		return -EFBIG;
	memcpy(gathered(f) + (size_t)f->n_gathered * BTREE_PAGE, page, BTREE_PAGE);
	f->n_gathered++;
	f->n++;
	return f->n_gathered == GATHERED ? btree_file_flush(f) : 0;
}

/* The number of the page that follows page @n. */
static uint32_t page_after(uint32_t n)
{
	return n + 1 == LOCK_PAGE ? n + 2 : n + 1;
}

/* Append @page, and set its number. */
static int append_page(struct btree_file *f, const uint8_t *page, uint32_t *ret)
{
	static const uint8_t nothing[BTREE_PAGE];
	int r = f->n + 1 == LOCK_PAGE ? gather(f, nothing) : 0;

	if (r == 0)
		r = gather(f, page);
	*ret = f->n;
	return r;
}

int btree_record_init(struct btree_record *r, size_t max)
{
	*r = (struct btree_record){ .max = max };
	r->bytes = malloc(RECORD_HEAD + max);
	return r->bytes ? 0 : -ENOMEM;
}

void btree_record_release(struct btree_record *r)
{
	free(r->bytes);
	r->bytes = NULL;
}

void btree_record_begin(struct btree_record *r)
{
	r->len = 0;
	r->head_len = 1; /* of which the first is its length */
}

void btree_record_null(struct btree_record *r)
{
	r->head[r->head_len++] = 0;
}

/* The type of an integer, and its bytes. */
static uint8_t integer_type(int64_t value, size_t *ret_len)
{
	static const uint8_t lengths[] = { 1, 2, 3, 4, 6, 8 };
	uint64_t n = value < 0 ? ~(uint64_t)value : (uint64_t)value;
	uint8_t type = 0;

	*ret_len = 0;
	if (value == 0 || value == 1)
		return (uint8_t)(8 + value);
	while (type < 5 && n >> (8 * lengths[type] - 1))
		type++;
	*ret_len = lengths[type];
	return type + 1;
}

void btree_record_int(struct btree_record *r, int64_t value)
{
	uint8_t *at = r->bytes + RECORD_HEAD + r->len;
	uint64_t bits = (uint64_t)value;
	size_t len;

	r->head[r->head_len++] = integer_type(value, &len);
	for (size_t i = len; i > 0; i--, bits >>= 8)
		at[i - 1] = (uint8_t)bits;
	r->len += len;
}

static void add_bytes(struct btree_record *r, const void *data, size_t len, unsigned type)
{
	r->head_len += put_varint(r->head + r->head_len, 2 * len + type);
	if (len > 0)
		memcpy(r->bytes + RECORD_HEAD + r->len, data, len);
	r->len += len;
}

void btree_record_blob(struct btree_record *r, const void *data, size_t len)
{
	add_bytes(r, data, len, 12);
}

void btree_record_text(struct btree_record *r, const char *text)
{
	add_bytes(r, text, strlen(text), 13);
}

/* Put the head before the values. */
static const uint8_t *record_bytes(struct btree_record *r, size_t *ret_len)
{
	uint8_t *at = r->bytes + RECORD_HEAD - r->head_len;

	r->head[0] = (uint8_t)r->head_len;
	memcpy(at, r->head, r->head_len);
	*ret_len = r->head_len + r->len;
	return at;
}

static size_t head_size(const uint8_t *page)
{
	return page[0] == TABLE_LEAF || page[0] == INDEX_LEAF ? LEAF_HEAD : ABOVE_HEAD;
}

static bool is_above(const uint8_t *page)
{
	return head_size(page) == ABOVE_HEAD;
}

static void page_init(uint8_t *page, uint8_t type)
{
	memset(page, 0, BTREE_PAGE);
	page[0] = type;
	put16(page + AT_CONTENT, BTREE_PAGE);
}

/* Add a cell of @len bytes behind the others. Returns whether there was room. */
static bool page_add(uint8_t *page, const uint8_t *cell, size_t len)
{
	uint32_t n = get16(page + AT_CELLS);
	size_t start = get16(page + AT_CONTENT);
	size_t end = head_size(page) + 2 * (size_t)n;

	if (start - end < len + 2)
		return false;
	start -= len;
	memcpy(page + start, cell, len);
	put16(page + end, (uint32_t)start);
	put16(page + AT_CELLS, n + 1);
	put16(page + AT_CONTENT, (uint32_t)start);
	return true;
}

/* Take the last cell off, of which @cell has room for all bytes. Returns their number. */
static size_t page_take(uint8_t *page, uint8_t *cell)
{
	uint32_t n = get16(page + AT_CELLS);
	uint8_t *place = page + head_size(page) + 2 * (size_t)(n - 1);
	size_t start = get16(place);
	size_t end = n > 1 ? get16(place - 2) : BTREE_PAGE;

	memcpy(cell, page + start, end - start);
	memset(page + start, 0, end - start);
	put16(place, 0);
	put16(page + AT_CELLS, n - 1);
	put16(page + AT_CONTENT, (uint32_t)end);
	return end - start;
}

/* The level @i, made when there is none. */
static struct btree_level *level_at(struct btree *t, size_t i)
{
	uint8_t leaf = t->is_table ? TABLE_LEAF : INDEX_LEAF;
	uint8_t above = t->is_table ? TABLE_ABOVE : INDEX_ABOVE;

	if (i == BTREE_LEVELS)
		return NULL;
	if (!t->levels[i]) {
		t->levels[i] = malloc(sizeof(struct btree_level));
		if (!t->levels[i])
			return NULL;
		t->levels[i]->has_full = false;
		page_init(t->levels[i]->page, i == 0 ? leaf : above);
	}
	return t->levels[i];
}

/*
 * Write the full page of level @i. It, and its divider, may make a page of the level above full,
 * which is written when the next comes: levels are gone through upwards.
 */
static int write_full(struct btree *t, size_t i)
{
	for (;; i++) {
		struct btree_level *level = t->levels[i], *above = level_at(t, i + 1);
		uint8_t cell[CHILD + DIVIDER_MAX];
		size_t len = CHILD + level->divider_len;
		uint32_t number;
		bool more;
		int r = above ? append_page(t->file, level->full, &number) : -ENOMEM;

		if (r < 0)
			return r;
		level->has_full = false;
		put32(cell, number);
		memcpy(cell + CHILD, level->divider, level->divider_len);
		more = above->has_full;
		if (!page_add(above->page, cell, len)) {
			/* The new page is its last one, and the divider goes further up. */
			memcpy(above->full, above->page, BTREE_PAGE);
			memcpy(above->full + AT_RIGHT, cell, CHILD);
			memcpy(above->divider, level->divider, level->divider_len);
			above->divider_len = level->divider_len;
			above->has_full = true;
			page_init(above->page, above->full[0]);
		}
		if (!more)
			return 0;
	}
}

/* The page of @level becomes the full one, with @divider. */
static void set_full(struct btree_level *level, const uint8_t *divider, size_t len)
{
	memcpy(level->full, level->page, BTREE_PAGE);
	memcpy(level->divider, divider, len);
	level->divider_len = len;
	level->has_full = true;
	page_init(level->page, level->full[0]);
}

static int add_cell(struct btree *t, uint64_t rowid, const uint8_t *cell, size_t len)
{
	struct btree_level *leaf = level_at(t, 0);
	uint8_t last[VARINT_MAX];
	int r;

	if (!leaf)
		return -ENOMEM;
	if (leaf->has_full) {
		r = write_full(t, 0);
		if (r < 0)
			return r;
	}
	if (page_add(leaf->page, cell, len)) {
		t->last = rowid;
		return 0;
	}
	if (!t->is_table) {
		set_full(leaf, cell, len);
		return 0;
	}
	set_full(leaf, last, put_varint(last, t->last));
	t->last = rowid;
	r = write_full(t, 0);
	/* The page is empty, and every cell fits. */
	return r < 0 ? r : page_add(leaf->page, cell, len) ? 0 : -EFBIG;
}

/* Write the @len bytes at @data to pages of their own. */
static int write_overflow(struct btree_file *f, const uint8_t *data, size_t len)
{
	uint8_t page[BTREE_PAGE];
	int r = 0;

	while (r == 0 && len > 0) {
		size_t n = len < OVERFLOW ? len : OVERFLOW;
		uint32_t number;

		memset(page, 0, sizeof(page));
		put32(page, len > n ? page_after(page_after(f->n)) : 0);
		memcpy(page + 4, data, n);
		r = append_page(f, page, &number);
		data += n;
		len -= n;
	}
	return r;
}

int btree_add(struct btree *t, uint64_t rowid, struct btree_record *record)
{
	const size_t max = t->is_table ? TABLE_LOCAL_MAX : INDEX_LOCAL_MAX;
	uint8_t cell[CELL_MAX];
	size_t size, local, len;
	const uint8_t *bytes = record_bytes(record, &size);
	int r = 0;

	len = put_varint(cell, size);
	if (t->is_table)
		len += put_varint(cell + len, rowid);
	local = size;
	if (size > max) {
		local = LOCAL_MIN + (size - LOCAL_MIN) % OVERFLOW;
		local = local <= max ? local : LOCAL_MIN;
	}
	memcpy(cell + len, bytes, local);
	len += local;
	if (local < size) {
		put32(cell + len, page_after(t->file->n));
		len += 4;
		r = write_overflow(t->file, bytes + local, size - local);
	}
	return r < 0 ? r : add_cell(t, rowid, cell, len);
}

/* The page of @level has no cell, and gets the last but one before it, so that it has one. */
static void share(struct btree_level *level)
{
	uint8_t cell[CHILD + DIVIDER_MAX];
	bool above = is_above(level->page);
	size_t child = above ? CHILD : 0;
	size_t len;

	memcpy(cell, level->full + AT_RIGHT, CHILD);
	memcpy(cell + child, level->divider, level->divider_len);
	(void)page_add(level->page, cell, child + level->divider_len);
	len = page_take(level->full, cell);
	if (above)
		memcpy(level->full + AT_RIGHT, cell, CHILD);
	level->divider_len = len - child;
	memcpy(level->divider, cell + child, len - child);
}

int btree_finish(struct btree *t)
{
	uint32_t number = 0;
	int r;

	for (size_t i = 0; i < BTREE_LEVELS && t->levels[i]; i++) {
		struct btree_level *level = t->levels[i];

		if (i > 0)
			put32(level->page + AT_RIGHT, number);
		if (level->has_full && get16(level->page + AT_CELLS) == 0)
			share(level);
		r = level->has_full ? write_full(t, i) : 0;
		if (r < 0)
			return r;
		if (i + 1 == BTREE_LEVELS || !t->levels[i + 1]) {
			memcpy(t->file->buf + (size_t)(t->root - 1) * BTREE_PAGE, level->page,
			       BTREE_PAGE);
			return 0;
		}
		r = append_page(t->file, level->page, &number);
		if (r < 0)
			return r;
	}
	return 0;
}

void btree_release(struct btree *t)
{
	for (size_t i = 0; i < BTREE_LEVELS; i++)
		free(t->levels[i]);
	*t = (struct btree){ .file = NULL };
}
