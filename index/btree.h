/* SPDX-License-Identifier: Apache-2.0 */
/*
 * B-trees of an SQLite file (sqlite.org/fileformat2.html), written once, in order of their keys.
 *
 * SQLite inserts row by row: it finds the place, moves what is there, and splits pages. Who has all
 * rows in order needs none of that: pages are filled from the left, and written many at a time. What
 * is in the file besides, header and schema, SQLite itself has made: these are its front pages, which
 * have the roots, too, and are written last.
 *
 * One thread at a time. Functions return 0, -ENOMEM, what io_write() returns, or -EFBIG when the
 * file would have too many pages.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	BTREE_PAGE = 4096,
	BTREE_LEVELS = 20, /* more than 2^32 pages can have */
};

struct btree_file {
	int fd;           /* borrowed */
	uint32_t n;       /* pages, written or gathered */
	uint8_t *buf;     /* owned; the front pages, and pages that are gathered */
	uint32_t n_front; /* pages */
	uint32_t n_gathered;
};

/* The file open at @fd is empty, and gets the @n_front pages at @front, which are copied, and those that follow. */
MUST_CHECK int btree_file_init(struct btree_file *f, int fd, const void *front, uint32_t n_front);

/* Write what is gathered: all that there is but for the front pages. */
MUST_CHECK int btree_file_flush(struct btree_file *f);

/* Once all trees are finished: write what is left, with the number of pages in the file's header. */
MUST_CHECK int btree_file_finish(struct btree_file *f);

void btree_file_release(struct btree_file *f);

/* The values of a row, in SQLite's record format. */
struct btree_record {
	uint8_t *bytes; /* owned; room for the head before the values */
	size_t max;     /* bytes of values that there is room for */
	size_t len;     /* bytes of values */
	uint8_t head[64];
	size_t head_len;
};

/* Room for @max bytes of values, those of integers included. Returns 0 or -ENOMEM. */
MUST_CHECK int btree_record_init(struct btree_record *r, size_t max);

void btree_record_release(struct btree_record *r);

/* Begin a row anew, and add one value after another: at most 12, of no more bytes than there is room. */
void btree_record_begin(struct btree_record *r);
void btree_record_null(struct btree_record *r);
void btree_record_int(struct btree_record *r, int64_t value);
void btree_record_blob(struct btree_record *r, const void *data, size_t len);
void btree_record_text(struct btree_record *r, const char *text);

struct btree_level;

struct btree {
	struct btree_file *file; /* borrowed */
	uint32_t root;           /* the page that it begins at, an empty one of the front */
	bool is_table;           /* has row numbers as keys; else records are the keys */
	uint64_t last;           /* row number added last */
	struct btree_level *levels[BTREE_LEVELS]; /* owned; the leaves first */
};

/* Add the row @r, whose key follows those before it; @rowid is the number of a table's row. */
MUST_CHECK int btree_add(struct btree *t, uint64_t rowid, struct btree_record *r);

/* Pages that are not full are left no longer, and the root is in its place. */
MUST_CHECK int btree_finish(struct btree *t);

void btree_release(struct btree *t);
