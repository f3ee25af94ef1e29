/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where well-known formats have borders inside a file: offsets at which a part
 * begins or ends that can stay the same, or be met again as a file of its own,
 * while its neighbours change. A chunk that begins there is found again.
 *
 *   PNG   the run of IDAT chunks, apart from the text and times around it
 *         (RFC 2083; W3C, Portable Network Graphics, third edition, section 5)
 *   zip   each member's data as it lies there, whatever the archive's name;
 *         zip64, with a comment, or behind a prefix. No encrypted members
 *         (PKWARE, APPNOTE.TXT, sections 4.3 to 4.5)
 *   tar   each regular member's data: ustar, pax, GNU
 *         (IEEE Std 1003.1, pax, "ustar" and "pax Interchange Format";
 *         GNU tar manual, "Basic Tar Format")
 *
 * A format is known by its bytes. They are not to be trusted: a border is a
 * hint, and all that is promised of one is that it lies inside the file.
 * Pure functions over a callback, safe from any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Read exactly @len bytes, at least 1, at @off into @buf. Never asked for bytes
 * outside the file. Returns 0 or -errno.
 */
typedef int (*borders_read_fn)(void *arg, void *buf, size_t len, uint64_t off);

struct borders {
	uint64_t *at; /* owned; ascending, unique, each above 0 and below the file's size; or NULL */
	size_t n;     /* at most 2^22: the rest of a larger archive has none */
};

/*
 * Find the borders around parts of at least @min_run bytes (0 is as 1) in a
 * file of @size bytes, at most INT64_MAX, that @read reads. Returns 0 and sets
 * *@ret, which the caller releases: without borders for an unknown format, and
 * with those found so far, or of what is sound, for a damaged file. Returns
 * -ENOMEM, or what @read returned, with *@ret empty. There are fewer reads
 * than 16 and one for each 30 bytes of the file; besides the result, memory
 * does not depend on the file.
 */
MUST_CHECK int borders_find(borders_read_fn read, void *arg, uint64_t size, uint64_t min_run,
                            struct borders *ret);

/* Free what borders_find() found, leaving @b empty. */
void borders_release(struct borders *b);

static inline void borders_release_cleanup(struct borders *b)
{
	borders_release(b);
}
