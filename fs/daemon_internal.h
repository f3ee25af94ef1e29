/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that make up the daemon share. */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <time.h>

#include "daemon.h"
#include "notify.h"
#include "pins.h"
#include "remotes.h"
#include "session.h"
#include "store.h"
#include "tag_watch.h"

struct daemon {
	/* constant while clients are served */
	const struct daemon_config *config;
	struct store *store; /* owned */
	struct engine engine;
	uint64_t region_size;      /* bytes */
	bool took_over;            /* from an earlier daemon */
	struct verifier *verifier; /* owned */
	struct remotes *remotes;   /* owned */
	struct tag_watch *tags;    /* owned */
	struct pins *pins;         /* owned */
	struct metrics *metrics;   /* owned, or NULL */
	int listen_fd;             /* owned */
	int signal_fd;             /* owned */
	int event_fd;              /* owned; written to when a session or a client has ended */
	bool own_keeper;           /* `assetfs keeper`, not a service manager */
	struct timespec started;

	bool ready; /* atomic; mounts can be asked for */

	bool leave; /* atomic; what a client asked for: the next daemon goes on */

	/* the main thread's */
	int keeper_fd; /* of the keeper's process, owned, or the connection to one apart, borrowed; -1: none */
	time_t keeper_due;      /* when to look for one next, by the monotonic clock */
	struct client *clients; /* owned; those that are served */
	bool had_client;

	pthread_mutex_t sessions_lock;
	/* under sessions_lock */
	struct session **sessions; /* owned */
	size_t n_sessions, cap_sessions;
	json_t *pod_names; /* owned; pod_names_add(). NULL: none */
};

/* Wake the main thread: a session or a client has ended. @arg is the daemon. Any thread. */
void daemon_wake(void *arg);

/* What had been done when it was last looked at. */
struct daemon_work {
	uint64_t fills;    /* requests for chunks */
	uint64_t requests; /* of the kernel */
	bool filled;       /* since memory was given back in a quiet moment */
};

/*
 * Give back memory after fills, and once more when those who read what was filled are quiet: their
 * requests leave something, too. To be called from time to time, by the main thread.
 */
void daemon_trim(struct daemon *d, struct daemon_work *work);

/* What a request for an image names. */
struct mount_request {
	const char *image;       /* borrowed from the message */
	const char *platform;    /* NULL: this machine's */
	const char *small_files; /* "on", "off"; "auto" or NULL: as the image is */
	const char *key;         /* that must have signed the image, in PEM; or NULL */
	const char *auth; /* credentials, as credentials_text.h has them; NULL: the daemon's */
};

/* Open the image, which the caller closes. Returns 0 or -errno. */
MUST_CHECK int daemon_open_image(struct daemon *d, const struct mount_request *request,
                                 struct image **ret, struct err *err);

/* Returns the descriptor of a detached mount of the image, which the caller closes, or -errno. */
MUST_CHECK int daemon_mount(struct daemon *d, const struct mount_request *request,
                            dev_t *ret_device, struct err *err);

/* Add @s, which is then the daemon's, to the list, and hold it. Returns 0 or -ENOMEM. */
MUST_CHECK int daemon_add_session(struct daemon *d, struct session *s);

/* Give back a hold of the session, which may be freed then. */
void daemon_let_go(struct daemon *d, struct session *s);

/*
 * Open the image @digest where @request says that it is, whatever tag names it by now. As above. Sets
 * *@ret_credentials, unless it is NULL, to a reference that a session is to have, or to NULL.
 */
MUST_CHECK int daemon_open_digest(struct daemon *d, const struct mount_request *request,
                                  const struct digest *digest, struct image **ret,
                                  struct credentials_text **ret_credentials, struct err *err);

/* As daemon_mount(), of the image @digest, and always by a new session. */
MUST_CHECK int daemon_mount_digest(struct daemon *d, const struct mount_request *request,
                                   const struct digest *digest, struct err *err);

/*
 * Leave a note of @s in the store, and take it away when @s has ended: for daemon_heal().
 */
void daemon_note_session(struct daemon *d, const struct session *s);
void daemon_forget_session(struct daemon *d, const struct session *s);

/*
 * Write @note to the file @name in the directory @dir, whole or not at all. It is not made durable: what
 * it is about ends with the machine. Returns 0 or -EIO.
 */
MUST_CHECK int daemon_write_note(int dir, const char *name, const json_t *note);

/* Write down what is pinned; and pin again what an earlier daemon, whose region this is, had written down. */
void daemon_save_pins(struct daemon *d);
void daemon_restore_pins(struct daemon *d);

/*
 * Mount again what daemons before have left notes of, over the mounts that have died with them.
 * After daemon_resume().
 */
