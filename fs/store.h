/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: the node's directory of image indexes. One daemon at a time owns
 * a store, by a lock on the file "lock"; it listens on "control.sock" in it.
 *
 *	STORE/lock               flock(2), holds the daemon's pid as text
 *	STORE/control.sock       container/control/control.h
 *	STORE/stats              fs/stats.h
 *	STORE/assetfs.log        of a daemon that `assetfs mount` has started
 *	STORE/pins               what is pinned (daemon_pins.c)
 *	STORE/mounts/MAJ:MIN     a note of a session, by its device (daemon_heal.c)
 *	STORE/indexes/HEX.sqlite index databases, by the digest of their layer
 *	STORE/remote             blobs of registries: fs/remotes.h
 *	STORE/store.db           which bytes of them are there: fs/store_db.h
 */
#pragma once

#include "image.h"

#define STORE_DEFAULT "/var/lib/assetfs"

struct store;

/*
 * Open the store at @path, making it when it does not exist, and lock it; with @wait, a daemon that
 * ends has half a minute for that. Returns 0; -EBUSY when another daemon has it; -errno.
 */
MUST_CHECK int store_open(const char *path, bool wait, struct store **ret, struct err *err);

/*
 * Accepts NULL. Waits until indexes that are whole are durable. Unlocks; the daemon closes its socket only then, so that whoever finds
 * nobody listening can start a daemon. The socket's name stays: it may be the next one's.
 */
void store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close)

/* The store's directory; borrowed. */
int store_dir(const struct store *store);
int store_mounts(const struct store *store);
const char *store_path(const struct store *store);

/* Whether the index of @manifest is kept, so that its blob is not needed. */
bool store_has_index(struct store *store, const struct manifest *manifest);

/* When an index that the store has not is unpacked. */
enum store_unpack {
	STORE_UNPACK_FIRST, /* all of it: its blob is not needed after the call */
	STORE_UNPACK_IN_USE, /* what is read of it first, if it is one in sections (format.md §4.5) */
};

/*
 * Open an image, its index kept in the store. Returns 0, or what
 * image_unpack_index() and image_open() return. Any thread. An index that had to be unpacked is
 * made whole and durable after the call; until then no other daemon takes it for that. What turns
 * out to be damaged meanwhile fails when it is read.
 */
MUST_CHECK int store_open_image(struct store *store, const struct layout *layout,
                                const struct manifest *manifest, enum store_unpack when,
                                struct image **ret, struct err *err);
