/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses: ranges of files in order of first use, each byte once. What a recording
 * collects, and what a prefetch goes along. No locking: the owner serialises.
 */
#pragma once

#include "base/table.h"
#include "ranges.h"

/* Bytes [off, off + len) of a file; len 0: it was opened. */
struct use {
	uint64_t file; /* whatever names files for the owner */
	uint64_t off, len;
};

struct uses {
	struct use *list; /* owned */
	size_t n, cap;
	size_t max;         /* entries of list; constant */
	struct table files; /* struct used_file; owned */
};

#define USES_INIT(limit) ((struct uses){ .list = NULL, .max = (limit) })

/* A file of which something was used. */
struct used_file {
	struct table_node node; /* under the file */
	struct ranges ranges;   /* of which uses are in the list; what comes next to them merges */
	bool unknown;           /* what was read of it is not known */
	char *path;             /* owned; NULL until somebody has found it out */
};

void uses_release(struct uses *uses);

/*
 * Add what of [@off, @end) of @file is not there yet; bytes that follow the last use
 * lengthen it. Returns 0; -ENOSPC when the list is full; -ENOMEM.
 */
MUST_CHECK int uses_add(struct uses *uses, uint64_t file, uint64_t off, uint64_t end);

/*
 * Add that @file was opened, the first time; with @unknown, that what is read of it cannot be
 * seen: further ranges of it are left out. Errors as above.
 */
MUST_CHECK int uses_add_open(struct uses *uses, uint64_t file, bool unknown);

/* Add a use that the caller knows to be the file's only one, without remembering the file. */
MUST_CHECK int uses_append(struct uses *uses, const struct use *use);

/* What is known of @file, or NULL. Borrowed until uses change. */
struct used_file *uses_find(const struct uses *uses, uint64_t file);