void daemon_heal(struct daemon *d);

/*
 * Whether this version can go on with all sessions that the keeper had: else it must not begin, for an
 * earlier version may. Returns 0 or -EPROTONOSUPPORT.
 */
MUST_CHECK int daemon_check_kept(const struct kept_list *kept, struct err *err);

/* Go on with the sessions of an earlier daemon that the keeper had; what fails is logged and ends. */
void daemon_resume(struct daemon *d, struct kept_list *kept);

/* What the keeper has besides sessions. */
#define KEPT_REGION  "region"
#define KEPT_CONTROL "control"

/*
 * Learn which process the keeper is, if it is ours, and add to @kept what one that is apart holds: with the store's lock
 * held, so that no daemon before has more to say. Before any other thread starts. Returns 0 or -errno.
 */
MUST_CHECK int daemon_meet_keeper(struct daemon *d, struct kept_list *kept, struct err *err);

/*
 * When the keeper has @died: start another one, or see whether there is one, and give it everything. Where there is none, try
 * again, but only after a while, for it may be the program that does not run. On the main thread.
 */
void daemon_watch_keeper(struct daemon *d, bool died);

/* Whether the keeper lets this daemon end without its mounts: waits for one that is just being replaced. As above. */
bool daemon_may_leave(struct daemon *d);

/* What `fsstat` shows of all images: report_stats(). NULL when memory runs out. Any thread. */
json_t *daemon_stats(struct daemon *d, struct err *err);

/* What a request names, as far as it was looked up: in a layout, or in a registry when there is an origin. */
struct found_image {
	struct remote_image in;               /* owned */
	struct credentials_text *credentials; /* owned reference; or NULL */
	const struct manifest *manifest;      /* of in.set */
};

#define FOUND_IMAGE_INIT \
	((struct found_image){ .in = REMOTE_IMAGE_INIT, .credentials = NULL, .manifest = NULL })

static inline void found_image_release_cleanup(struct found_image *found)
{
	remote_image_release(&found->in);
	credentials_text_unref(found->credentials);
}

/*
 * Find the image that @request names; the caller releases @ret, also after an error. Returns 0, -ENOENT,
 * -errno or what remotes_find() returns.
 */
MUST_CHECK int daemon_find_image(struct daemon *d, const struct mount_request *request,
                                 struct found_image *ret, struct err *err);

/* Open what was found, once. The caller closes *@ret. Returns 0 or -errno. */
MUST_CHECK int daemon_open_found(struct daemon *d, struct found_image *found, struct image **ret,
                                 struct err *err);

/*
 * The credentials of a session of the image @name, as who mounted it gave them: for what belongs to that mount. The
 * caller frees them as a secret; NULL when there are none.
 */
char *daemon_auth_of(struct daemon *d, const char *name);

/* The session that @target, a mount point, shows; or NULL. With sessions_lock held. */
struct session *daemon_session_at(const struct daemon *d, const char *target);

/* A session that serves the image @digest, or NULL. With sessions_lock held. */
struct session *daemon_session_of(const struct daemon *d, const struct digest *digest);

/* The session whose files have st_dev @device, or NULL. With sessions_lock held. */
struct session *daemon_session_by_device(const struct daemon *d, dev_t device);

/* Make d->tags. Returns 0 or -ENOMEM. */
MUST_CHECK int daemon_watch_tags(struct daemon *d);

/* A client's request. */
struct request {
	const json_t *message; /* borrowed */
	int received_fd;       /* owned; came with the message. -1: none */
	int answer_fd;         /* owned; goes with the answer. -1: none */
	bool leave; /* once it is answered, the daemon leaves its mounts to the next one */
};

/* Answers are the caller's; NULL with @err filled when the request is refused. */
json_t *answer_prefetch(struct daemon *d, struct request *request, struct err *err);
json_t *answer_resident(struct daemon *d, struct request *request, struct err *err);
json_t *answer_trace_record(struct daemon *d, struct request *request, struct err *err);
json_t *answer_trace_stop(struct daemon *d, struct request *request, struct err *err);
json_t *answer_upgrade(struct daemon *d, struct request *request, struct err *err);

/*
 * Begin the prefetch that a mount request asks for, if it does, for the session of @device. Returns
 * 0; -EINVAL for a trace that is none; -errno.
 */
MUST_CHECK int daemon_prefetch_mount(struct daemon *d, const struct request *request, dev_t device,
                                     struct err *err);

/*
 * Do what @request asks for. Returns the answer, which the caller gives back, or
 * NULL with @err filled. On the thread of the client.
 */
json_t *request_answer(struct daemon *d, struct request *request, struct err *err);
