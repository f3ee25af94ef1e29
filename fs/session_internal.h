/* SPDX-License-Identifier: Apache-2.0 */
/* What the FUSE operations see of a session. */
#pragma once

#include <pthread.h>

#include "ahead.h"
#include "fuse_io.h"
#include "inodes.h"
#include "listings.h"
#include "pusher.h"
#include "recorder.h"
#include "session.h"

/* Bytes. The kernel's 128 KiB would cut every sequential read into small requests. */
enum {
	SESSION_READ_AHEAD = 1 << 20,
	SESSION_READ_AHEAD_RECORDED = 64
	                              << 10, /* what a recording has more than was used, at most */
};

struct session {
	struct fuse_io io; /* first: fuse_io.h */

	/* constant after session_open() */
	struct engine *engine;                /* borrowed */
	struct image *img;                    /* owned */
	struct index *idx;                    /* the image's */
	struct inodes *inodes;                /* owned */
	struct saved *saved;                  /* owned; NULL without a keeper */
	struct credentials_text *credentials; /* owned reference; or NULL */
	bool resumed;                         /* an earlier daemon began it */
	struct users *users;                  /* owned */
	struct recorder *recorder;            /* owned */
	struct listings *listings;            /* owned; NULL in a session of small files */
	struct pusher *pusher; /* owned; NULL unless it is a session of small files (ops_small.h) */
	struct fuse_session *se; /* owned */
	char *name;              /* owned */
	dev_t device;
	session_ended_fn ended_fn;
	void *ended_arg;
	pthread_t thread;

	/* under the lock of the daemon's list of sessions */
	uint32_t n_holds;
	struct content_keys keys; /* owned */

	struct saved_tally *tally; /* of saved, or own_tally */
	struct saved_tally own_tally;
	struct watched watched; /* from begin to end of its thread */

	struct ahead ahead; /* has a lock of its own */

	bool ended; /* atomic */
};
