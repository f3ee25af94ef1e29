/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pusher of a session of small files (ops_small.h): gives the kernel the bytes of files
 * before it asks for them.
 *
 * A chunk has many small files. Reading one of them places all of them in the region; those that
 * the kernel knows, by name, are then stored in its page cache, the others once they are
 * looked up. What the kernel has whole is discarded from the region (object_discard()).
 *
 * Storing waits for pages that a read is under way for. So it is done by a thread that never
 * answers reads, and the threads that do never wait for it: what does not
 * fit in its queue is dropped, which costs at worst a read later.
 *
 * What it knows of the kernel are hints: the kernel may drop pages or a whole inode at any time,
 * and asks again. Functions may be called from any thread; those from pusher_known() on never
 * block and take NULL for a session that has no pusher.
 */
#pragma once

#include "fuse_io.h"
#include "index.h"
#include "region.h"

struct pusher;

/* For the files of @idx in @region, both borrowed. Returns NULL when memory runs out. */
struct pusher *pusher_new(struct index *idx, struct region *region);

/* Start the thread, which stores by way of @se (borrowed). Returns 0 or -EAGAIN. */
MUST_CHECK int pusher_start(struct pusher *pusher, struct fuse_session *se, struct err *err);

/* Stop the thread: before @se is destroyed. Accepts NULL. */
void pusher_free(struct pusher *pusher);
DEFINE_CLEANUP(struct pusher *, pusher_free)

/* The kernel is about to learn of inode @ino. */
void pusher_known(struct pusher *pusher, uint64_t ino);

/* It has been told of @node, because somebody looks it up. */
void pusher_looked_up(struct pusher *pusher, const struct node *node);

/* It has forgotten it. */
void pusher_forgotten(struct pusher *pusher, uint64_t ino);

/*
 * It was sent bytes of file @ino, @whole or in part. @filled: chunks of the file have been
 * decompressed for that, and siblings with it.
 */
void pusher_sent(struct pusher *pusher, uint64_t ino, bool whole, bool filled);
