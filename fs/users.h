/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses a session's files: what sharing saves.
 *
 * A user is a mount namespace, which is what makes a container's files its
 * own. A user counts while a process of it lives, with the files that it has
 * opened since the session began: what a private copy would have brought into
 * its memory. Shared, equal files are one content. Functions may be called from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/*
 * What the mount namespace of process @pid, or the one that is open as @fd, is known
 * by; 0 when it cannot be seen, or is none.
 */
uint64_t mount_namespace_of(int pid);
uint64_t mount_namespace_id(int fd);

struct users;

/* For an image of @n_contents contents and @n_nodes inodes. Returns NULL when memory runs out. */
struct users *users_new(uint64_t n_contents, uint64_t n_nodes);

/* Accepts NULL. */
void users_free(struct users *users);
DEFINE_CLEANUP(struct users *, users_free)

struct opened_file {
	uint64_t ino;
	uint64_t content; /* its id */
	uint64_t key;     /* of the content's digest: the same in other images that have it */
	uint64_t size;    /* bytes */
};

/*
 * Process @pid opens @file. A process that cannot be seen (it has ended, or
 * belongs to a pid namespace that is not ours) is no user.
 */
void users_note(struct users *users, int pid, const struct opened_file *file);

/* A mount namespace in which a process lives. */
struct live_user {
	uint64_t ns;    /* its id */
	uint64_t bytes; /* that it has opened, as far as it was counted */
	int pid;        /* of its processes, the lowest */
	bool counted;   /* in a struct sharing: a user of two images is one user */
};

/* Sorted by ns; a namespace is there once. */
struct live_users {
	struct live_user *user; /* owned */
	size_t n, cap;
};

#define LIVE_USERS_INIT ((struct live_users){ .user = NULL, .n = 0, .cap = 0 })

/* List the mount namespaces of all processes that /proc shows. Returns 0 or -errno. */
MUST_CHECK int live_users_load(struct live_users *ret);
void live_users_release(struct live_users *live);

static inline void live_users_release_cleanup(struct live_users *live)
{
	live_users_release(live);
}

/* A set of keys; zeroed at first. */
struct key_set {
	uint64_t *key; /* owned; 0: free */
	size_t n, cap; /* a power of two */
};

struct sharing {
	uint64_t users;            /* that opened something */
	uint64_t bytes_if_private; /* sum over users of the bytes that each has opened */
	uint64_t bytes_shared;     /* sum over contents that some user has opened, of any image */
	struct key_set contents;   /* these */
};

void sharing_release(struct sharing *sum);

static inline void sharing_release_cleanup(struct sharing *sum)
{
	sharing_release(sum);
}

/*
 * Forget the users that are not in @live, and add what the others use to *@sum, zeroed at
 * first, which the caller releases. A content that there is no memory for is counted for each image.
 */
void users_sum(struct users *users, struct live_users *live, struct sharing *sum);
