/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region: plain bytes, held once for the whole node.
 *
 * An object is a file: the bytes of one content, named by its digest, whatever
 * images and mounts use it. The files are on a tmpfs of our own, mounted
 * nowhere, that exists as long as the region or a file that somebody still has
 * open; or in a directory on disk.
 *
 * Room is made by letting objects go, whole, those that were opened longest ago
 * first; never one that is referenced, open or mapped.
 *
 * Invariants
 * 1. An object's file has the content's size before its first byte is
 *    written, so that tmpfs puts it on huge pages in whatever order it is filled.
 * 2. Placed bytes are verified. What lies beyond them is undefined.
 * 3. The set of placed ranges grows only after the bytes are in the file; a
 *    complete object never changes again. Its file is unlinked when it goes,
 *    never cut or punched: who still has it sees no change.
 * 4. The sizes of all objects, rounded up to pages, never exceed the region's
 *    size: a hole that a reader maps still has room.
 * 5. A referenced object does not go.
 * 6. What an earlier daemon has left is used as it was when that one has handed it over, or closed the
 *    region since the kernel was started. Else, and where an object was not complete, its bytes are
 *    verified once more before they count as placed (fill.c).
 *
 * All functions may be called from any thread. Locks, in the order in which
 * they may be taken: the region's of eviction; those of holders, guard and
 * evicted functions; the region's own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "stats.h"

struct region;
struct object;

struct region_config {
	uint64_t size;         /* most bytes of all objects */
	const char *directory; /* on disk, absolute; NULL: in memory */
	struct stats *stats;   /* borrowed; outlives the region */
};

/*
 * Create a region: in memory an empty one; on disk with what an earlier one has left there.
 * Returns 0; -EBUSY when another region has the directory; -ENOTEMPTY when it holds something else;
 * -EPERM or -errno.
 */
MUST_CHECK int region_open(const struct region_config *config, struct region **ret,
                           struct err *err);

/*
 * Go on with the region of an earlier daemon by the directory @root of its files, taken on success.
 * Of @config, directory only says
 * whether it is on disk; the size of a region in memory is as before. Returns 0 or -errno.
 */
MUST_CHECK int region_adopt(const struct region_config *config, int root, struct region **ret,
                            struct err *err);

/*
 * Let the region have @size bytes. Objects go that are too many; when those in use are, it stays
 * larger. Takes as long as that takes.
 */
void region_resize(struct region *region, uint64_t size);

/* The directory of the objects' files, borrowed. */
int region_root(const struct region *region);

/* Accepts NULL. No object may be referenced or held any more. */
void region_close(struct region *region);
DEFINE_CLEANUP(struct region *, region_close)

/* Half of the smaller of the machine's memory and the limit of this process's cgroup, in bytes. */
uint64_t region_default_size(void);

struct region_usage {
	uint64_t size;    /* bytes allowed */
	uint64_t used;    /* bytes of memory, or of disk, in use */
	uint64_t objects; /* number of objects with at least one placed byte */
	bool in_memory;
};

void region_usage(struct region *region, struct region_usage *ret);

/*
 * Called before an object goes, with no lock of the region but that of
 * eviction. Returns whether it has to stay.
 */
typedef bool (*region_guard_fn)(void *arg, const struct digest *digest, uint64_t size);

/* Called when an object has been let go: its bytes are nowhere any more. Locks as above. */
typedef void (*region_evicted_fn)(void *arg, struct object *obj);

/* Set who has a say. Before the first object is made. */
void region_set_guard(struct region *region, region_guard_fn fn, void *arg);
void region_set_evicted(struct region *region, region_evicted_fn fn, void *arg);

/*
 * Call the evicted function for all objects, which stay: for its owner, when it ends
 * before the region does. No other call may be under way.
 */
void region_forget_all(struct region *region);

/*
 * Get the object for the content of @digest and @size bytes, empty when it is
 * new; others are let go when it needs their room. Returns 0 and a reference that
 * object_unref() gives back; -ENOSPC when there is no room, or not at once, so
 * that it is worth asking again; -ENOMEM.
 */
MUST_CHECK int region_get(struct region *region, const struct digest *digest, uint64_t size,
                          struct object **ret);

/*
 * As region_get(), for a content that nobody has asked for: a new object is
 * made only while half of the region stays free, for those that will be.
 */
MUST_CHECK int region_get_spare(struct region *region, const struct digest *digest, uint64_t size,
                                struct object **ret);

/*
 * As region_get(), for what is fetched ahead: only objects go that were opened, or made, before the
 * time @before, as region_time() gave it. Takes as long as that takes.
 */
MUST_CHECK int region_get_before(struct region *region, const struct digest *digest, uint64_t size,
                                 uint64_t before, struct object **ret);

/* The time now, in a measure of its own. */
uint64_t region_time(struct region *region);

