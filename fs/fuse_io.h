/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between libfuse and /dev/fuse: FUSE passthrough whatever the version of
 * libfuse.
 *
 * libfuse has calls for passthrough from 3.17 on. Before that, the two
 * messages that carry it are completed on their way out: the reply to INIT and
 * the reply to OPEN. Calling sequence: fuse_io_attach() before the first
 * request, fuse_io_want() in the init operation, fuse_io_backing_open() and
 * fuse_io_reply_open() in open. Thread rule: after INIT, any thread.
 */
#pragma once

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 12)

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "busy_poll.h"

enum {
	FUSE_IO_INIT_MAX = 256,
	FUSE_IO_REQUESTS = 512, /* more than a session has threads */
};

/* A request that a thread has read and is to answer. */
struct fuse_io_request {
	uint64_t unique; /* atomic: how the kernel numbers it; 0: none */
	uint64_t began;  /* atomic: stats_clock() when it came; 0: not known */
	uint64_t node;   /* atomic: that it is about */
	uint32_t opcode; /* atomic */

	/* of fuse_io_expire() */
	uint32_t ticks;   /* how often it was seen */
	uint64_t watched; /* which number had it then */
};

/* One of these is the first member of the session's user data. */
struct fuse_io {
	int dev_fd;           /* borrowed; of /dev/fuse */
	uint64_t init_unique; /* of the INIT request while it is being answered; one thread then */
	unsigned char init[FUSE_IO_INIT_MAX]; /* that request */
	size_t init_len;
	bool replay; /* init is what the kernel sent to an earlier daemon: to be read once more */
	uint32_t kernel_flags2; /* what the kernel offered in INIT */
	bool passthrough;       /* atomic: agreed with the kernel, and no call for it has failed */
	bool cached_only;       /* set before fuse_io_attach(): do not ask for passthrough */
	uint64_t *requests;     /* atomic, borrowed: that the kernel has sent */
	struct busy_poll *busy_poll; /* borrowed; set before fuse_io_attach() */
	uint32_t under_way;          /* atomic: requests without an answer */
	struct fuse_io_request request[FUSE_IO_REQUESTS]; /* these, in no order */
};

/* Make @se, whose user data begins with @io, serve the descriptor @dev_fd of /dev/fuse. */
MUST_CHECK int fuse_io_attach(struct fuse_io *io, struct fuse_session *se, int dev_fd,
                              struct err *err);

/*
 * Read and answer the first request, INIT, in a thread that is alone with @se; fuse_session_loop()
 * follows. @before, unless NULL, is called when it has been read. Returns 0, or -errno when the
 * connection has ended.
 */
MUST_CHECK int fuse_io_init(struct fuse_io *io, struct fuse_session *se,
                            void (*before)(void *arg, const void *init, size_t len), void *arg);

/*
 * Go on where another process has stopped, whose INIT request was @init. Before fuse_io_init(),
 * whose answer the kernel ignores if it has one.
 */
void fuse_io_replay(struct fuse_io *io, const void *init, size_t len);

/*
 * Ask the kernel to send again what that process has read and not answered (Linux 6.9). Returns
 * 0, -EINVAL when the kernel cannot, or -errno.
 */
MUST_CHECK int fuse_io_resend(const struct fuse_io *io);

/*
 * How the kernel numbers the request that this thread has read last. Sets *@ret_again when it
 * was sent before.
 */
uint64_t fuse_io_unique(bool *ret_again);

/* How long the oldest request has waited for its answer, in nanoseconds; 0: none does. */
uint64_t fuse_io_oldest(const struct fuse_io *io);

/* A request that fuse_io_expire() has answered. */
typedef void (*fuse_io_expired_fn)(void *arg, const char *operation, uint64_t node);

/*
 * Answer with EIO what has been seen under way by @ticks of these calls in a row, which one thread
 * makes: the answer of the thread that is stuck with it, should it come, fails with ENOENT.
 * Performs no I/O that could wait for a disk.
 */
void fuse_io_expire(struct fuse_io *io, uint32_t ticks, fuse_io_expired_fn fn, void *arg);

/* In the init operation: ask for passthrough and for large reads. */
void fuse_io_want(struct fuse_io *io, struct fuse_conn_info *conn);

/* Whether complete objects may be opened in passthrough mode. */
bool fuse_io_passthrough(const struct fuse_io *io);

/*
 * Give the kernel the open file @fd to read from. Returns an id above 0, valid
 * until fuse_io_backing_close() or the end of the connection, or -errno; when
 * the kernel will refuse every other file as well, passthrough is switched off
 * for the session.
 */
MUST_CHECK int fuse_io_backing_open(struct fuse_io *io, int fd);
void fuse_io_backing_close(const struct fuse_io *io, int backing_id);

/* As fuse_reply_open(), in passthrough mode onto @backing_id when it is above 0. */
MUST_CHECK int fuse_io_reply_open(fuse_req_t req, struct fuse_file_info *fi, int backing_id);
