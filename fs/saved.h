/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a session outlives its daemon: a file in memory, of which a keeper holds a descriptor.
 *
 * It has what the next daemon must know to go on: which image, the kernel's INIT request, in
 * which modes and how often each file is open, its backing id, and the requests that changed
 * that last. A request that the kernel sends again, because its reply did not come, is known by
 * its number and not counted twice.
 *
 * A daemon may be killed between any two instructions. Each change is first written down as a
 * whole and then carried out; the next daemon carries out again what it finds written down.
 *
 * Changes are serialised by the caller (inodes.c, under its lock). The file belongs to one
 * daemon at a time.
 *
 * Daemons of two versions may follow each other, in either order: a state says of which version
 * it is, which the oldest is that can go on with it, and where its parts lie. The next daemon
 * makes one of its own version from it (saved.c).
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

enum { SAVED_INIT_MAX = 256 };

struct saved;

/* Of which session. */
struct saved_facts {
	char name[PATH_MAX + 256]; /* of the image, as the user gave it */
	char platform[64];
	struct digest manifest;
	uint64_t device; /* st_dev of everything in the mount */
	uint32_t small_files;
	uint32_t unused;
};

/* Of an inode; all zero when the kernel has neither a file open nor a backing id. */
struct saved_inode {
	int32_t backing_id; /* 0: none */
	uint32_t n_cached;
	uint32_t n_passthrough;
};

/* Counters of a session; atomic. */
struct saved_tally {
	uint64_t opens;    /* since it began */
	uint64_t errors;   /* requests that failed for reasons that lie with us or with the image */
	uint64_t requests; /* that the kernel has sent */
};

/* A request that was carried out. */
struct saved_request {
	uint64_t unique; /* as the kernel numbers it; 0: none */
	uint32_t mode;   /* enum open_mode */
	uint32_t unused;
};

/* A new file for a session with the inode numbers 1 to @n_inodes. Returns 0 or -errno. */
MUST_CHECK int saved_new(const struct saved_facts *facts, uint64_t n_inodes, struct saved **ret,
                         struct err *err);

/* Of which version the states of this program are, and the oldest that can go on with them. */
void saved_versions(uint32_t *ret_version, uint32_t *ret_oldest);

/* Whether this program can go on with states of which another one says that. */
bool saved_knows(uint32_t version, uint32_t oldest);

/* Whether it can with the file @fd. Returns 0 or as saved_adopt(). */
MUST_CHECK int saved_check(int fd, struct err *err);

/*
 * Go on with the file @fd of an earlier daemon, which is taken on success. Returns 0; -EBADMSG
 * when it is none; -EPROTONOSUPPORT when it is of a version that is not known; -errno.
 */
MUST_CHECK int saved_adopt(int fd, struct saved **ret, struct err *err);

/* Accepts NULL. What the keeper holds stays. */
void saved_free(struct saved *saved);
DEFINE_CLEANUP(struct saved *, saved_free)

/* Borrowed; constant. */
int saved_fd(const struct saved *saved);
const struct saved_facts *saved_facts(const struct saved *saved);

/* Borrowed; valid until saved_free(). */
struct saved_tally *saved_tally(struct saved *saved);

/* Note the INIT request before it is answered; what is longer than SAVED_INIT_MAX is not one. */
void saved_set_init(struct saved *saved, const void *init, size_t len);

/* The INIT request, borrowed; *@ret_len is 0 when none was noted. */
const void *saved_init(const struct saved *saved, size_t *ret_len);

/* Whether the file has room for @ino. */
bool saved_has(const struct saved *saved, uint64_t ino);

/*
 * Change @ino, for which there is room, to @now, and note @request as carried out with it; both or
 * none survive. Without a number the request is not noted.
 */
void saved_change(struct saved *saved, const struct saved_request *request, uint64_t ino,
                  const struct saved_inode *now);

/* Whether the request @unique was carried out lately; its mode goes to *@ret_mode. */
bool saved_find(const struct saved *saved, uint64_t unique, uint32_t *ret_mode);

/* The highest backing id that any inode ever had. */
int32_t saved_highest_backing(const struct saved *saved);

/* Visit every inode that is not all zero. Returns 0, what @fn returns below 0, or -errno. */
typedef int (*saved_visit_fn)(void *arg, uint64_t ino, const struct saved_inode *inode);
MUST_CHECK int saved_each(const struct saved *saved, saved_visit_fn fn, void *arg);