/* The object for the content of @digest, as a reference; NULL when there is none. */
struct object *region_find(struct region *region, const struct digest *digest);

struct object *object_ref(struct object *obj);

/* Reference an object that another lock keeps from being freed. Returns false when it is going. */
MUST_CHECK bool object_try_ref(struct object *obj);

/* Accepts NULL. The object stays in the region until its room is needed. */
void object_unref(struct object *obj);
DEFINE_CLEANUP(struct object *, object_unref)

/*
 * As object_unref(), but the object's bytes are held elsewhere now: unless somebody else
 * uses it, it goes at once. With no lock that eviction takes.
 */
void object_discard(struct object *obj);

/* Note that the object, which is referenced, is being opened: it goes after all others. */
void object_touch(struct object *obj);

/*
 * A holder remembers an object without a reference, and may have what keeps its
 * file open, such as a backing id of the kernel. It is told to let go
 * when the object is to leave, and drops both. Zeroed at first.
 */
struct object_holder {
	struct object *obj; /* NULL: of none. This and the links belong to the region. */
	struct object_holder *next, *prev;
	/* Must call object_let_go(). Nobody has a reference to the object then, and no new one comes. */
	void (*let_go)(struct object_holder *holder);
};

/* Make @holder one of @obj, which is referenced. It is of none yet. */
void object_hold(struct object *obj, struct object_holder *holder);

/* The object of @holder with a new reference, or NULL when there is none or it is going. */
struct object *object_of_holder(struct region *region, struct object_holder *holder);

/* In a let_go function only. */
void object_let_go(struct object_holder *holder);

/* Make @holder one of none, waiting for an object that is going. Not with a lock that let_go takes. */
void object_unhold(struct region *region, struct object_holder *holder);

/* Wait until no let_go function is running that was called before. As object_unhold(). */
void region_settle(struct region *region);

const struct digest *object_digest(const struct object *obj);
uint64_t object_size(const struct object *obj);

/* Whether all bytes are placed. Never turns false again. Lock-free. */
bool object_complete(const struct object *obj);

/* Whether its file has bytes of an earlier daemon that may be right, and are not placed. */
bool object_kept(const struct object *obj);

/* Whether the @len bytes at @off are placed. */
bool object_covers(struct object *obj, uint64_t off, uint64_t len);

/* Whether any of the @len bytes at @off is placed. */
bool object_touches(struct object *obj, uint64_t off, uint64_t len);

/* Number of placed bytes. */
uint64_t object_placed_bytes(struct object *obj);

/*
 * Write @len verified bytes at @off and mark them placed. Returns 0, -ENOSPC,
 * -ENOMEM or -errno; after a failure the range is not marked.
 */
MUST_CHECK int object_place(struct object *obj, const void *data, size_t len, uint64_t off);

/*
 * Open the file of an object, made and sized if need be, to write what is not placed. Returns a
 * descriptor that the caller closes, or -errno.
 */
MUST_CHECK int object_open_to_fill(struct object *obj);

/* Mark @len bytes at @off placed that lie in the file and are verified. Returns 0 or -ENOMEM. */
MUST_CHECK int object_mark_placed(struct object *obj, uint64_t off, uint64_t len);

/* Mark @len bytes at @off, which the content defines as zero, placed. Returns 0 or -errno. */
MUST_CHECK int object_place_hole(struct object *obj, uint64_t off, uint64_t len);

/*
 * The file system had no room for @len bytes of the object: let others go. Returns whether it is
 * worth another try; else the alarm is counted.
 */
bool object_give_room(struct object *obj, uint64_t len);

/*
 * Open the file of an object that has a placed byte, for reading. Returns a
 * descriptor that the caller closes, or -errno.
 */
MUST_CHECK int object_open(struct object *obj);

/* Read exactly @len placed bytes at @off. Returns 0 or -errno. */
MUST_CHECK int object_read(struct object *obj, void *buf, size_t len, uint64_t off);

/* What the fill layer keeps with an object; NULL at first. Serialised by that layer. */
void **object_notes(struct object *obj);

/* Grows whenever bytes come into the region or leave it. */
uint64_t region_changes(const struct region *region);

/* How many objects have gone to make room, here or in a daemon before. */
uint64_t region_evictions(const struct region *region);

/* An object that has a placed byte. */
struct region_entry {
	struct digest digest;
	uint64_t bytes; /* placed */
};

/* List all of them but those that are going, in no order. The caller frees *@ret. Returns 0 or -ENOMEM. */
MUST_CHECK int region_list(struct region *region, struct region_entry **ret, size_t *ret_n);

/*
 * Visit every object that has a placed byte and is not going, when the call begins and at its
 * turn; referenced for the time of its visit.
 */
typedef void (*region_object_fn)(void *arg, struct object *obj);
MUST_CHECK int region_each(struct region *region, region_object_fn fn, void *arg);
