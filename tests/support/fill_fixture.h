/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region, a fill and images, for tests of the daemon's parts.
 *
 * The sample is one image: "big" of many chunks, "twin" that shares most of its
 * chunks with it, and small files that share one chunk.
 *
 * The releases are two images over the same few chunks, whose files are made
 * of many parts of them in turns, with holes. The later release cuts the chunks
 * elsewhere; one file is in both, and one has a whole chunk.
 */
#pragma once

#include "fill.h"
#include "flat_image.h"

enum {
	FIXTURE_BIG = 300 * 1000 + 123,
	FIXTURE_SMALL = 700,
	FIXTURE_SMALLS = 20,
	FIXTURE_FILES = FIXTURE_SMALLS + 2,
	FIXTURE_THREADS = 4,   /* of the fill; 2 of them do background work */
	RELEASE_FILES = 10,    /* in each of the two */
	RELEASE_CHUNKS = 4,    /* that both are made of */
	RELEASE_CHUNK = 12000, /* bytes of each */
	RELEASE_PARTS = 32,    /* of a file, at most */
};

struct fill_fixture {
	char dir[32];                  /* temporary; removed by fill_fixture_release() */
	uint8_t *bytes[FIXTURE_FILES]; /* owned; plain content of each file */
	char name[FIXTURE_FILES][24];
	struct flat_file file[FIXTURE_FILES]; /* those of the later release follow the others */
	size_t n_files;                       /* of both */
	struct region *region;
	struct stats stats;
	struct fill *fill;
	struct image *img;
	struct image *later; /* NULL in the sample */
	unsigned n_done;     /* atomic; calls of fill_fixture_count_done() */
	uint8_t chunk[RELEASE_CHUNKS][RELEASE_CHUNK];
	struct flat_part part[FIXTURE_FILES][RELEASE_PARTS];
};

/* Make the sample. Returns 0; -EPERM where this process may not make a region; -errno. */
MUST_CHECK int fill_fixture_init(struct fill_fixture *f, uint64_t region_size, struct err *err);

/*
 * Make the releases. The first uses the first @used bytes of each chunk, the
 * later one all. Returns as fill_fixture_init() does.
 */
MUST_CHECK int fill_fixture_init_releases(struct fill_fixture *f, uint64_t region_size, size_t used,
                                          struct err *err);

/* Also after a failure to make it. */
void fill_fixture_release(struct fill_fixture *f);

static inline void fill_fixture_release_cleanup(struct fill_fixture *f)
{
	fill_fixture_release(f);
}

/* A fill_done_fn that counts in the struct fill_fixture @arg. */
void fill_fixture_count_done(void *arg, struct object *obj);

/*
 * Map and object of file @i; the caller gives both references back. Returns 0;
 * -ENOSPC with the map alone when the region is full; -errno.
 */
MUST_CHECK int fill_fixture_open(struct fill_fixture *f, size_t i, struct extent_map **ret_map,
                                 struct object **ret_obj, struct err *err);
