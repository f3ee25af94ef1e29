/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fill: making an object, or a range of it, valid: read, decompress, verify,
 * place.
 *
 * Work is single-flight per chunk for the whole node: the thread that needs a
 * chunk first does the work, the others wait and inherit its result or its
 * error. What else the image has of that chunk (small files share chunks, and
 * changed files are made of parts of old ones) is placed at the same time; bytes
 * of a chunk that lie in some object already are copied from there. So an image
 * has no chunk decompressed twice while the region has room; another image may,
 * if it wants bytes of a chunk that the first one has no use for.
 *
 * Functions may be called from any thread, with no lock held: they read files
 * and may take milliseconds.
 */
#pragma once

#include "image.h"
#include "region.h"
#include "stats.h"

struct fill;

/*
 * Bytes. A file of at most that is filled whole where it is opened, first read or used by a trace:
 * some tens of milliseconds at the speed of one core.
 */
#define SYNC_FILL_MAX ((uint64_t)16 << 20)

/* Content that is being filled: its image and where its bytes come from. Shared by reference. */
struct extent_map {
	uint32_t refs;     /* atomic */
	struct image *img; /* borrowed; outlives the map */
	struct content content;
	uint64_t start,
		end; /* what of the content the map tells of; what no extent has is a hole */
	struct extent *extent; /* owned; in order of offset */
	uint32_t n;
	bool is_loaded; /* else nothing is known yet; under the lock of the background threads until then */
};

/* Load the map of @content. Returns 0, -EBADMSG, -ENOMEM or -errno. */
MUST_CHECK int extent_map_load(struct image *img, const struct content *content,
                               struct extent_map **ret, struct err *err);
/* As extent_map_load(), for the @len bytes at @off: cheap, whatever the size of the content. */
MUST_CHECK int extent_map_load_range(struct image *img, const struct content *content, uint64_t off,
                                     uint64_t len, struct extent_map **ret, struct err *err);

/* A map that fill_later() will load, and that nothing else may be done with. 0 or -ENOMEM. */
MUST_CHECK int extent_map_later(struct image *img, const struct content *content,
                                struct extent_map **ret);
struct extent_map *extent_map_ref(struct extent_map *map);

/* Accepts NULL. */
void extent_map_unref(struct extent_map *map);
DEFINE_CLEANUP(struct extent_map *, extent_map_unref)

/*
 * Start with @n_threads threads, one for each core, that help those who wait for a fill_object()
 * and do background work: at most @n_background of them that. @region and @stats outlive the result.
 */
MUST_CHECK int fill_new(struct region *region, struct stats *stats, unsigned n_threads,
                        unsigned n_background, struct fill **ret, struct err *err);

/*
 * How long a caller waits for others, in seconds, before it fails with -ETIMEDOUT: for a chunk that
 * another thread reads, or for its turn to read a local pack. Those who come later fail at once,
 * until something moves again. Never, unless this was called; before any other call.
 */
void fill_set_patience(struct fill *fill, unsigned seconds);

/*
 * What chunks of local images are compared with before their first use, of enum chunk_check: digests, unless
 * this was called; before any other call.
 */
void fill_set_local_checks(struct fill *fill, unsigned checks);

/* Stop the background threads. Accepts NULL. No other call may be under way. */
void fill_free(struct fill *fill);
DEFINE_CLEANUP(struct fill *, fill_free)

/*
 * Fill the @len bytes at @off of @obj, the object of @map's content. Returns 0,
 * -ENOSPC when the region has no room, or what image_read_chunk() returns; what
 * could be filled before the failure stays filled.
 */
MUST_CHECK int fill_range(struct fill *fill, struct extent_map *map, struct object *obj,
                          uint64_t off, uint64_t len, struct err *err);

/*
 * As fill_range() for all of @obj, but goes on after an extent that fails, so
 * that damage costs no more than itself; not when its pack cannot be fetched. Returns the first error.
 */
MUST_CHECK int fill_object(struct fill *fill, struct extent_map *map, struct object *obj,
                           struct err *err);

/*
 * Put the @len bytes at @off of @map's content into @buf, without making room in the
 * region: what lies there is copied. Errors as above.
 */
MUST_CHECK int fill_read(struct fill *fill, struct extent_map *map, uint64_t off, size_t len,
                         void *buf, struct err *err);

/* Free what is kept for the next fill. When it is quiet; any thread. */
void fill_trim(struct fill *fill);

/* Called by a background thread when it is done with a fill_later(), whatever became of it. */
typedef void (*fill_done_fn)(void *arg, struct object *obj);

/* Background work, the most urgent first; in order of arrival where it is equal. */
enum fill_priority {
	FILL_PREFETCH, /* somebody waits for it, though not in a system call */
	FILL_OPEN,     /* the file is open */
	FILL_AHEAD,    /* the file is likely to be opened */
};

/*
 * Fill all of @obj in the background; takes its own references. @done is called
 * once with @arg, unless it is NULL. Returns 0 or -ENOMEM (@done is not called then).
 *
 * Other calls of this module go first: background threads begin no chunk while these are more
 * than the cores, one of which may wait for a disk.
 */
MUST_CHECK int fill_later(struct fill *fill, struct extent_map *map, struct object *obj,
                          enum fill_priority priority, fill_done_fn done, void *arg);

/* Drop queued background work for @img and wait until none is running: it may be closed then. */
void fill_cancel(struct fill *fill, const struct image *img);
