/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open, read, release.
 *
 * A file whose object is complete is opened in passthrough mode: the kernel
 * reads and maps the object itself and the daemon sees nothing of it. A small
 * file that is incomplete is filled before open returns, once for all who open
 * it. A large one is opened in cached mode, filled where it is read, and
 * completed in the background, so that its first byte costs one chunk.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "ops.h"

/* Largest file that open fills whole: some tens of milliseconds at the speed of one core. */
#define SYNC_FILL_MAX ((uint64_t)16 << 20)

/* The object has all of the file now: the pages that cached reads have left are a second copy. */
static void drop_pages(struct session *s, fuse_ino_t ino)
{
	if (fuse_io_passthrough(&s->io))
		(void)fuse_lowlevel_notify_inval_inode(s->se, ino, 0, 0);
}

/* What the end of a background fill needs to know. */
struct background_fill {
	struct session *session;
	struct inode *inode;
	fuse_ino_t ino;
};

static void background_fill_ended(void *arg, struct object *obj)
{
	CLEANUP(free) struct background_fill *bf = arg;

	(void)obj;
	if (inode_fill_end(bf->inode))
		drop_pages(bf->session, bf->ino);
}

static int fill_in_background(struct session *s, struct inode *inode, fuse_ino_t ino,
                              struct extent_map *map, struct object *obj)
{
	CLEANUP(free) struct background_fill *bf = malloc(sizeof(*bf));
	int r;

	if (!bf)
		return -ENOMEM;
	*bf = (struct background_fill){ .session = s, .inode = inode, .ino = ino };
	r = fill_later(s->engine->fill, map, obj, background_fill_ended, bf);
	if (r == 0)
		bf = NULL;
	return r;
}

static void log_fill_failure(struct session *s, fuse_ino_t ino, const struct err *err)
{
	static struct log_limit limit;
	char path[256];

	/* A full region is no fault of the file: it is served in cached mode. */
	if (err->code == -ENOSPC || !log_allowed(&limit))
		return;
	index_path(s->idx, ino, path, sizeof(path));
	log_err("open '%s' of %s: %s", path, s->name, err->msg);
}

/* Do what open does for an incomplete object. Failures show at the reads that they concern. */
static void begin_fill(struct session *s, struct inode *inode, fuse_ino_t ino, struct object *obj)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	bool small = object_size(obj) <= SYNC_FILL_MAX;
	struct err err = ERR_INIT;
	int r;

	if (!small && !inode_fill_begin(inode))
		return;
	r = inode_extents(inode, &map, &err);
	if (r == 0 && small)
		r = fill_object(s->engine->fill, map, obj, &err);
	else if (r == 0)
		r = fill_in_background(s, inode, ino, map, obj);
	if (r < 0) {
		log_fill_failure(s, ino, &err);
		if (!small)
			(void)inode_fill_end(inode);
	}
}

/* Let the kernel know the object's file, unless it does. Without success files open in cached mode. */
static void prepare_passthrough(fuse_req_t req, struct inode *inode, struct object *obj)
{
	struct fuse_io *io = &session_of(req)->io;
	CLEANUP(close) int fd = -1;
	int id;

	if (!fuse_io_passthrough(io) || inode_has_backing(inode))
		return;
	fd = object_open(obj);
	if (fd < 0)
		return;
	id = fuse_io_backing_open(io, req, fd);
	if (id > 0 && !inode_set_backing(inode, id))
		fuse_io_backing_close(req, id);
}

/* Count, decide the mode, reply. */
static void enter(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int backing_id;
	enum open_mode mode = inode_enter(inode, &backing_id);

	fi->fh = mode;
	fi->keep_cache = 1;
	fi->noflush = 1;
	stats_add(&s->engine->stats, STAT_OPENS, 1);
	(void)__atomic_fetch_add(&s->opens, 1, __ATOMIC_RELAXED);
	/* The opener was killed meanwhile: no release will come. */
	if (fuse_io_reply_open(req, fi, backing_id) == -ENOENT)
		(void)inode_leave(inode, mode);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct err err = ERR_INIT;
	struct inode *inode;
	struct object *obj;
	int r = inodes_get(s->inodes, ino, &inode, &err);

	if (r < 0) {
		reply_failure(req, "open", ino, &err);
		return;
	}
	if (r == 0) {
		fi->fh = OPEN_EMPTY;
		fi->keep_cache = 1;
		(void)fuse_reply_open(req, fi);
		return;
	}
	users_note(s->users, (int)fuse_req_ctx(req)->pid, inode_content(inode)->id,
	           inode_content(inode)->size);
	obj = inode_object(inode);
	if (obj && object_complete(obj))
		stats_add(&s->engine->stats, STAT_OPEN_HITS, 1);
	else if (obj)
		begin_fill(s, inode, ino, obj);
	if (obj && object_complete(obj))
		prepare_passthrough(req, inode, obj);
	enter(req, inode, fi);
}

/* Put the @len bytes at @off into @buf: by way of the region, or past it when it is full. */
static int read_content(struct session *s, struct inode *inode, uint64_t off, size_t len, void *buf,
                        struct err *err)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	struct object *obj = inode_object(inode);
	int r;

	if (!obj || !object_covers(obj, off, len)) {
		r = inode_extents(inode, &map, err);
		if (r < 0)
			return r;
		r = obj ? fill_range(s->engine->fill, map, obj, off, len, err) : -ENOSPC;
		if (r == -ENOSPC)
			return fill_read(s->engine->fill, map, off, len, buf, err);
		if (r < 0)
			return r;
	}
	r = object_read(obj, buf, len, off);
	return r < 0 ? err_set(err, r, "region: %s", strerrordesc_np(-r)) : 0;
}

/*
 * Valid replies: all bytes asked for up to the end of the file, or an error. A
 * short read would make the kernel believe that the file has shrunk; after an
 * error it asks again page by page, so that only damaged pages fail.
 */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	CLEANUP(free) void *buf = NULL;
	struct err err = ERR_INIT;
	struct inode *inode;
	uint64_t left;
	int r = inodes_get(s->inodes, ino, &inode, &err);

	(void)fi;
	if (r > 0) {
		left = inode_content(inode)->size;
		left = (uint64_t)off < left ? left - (uint64_t)off : 0;
		size = size < left ? size : (size_t)left;
		buf = malloc(size + 1);
		r = buf ? read_content(s, inode, (uint64_t)off, size, buf, &err)
		        : err_set(&err, -ENOMEM, "out of memory");
	} else if (r == 0) {
		size = 0;
	}
	if (r < 0)
		reply_failure(req, "read", ino, &err);
	else
		(void)fuse_reply_buf(req, buf, size);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	enum open_mode mode = (enum open_mode)fi->fh;
	struct inode *inode;
	bool drop = false;
	int surplus = 0;

	if (mode != OPEN_EMPTY && inodes_get(s->inodes, ino, &inode, NULL) > 0) {
		drop = inode_leave(inode, mode);
		surplus = inode_take_surplus_backing(inode);
	}
	if (surplus > 0)
		fuse_io_backing_close(req, surplus);
	(void)fuse_reply_err(req, 0);
	if (drop)
		drop_pages(s, ino);
}
