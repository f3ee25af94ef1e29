/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The regular files of a session that have been opened, and in which mode the
 * kernel has them open.
 *
 * The kernel cannot have one inode open in cached and in passthrough mode at
 * once, nor in passthrough onto two backing ids: it fails the open with EIO.
 * So the mode is decided together with counting the open, under one lock:
 *
 *	opens now             object       mode
 *	some in passthrough   -            passthrough, same backing id
 *	some cached           -            cached
 *	none                  complete     passthrough, if there is a backing id
 *	none                  incomplete   cached
 *
 * While a file is open its object is referenced and does not leave the region.
 * Afterwards the inode keeps the object and the backing id as a holder
 * (region.h), and lets both go when the region needs the room. An inode
 * without opens, object and user leaves the table. Functions may be called
 * from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "image.h"
#include "region.h"
#include "saved.h"

/* Travels as the file handle, so that another process could take over. */
enum open_mode {
	OPEN_EMPTY, /* nothing to read */
	OPEN_CACHED,
	OPEN_PASSTHROUGH,
};

struct inodes;
struct inode;

/* Called to take backing id @id back from the kernel; nothing has it open. */
typedef void (*backing_close_fn)(void *arg, int id);

/* An empty table for @img and @region (both borrowed). Returns NULL when memory runs out. */
struct inodes *inodes_new(struct image *img, struct region *region, backing_close_fn close,
                          void *arg);

/* Let opens and backing ids outlive the daemon in @saved (borrowed). Before the first inode. */
void inodes_save(struct inodes *inodes, struct saved *saved);

/*
 * Go on with what the file of inodes_save() has of an earlier daemon, and take back the
 * backing ids that this one had no time to note. Before any other thread uses the table. Returns
 * 0, -ENOMEM or an error of the index.
 */
MUST_CHECK int inodes_restore(struct inodes *inodes, struct err *err);

/*
 * Whether the open or release that the kernel numbers @unique was counted by an earlier daemon,
 * whose reply did not come: in what mode, goes to *@ret_mode.
 */
MUST_CHECK bool inodes_carried_out(struct inodes *inodes, uint64_t unique,
                                   enum open_mode *ret_mode);

/* Call @fn, with nothing locked, for each file that is open in cached mode. Returns 0 or -ENOMEM. */
typedef void (*inodes_open_fn)(void *arg, uint64_t ino);
MUST_CHECK int inodes_each_cached(struct inodes *inodes, inodes_open_fn fn, void *arg);

/* Accepts NULL. The connection must be gone: its backing ids went with it. */
void inodes_free(struct inodes *inodes);
DEFINE_CLEANUP(struct inodes *, inodes_free)

/*
 * Find the regular file @ino, reading it from the index when it is not in the table. Returns
 * 1 and sets *@ret, which inode_put() gives back before inodes_free(); 0 when it
 * is an empty file; -ENOENT; or an error of the index.
 */
MUST_CHECK int inodes_get(struct inodes *inodes, uint64_t ino, struct inode **ret, struct err *err);

struct inode *inode_ref(struct inode *inode);

/* Accepts NULL. */
void inode_put(struct inode *inode);
DEFINE_CLEANUP(struct inode *, inode_put)

/*
 * Visit every file of the table that has been opened: its inode number, content, and opens
 * since it entered. @fn is called with the table locked: it may not call back. Returns 0 or what @fn returns below 0.
 */
typedef int (*inodes_visit_fn)(void *arg, uint64_t ino, const struct content *content,
                               uint64_t opens);
MUST_CHECK int inodes_each(struct inodes *inodes, inodes_visit_fn fn, void *arg);

/* Number of opens now. */
uint64_t inodes_open_files(struct inodes *inodes);

/* Constant. */
const struct content *inode_content(const struct inode *inode);

/* The object of the content as a reference; NULL while the region has no room for it. */
struct object *inode_object(struct inode *inode);

/* The backing id, of the object that is referenced by the caller; 0: none. */
int inode_backing(struct inode *inode);

/* Whether the file is open in cached mode. */
bool inode_open_cached(struct inode *inode);

/* Give the inode backing id @id. Returns false when it has one already: @id is the caller's to close. */
MUST_CHECK bool inode_set_backing(struct inode *inode, int id);

/*
 * Decide the mode of a new open and count it. @obj is what inode_object() gave; while
 * the file is open, it stays; without it, and with @seen, it is cached mode, unless the inode is open in
 * passthrough mode. @unique: as the kernel numbers the request; 0: there is none. Sets
 * *@ret_backing to the backing id, or to 0.
 */
enum open_mode inode_enter(struct inode *inode, struct object *obj, bool seen, uint64_t unique,
                           int *ret_backing);

/* Uncount an open; @unique as above. Returns true when it was the last one in cached mode and the object is complete. */
bool inode_leave(struct inode *inode, enum open_mode mode, uint64_t unique);

/*
 * After inode_leave(): when more files have backing ids than may, that which was closed longest ago gives
 * up its own. Returns the id, which is the caller's to close, or 0.
 */
MUST_CHECK int inodes_take_surplus_backing(struct inodes *inodes);

/* How many files may have backing ids while nobody has them open. */
void inodes_limit_backings(struct inodes *inodes, uint64_t n);

/* Say that background fill begins. Returns false when it is under way. */
bool inode_fill_begin(struct inode *inode);

/* Say that it has ended. Returns true when @obj is complete and no open in cached mode is left. */
bool inode_fill_end(struct inode *inode, const struct object *obj);
