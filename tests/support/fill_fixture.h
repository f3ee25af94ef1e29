/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region, a fill and an image, for tests of the daemon's parts. The
 * sample: "big" of many chunks, "twin" that shares most of its chunks with
 * it, and small files that share one chunk.
 */
#pragma once

#include "fill.h"
#include "flat_image.h"

enum {
	FIXTURE_BIG = 300 * 1000 + 123,
	FIXTURE_SMALL = 700,
	FIXTURE_SMALLS = 20,
	FIXTURE_FILES = FIXTURE_SMALLS + 2,
};

struct fill_fixture {
	char dir[32];                  /* temporary; removed by fill_fixture_release() */
	uint8_t *bytes[FIXTURE_FILES]; /* owned; plain content of each file */
	char name[FIXTURE_FILES][16];
	struct flat_file file[FIXTURE_FILES];
	struct region *region;
	struct stats stats;
	struct fill *fill;
	struct image *img;
	unsigned n_done; /* atomic; calls of fill_fixture_count_done() */
};

/* Returns 0; -EPERM where this process may not make a region; -errno. */
MUST_CHECK int fill_fixture_init(struct fill_fixture *f, uint64_t region_size, struct err *err);

/* Also after a failed fill_fixture_init(). */
void fill_fixture_release(struct fill_fixture *f);

static inline void fill_fixture_release_cleanup(struct fill_fixture *f)
{
	fill_fixture_release(f);
}

/* A fill_done_fn that counts in the struct fill_fixture @arg. */
void fill_fixture_count_done(void *arg, struct object *obj);

/* Map and object of file @i; the caller gives both references back. */
MUST_CHECK int fill_fixture_open(struct fill_fixture *f, size_t i, struct extent_map **ret_map,
                                 struct object **ret_obj, struct err *err);
