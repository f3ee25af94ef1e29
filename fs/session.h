/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: one FUSE connection that serves one image, by several threads.
 *
 * A session ends by itself when the last mount of its superblock, in whatever
 * mount namespace, is gone.
 */
#pragma once

#include <sys/types.h>

#include "fill.h"
#include "image.h"
#include "oci/credentials_text.h"
#include "prefetch.h"
#include "recorder.h"
#include "region.h"
#include "resident.h"
#include "saved.h"
#include "stats.h"
#include "users.h"
#include "watchdog.h"

/* What all sessions of the daemon share. Outlives them. */
struct engine {
	struct region *region;     /* owned by the daemon */
	struct fill *fill;         /* owned by the daemon */
	struct prefetch *prefetch; /* owned by the daemon */
	struct stats *stats;       /* owned by the daemon */
	struct watchdog *watchdog; /* owned by the daemon */
	struct busy_poll busy_poll;
	unsigned fill_ahead; /* files that are filled ahead of who opens them in order, at most */
	bool xattrs;         /* mounts have ours, also where the image has none */
	bool frugal;         /* nothing is fetched from registries that nobody asked for */
};

struct inodes;

/* Threads of a session. More than cores: most wait, for a chunk or for a disk, which may hang. */
enum {
	SESSION_THREADS = 64,
	SESSION_THREADS_IDLE = 4,
	SESSION_THREADS_REMOTE =
		256, /* many may wait for a registry that is down, while others go on */
};

struct session;

/* Called once, by a thread of the session, when it has ended: session_free() is then due. */
typedef void (*session_ended_fn)(void *arg);

struct session_config {
	struct engine *engine; /* borrowed */
	const char *name;      /* of the image, as the user gave it: the mount's source */
	struct credentials_text *credentials; /* borrowed; of the image's registry; or NULL */
	bool small_files;                     /* serve opens without passthrough: ops_small.h */
	session_ended_fn ended;
	void *arg;
};

/*
 * Create a superblock for @img and begin to serve it. Takes @img on success.
 * Sets *@ret_mount to the descriptor of a mount that is attached nowhere yet;
 * the caller attaches it with move_mount(2), or closes it, which ends the
 * session. Returns 0 or -errno.
 */
MUST_CHECK int session_open(const struct session_config *config, struct image *img,
                            struct session **ret, int *ret_mount, struct err *err);

/*
 * Go on with a session of an earlier daemon: @img, @saved and the descriptor @dev_fd of /dev/fuse are
 * taken on success. Of @config, name and small_files are not used. Returns 0 or -errno.
 */
MUST_CHECK int session_resume(const struct session_config *config, struct image *img,
                              struct saved *saved, int dev_fd, struct session **ret,
                              struct err *err);

/* Names by which the keeper has the descriptors of sessions; what follows is the device's minor number. */
#define SESSION_KEPT_FUSE  "fuse-"
#define SESSION_KEPT_STATE "state-"
#define SESSION_KEPT_AUTH  "auth-" /* only where credentials were given */

/* Let the keeper have them once more, if it is another one than before. */
void session_keep(const struct session *session);

/*
 * Replace the session's credentials by @text. With the lock of the daemon's list of sessions held, as who reads
 * them.
 */
void session_renew_credentials(struct session *session, const char *text);
struct credentials_text *session_credentials(const struct session *session); /* or NULL */
bool session_has_credentials(const struct session *session);

/* Wait until the session's threads are done and free it. Accepts NULL. */
void session_free(struct session *session);
DEFINE_CLEANUP(struct session *, session_free)

/* Whether it has ended. */
bool session_ended(const struct session *session);

/* Constant and borrowed until session_free(). */
const char *session_name(const struct session *session);
struct image *session_image(const struct session *session);
dev_t session_device(const struct session *session); /* st_dev of everything in the mount */
struct users *session_users(const struct session *session);
bool session_small_files(const struct session *session);
struct recorder *session_recorder(const struct session *session);

/* What reports keep of the image's contents. With the lock of the daemon's list of sessions held. */
struct content_keys *session_content_keys(struct session *session);

/*
 * Keep the session from being freed, although it may end; each hold is let go once. With
 * the lock of the daemon's list of sessions held.
 */
void session_hold(struct session *session);
void session_let_go(struct session *session);
bool session_held(const struct session *session);

/* Let the kernel read ahead as it should, or as little as a recording wants. Of files opened from now on. */
void session_read_ahead(const struct session *session, bool recorded);

/*
 * Give back what a burst of requests has left: pages of the index, connections to it, and when it is @quiet
 * now, the kernel's listings. Never waits for the session's threads. Any thread, which keeps the session from
 * being freed.
 */
void session_trim(struct session *session, bool quiet);

struct inodes *session_inodes(const struct session *session);

struct session_counts {
	uint64_t open_files; /* 0 in a session of small files, as the next: it sees no opens */
	uint64_t opens;      /* since it began */
	uint64_t requests;   /* that the kernel has sent */
	uint64_t errors; /* requests that failed for reasons that lie with us or with the image */
	uint64_t oldest_request_ns; /* since when one waits for its answer; 0: none does */
	bool passthrough;
};

void session_counts(struct session *session, struct session_counts *ret);
