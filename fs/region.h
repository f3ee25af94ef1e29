/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region: plain bytes, held once for the whole node.
 *
 * An object is a file on a private tmpfs: the bytes of one content, named by
 * its digest, whatever images and mounts use it. The tmpfs is mounted nowhere;
 * it exists as long as the region, or a file that somebody still has open.
 *
 * Invariants
 * 1. An object's file has the content's size before its first byte is
 *    written, so that tmpfs puts it on huge pages in whatever order it is filled.
 * 2. Only verified bytes are written to an object.
 * 3. The set of placed ranges grows only after the bytes are in the file; a
 *    complete object never changes again.
 * 4. The sizes of all objects, rounded up to pages, never exceed the region's
 *    size: a hole that a reader maps still has room.
 *
 * All functions may be called from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

struct region;
struct object;

/* Create a region in memory of at most @size bytes. Returns 0, -EPERM or -errno. */
MUST_CHECK int region_open(uint64_t size, struct region **ret, struct err *err);

/* Accepts NULL. No object may be referenced any more. */
void region_close(struct region *region);
DEFINE_CLEANUP(struct region *, region_close)

/* Half of the smaller of the machine's memory and the limit of this process's cgroup, in bytes. */
uint64_t region_default_size(void);

struct region_usage {
	uint64_t size;    /* bytes allowed */
	uint64_t used;    /* bytes of memory in use */
	uint64_t objects; /* number of objects with at least one placed byte */
};

void region_usage(struct region *region, struct region_usage *ret);

/*
 * Get the object for the content of @digest and @size bytes, empty when it is
 * new. Returns 0 and a reference that object_unref() gives back; -ENOSPC when
 * the region is full; -ENOMEM.
 */
MUST_CHECK int region_get(struct region *region, const struct digest *digest, uint64_t size,
                          struct object **ret);

/*
 * As region_get(), for a content that nobody has asked for: a new object is
 * made only while half of the region stays free, for those that will be.
 */
MUST_CHECK int region_get_spare(struct region *region, const struct digest *digest, uint64_t size,
                                struct object **ret);

/* The object of @digest, as a reference; NULL when there is none. */
struct object *region_find(struct region *region, const struct digest *digest);

struct object *object_ref(struct object *obj);

/* Accepts NULL. The object stays in the region. */
void object_unref(struct object *obj);
DEFINE_CLEANUP(struct object *, object_unref)

const struct digest *object_digest(const struct object *obj);
uint64_t object_size(const struct object *obj);

/* Whether all bytes are placed. Never turns false again. Lock-free. */
bool object_complete(const struct object *obj);

/* Whether the @len bytes at @off are placed. */
bool object_covers(struct object *obj, uint64_t off, uint64_t len);

/* Number of placed bytes. */
uint64_t object_placed_bytes(struct object *obj);

/*
 * Write @len verified bytes at @off and mark them placed. Returns 0, -ENOSPC,
 * -ENOMEM or -errno; after a failure the range is not marked.
 */
MUST_CHECK int object_place(struct object *obj, const void *data, size_t len, uint64_t off);

/* Mark @len bytes at @off, which the content defines as zero, placed. Returns 0 or -errno. */
MUST_CHECK int object_place_hole(struct object *obj, uint64_t off, uint64_t len);

/*
 * Open the file of an object that has a placed byte, for reading. Returns a
 * descriptor that the caller closes, or -errno.
 */
MUST_CHECK int object_open(struct object *obj);

/* Read exactly @len placed bytes at @off. Returns 0 or -errno. */
MUST_CHECK int object_read(struct object *obj, void *buf, size_t len, uint64_t off);

/* Visit every object that has a placed byte, with a reference for the time of the call. */
typedef void (*region_object_fn)(void *arg, struct object *obj);
MUST_CHECK int region_each(struct region *region, region_object_fn fn, void *arg);
