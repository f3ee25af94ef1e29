/* SPDX-License-Identifier: Apache-2.0 */
#include "ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"

enum {
	BLOCK = 4096,
	BACKGROUND_MAX = 64,
};

/*
 * Damage, a pack that is missing and our own bugs all look like a bad disk: an
 * ENOENT from here would tell an application that a file does not exist.
 */
static int errno_to_show(int code)
{
	return code == -ENOMEM ? ENOMEM : EIO;
}

void reply_failure(fuse_req_t req, const char *op, fuse_ino_t ino, const struct err *err)
{
	static struct log_limit limit;
	struct session *s = session_of(req);
	char path[256];

	(void)__atomic_fetch_add(&s->tally->errors, 1, __ATOMIC_RELAXED);
	stats_add(s->engine->stats, STAT_ERRORS, 1);
	if (log_allowed(&limit)) {
		index_path(s->idx, ino, path, sizeof(path));
		log_err("%s '%s' of %s: %s", op, path, s->name, err->msg);
	}
	(void)fuse_reply_err(req, errno_to_show(err->code));
}

void stat_of_node(const struct node *node, struct stat *ret)
{
	*ret = (struct stat){
		.st_ino = node->ino,
		.st_mode = node->mode,
		.st_nlink = node->nlink,
		.st_uid = node->uid,
		.st_gid = node->gid,
		.st_size = (off_t)node->size,
		.st_blksize = BLOCK,
		.st_blocks = (blkcnt_t)((node->size + 511) / 512),
		.st_mtim = { .tv_sec = node->mtime_s, .tv_nsec = node->mtime_ns },
		.st_ctim = { .tv_sec = node->mtime_s, .tv_nsec = node->mtime_ns },
		.st_atim = { .tv_sec = node->mtime_s, .tv_nsec = node->mtime_ns },
	};
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct session *s = userdata;

	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	conn->want |= conn->capable &
	              (FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA |
	               FUSE_CAP_READDIRPLUS | FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS);
	/* Without AUTO, every listing brings the attributes: one pass warms the whole tree. */
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	/* Read-ahead requests that may be under way at once; the kernel's 12 starve several cold readers. */
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	/* What the kernel offers is what it had before raise_read_ahead(). */
	conn->max_readahead = SESSION_READ_AHEAD;
	fuse_io_want(&s->io, conn);
}

/* A name that does not exist is answered by inode 0, which the kernel remembers as well. */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = KEEP_FOREVER, .entry_timeout = KEEP_FOREVER };
	struct err err = ERR_INIT;
	struct node node;
	struct pusher *pusher = session_of(req)->pusher;
	int r = index_lookup(session_of(req)->idx, parent, name, strlen(name), &node, &err);

	if (r < 0) {
		reply_failure(req, "lookup in", parent, &err);
		return;
	}
	if (r == 1) {
		e.ino = node.ino;
		stat_of_node(&node, &e.attr);
		pusher_known(pusher, node.ino);
	}
	(void)fuse_reply_entry(req, &e);
	if (r == 1)
		pusher_looked_up(pusher, &node);
}

/* Nodes live in the index: what there is to forget is which of them the kernel knows. */
static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	(void)n;
	pusher_forgotten(session_of(req)->pusher, ino);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		pusher_forgotten(session_of(req)->pusher, forgets[i].ino);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct err err = ERR_INIT;
	struct node node;
	struct stat st;
	int r = index_node(session_of(req)->idx, ino, &node, &err);

	(void)fi;
	if (r == 0)
		r = err_set(&err, -ENOENT, "no such inode");
	if (r < 0) {
		reply_failure(req, "stat of", ino, &err);
		return;
	}
	stat_of_node(&node, &st);
	(void)fuse_reply_attr(req, &st, KEEP_FOREVER);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[FORMAT_TARGET_MAX + 1];
	struct err err = ERR_INIT;

	if (index_target(session_of(req)->idx, ino, target, &err) < 0)
		reply_failure(req, "readlink of", ino, &err);
	else
		(void)fuse_reply_readlink(req, target);
}

/* ENOSYS: the kernel opens directories by itself from now on, and caches what it lists. */
static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	(void)fuse_reply_err(req, ENOSYS);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct index_info *info = index_info(session_of(req)->idx);
	struct statvfs st = {
		.f_bsize = BLOCK,
		.f_frsize = BLOCK,
		.f_blocks = (info->bytes + BLOCK - 1) / BLOCK,
		.f_files = info->n_nodes,
		.f_namemax = FORMAT_NAME_MAX,
	};

	(void)ino;
	(void)fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops session_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.open = op_open,
	.read = op_read,
	.release = op_release,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
};
