/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE operations of a session. They run on any of its threads; each sends
 * exactly one reply. The tree never changes, so that everything the kernel
 * learns of it may be kept for ever.
 */
#pragma once

#include "session_internal.h"

extern const struct fuse_lowlevel_ops session_ops;

/*
 * How long the kernel may keep names and attributes, in seconds: for ever, in
 * a number that it can still turn into its own units.
 */
#define KEEP_FOREVER 1e9

static inline struct session *session_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/*
 * Answer @req with the errno that an application may see for @err, count it and
 * log it: the only place where an operation's failure becomes a line.
 */
void reply_failure(fuse_req_t req, const char *op, fuse_ino_t ino, const struct err *err);

/* Bytes of a file that are to be read. */
struct content_read {
	const struct content *content;
	struct object *obj; /* its, borrowed; NULL: no room in the region */
	uint64_t off;
	size_t len; /* not beyond the end */
	void *buf;  /* of len bytes */
};

/*
 * Put the bytes into @read->buf: by way of the region, or past it when it is full. Returns 0, or
 * what fill_range() returns, but for -ENOSPC. May take milliseconds; any thread.
 */
MUST_CHECK int read_content(struct session *s, const struct content_read *read, struct err *err);

/* The attributes of @node as stat(2) shows them. */
void stat_of_node(const struct node *node, struct stat *ret);

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi);

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

/* Valid replies: open with a mode, or an error. */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* Go on completing the large files that are open in cached mode, after another daemon. */
void ops_resume_fills(struct session *s);
