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
#include "session_threads.h"

/* The object has all of the file now: the pages that cached reads have left are a second copy. */
static void drop_pages(struct session *s, fuse_ino_t ino)
{
	if (!fuse_io_passthrough(&s->io))
		return;
	/* The kernel waits for reads of these pages that are under way. */
	session_threads_step_aside();
	(void)fuse_lowlevel_notify_inval_inode(s->se, ino, 0, 0);
}

/* What the end of a background fill needs to know. */
struct background_fill {
	struct session *session;
	struct inode *inode; /* owned reference */
	fuse_ino_t ino;
};

static void background_fill_ended(void *arg, struct object *obj)
{
	CLEANUP(free) struct background_fill *bf = arg;

	if (inode_fill_end(bf->inode, obj))
		drop_pages(bf->session, bf->ino);
	inode_put(bf->inode);
}

static int fill_in_background(struct session *s, struct inode *inode, fuse_ino_t ino,
                              struct extent_map *map, struct object *obj)
{
	CLEANUP(free) struct background_fill *bf = malloc(sizeof(*bf));
	int r;

	if (!bf)
		return -ENOMEM;
	*bf = (struct background_fill){ .session = s, .inode = inode_ref(inode), .ino = ino };
	r = fill_later(s->engine->fill, map, obj, FILL_OPEN, background_fill_ended, bf);
	if (r == 0)
		bf = NULL;
	else
		inode_put(inode);
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

	session_threads_step_aside();
	if (!small && s->engine->frugal && image_is_remote(s->img))
		return;
	if (!small && !inode_fill_begin(inode))
		return;
	r = small ? extent_map_load(s->img, inode_content(inode), &map, &err)
	          : extent_map_later(s->img, inode_content(inode), &map);
	if (r == 0 && small)
		r = fill_object(s->engine->fill, map, obj, &err);
	else if (r == 0)
		r = fill_in_background(s, inode, ino, map, obj);
	if (r < 0) {
		log_fill_failure(s, ino, &err);
		if (!small)
			(void)inode_fill_end(inode, obj);
	}
}

/* Let the kernel know the object's file, unless it does. Without success files open in cached mode. */
static void prepare_passthrough(struct session *s, fuse_ino_t ino, struct inode *inode,
                                struct object *obj)
{
	struct fuse_io *io = &s->io;
	CLEANUP(close) int fd = -1;
	int id;

	if (!fuse_io_passthrough(io) || inode_backing(inode) > 0)
		return;
	fd = object_open(obj);
	if (fd < 0)
		return;
	id = fuse_io_backing_open(io, fd);
	if (id > 0 && !inode_set_backing(inode, id))
		fuse_io_backing_close(io, id);
	else if (id > 0 && s->resumed && !inode_open_cached(inode))
		/* The daemon before may have died when it was about to. */
		drop_pages(s, ino);
}

/* An open of a file that is not empty. */
struct opening {
	fuse_req_t req;
	fuse_ino_t ino;
	struct inode *inode; /* owned reference */
	struct fuse_file_info *fi;
	uint64_t start; /* stats_clock() when it came in */
};

static int pid_of(const struct opening *open)
{
	return (int)fuse_req_ctx(open->req)->pid;
}

/* Count, decide the mode, reply. @obj: NULL when there is no room for it. */
static void enter(const struct opening *open, struct object *obj)
{
	struct session *s = session_of(open->req);
	bool seen = recorder_on(s->recorder);
	bool again;
	uint64_t unique = fuse_io_unique(&again);
	int backing_id;
	enum open_mode mode = inode_enter(open->inode, obj, seen, unique, &backing_id);

	open->fi->fh = mode;
	open->fi->keep_cache = !seen;
	open->fi->noflush = 1;
	recorder_open(s->recorder, pid_of(open), open->ino, mode == OPEN_PASSTHROUGH);
	stats_add(s->engine->stats, STAT_OPENS, 1);
	stats_took(s->engine->stats, LATENCY_OPEN, open->start);
	(void)__atomic_fetch_add(&s->tally->opens, 1, __ATOMIC_RELAXED);
	/* The opener was killed meanwhile: no release will come. */
	if (fuse_io_reply_open(open->req, open->fi, backing_id) == -ENOENT)
		(void)inode_leave(open->inode, mode, 0);
}

/* An earlier daemon has opened the file, as @mode, and its answer was lost. */
static void enter_again(const struct opening *open, enum open_mode mode)
{
	open->fi->fh = mode;
	open->fi->keep_cache = 1;
	open->fi->noflush = 1;
	if (fuse_io_reply_open(open->req, open->fi,
	                       mode == OPEN_PASSTHROUGH ? inode_backing(open->inode) : 0) ==
	    -ENOENT)
		(void)inode_leave(open->inode, mode, 0);
}

/*
 * Begin to fill content @id, which takes of *@left bytes. Returns 1; 0 when it is there, or so large that its first
 * byte does not wait for the rest; -EDQUOT when too few are left; -ENOSPC, and others that show when it is opened.
 */
static int fill_ahead(struct session *s, uint64_t id, uint64_t *left)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct content content;
	int r = index_content(s->idx, id, &content, NULL);

	if (r < 0)
		return r;
	if (content.size > SYNC_FILL_MAX)
		return 0;
	if (content.size > *left)
		return -EDQUOT;
	r = region_get_spare(s->engine->region, &content.digest, content.size, &obj);
	if (r < 0)
		return r;
	if (object_complete(obj))
		return 0;
	*left -= content.size;
	r = extent_map_later(s->img, &content, &map);
	if (r == 0)
		r = fill_later(s->engine->fill, map, obj, FILL_AHEAD, NULL, NULL);
	if (r < 0)
		return r;
	stats_add(s->engine->stats, STAT_FILES_AHEAD, 1);
	return 1;
}

/* Content @id is open and answered: fill what is likely to be opened next. */
static void fill_next(struct session *s, uint64_t id, bool missing)
{
	struct ahead_guess guess;
	uint64_t left = SYNC_FILL_MAX;
	uint64_t next;
	bool any = false;
	int r;

	if (!ahead_opened(&s->ahead, id, missing, &guess))
		return;
	session_threads_step_aside();
	for (next = guess.first; next < guess.end; next++) {
		r = fill_ahead(s, next, &left);
		if (r < 0)
			break;
		any |= r > 0;
	}
	ahead_tried(&s->ahead, &guess, next, any);
}

static void open_inode(const struct opening *open)
{
	struct session *s = session_of(open->req);
	const struct content *content = inode_content(open->inode);
	CLEANUP(object_unref) struct object *obj = inode_object(open->inode);
	const struct opened_file file = { .ino = open->ino,
		                          .content = content->id,
		                          .key = digest_key(&content->digest),
		                          .size = content->size };
	bool missing = false;

	users_note(s->users, pid_of(open), &file);
	if (obj) {
		object_touch(obj);
		missing = !object_complete(obj);
		if (missing)
			begin_fill(s, open->inode, open->ino, obj);
		else
			stats_add(s->engine->stats, STAT_OPEN_HITS, 1);
		if (object_complete(obj))
			prepare_passthrough(s, open->ino, open->inode, obj);
	}
	enter(open, obj);
	fill_next(s, content->id, missing);
}

/* Whether an earlier daemon has done what the kernel now asks again; its mode goes to *@ret. */
static bool was_carried_out(const struct session *s, enum open_mode *ret)
{
	bool again;
	uint64_t unique = fuse_io_unique(&again);

	return again && inodes_carried_out(s->inodes, unique, ret);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct opening open = { .req = req, .ino = ino, .fi = fi, .start = stats_clock() };
	struct err err = ERR_INIT;
	enum open_mode mode;
	int r = inodes_get(session_of(req)->inodes, ino, &open.inode, &err);

	if (r < 0) {
		reply_failure(req, "open", ino, &err);
	} else if (r > 0) {
		if (was_carried_out(session_of(req), &mode))
			enter_again(&open, mode);
		else
			open_inode(&open);
		inode_put(open.inode);
	} else {
		fi->fh = OPEN_EMPTY;
		fi->keep_cache = 1;
		(void)fuse_reply_open(req, fi);
	}
}

int read_content(struct session *s, const struct content_read *read, struct err *err)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	struct fill *fill = s->engine->fill;
	int r;

	if (!read->obj || !object_covers(read->obj, read->off, read->len)) {
		r = extent_map_load_range(s->img, read->content, read->off, read->len, &map, err);
		if (r < 0)
			return r;
		r = read->obj ? fill_range(fill, map, read->obj, read->off, read->len, err)
		              : -ENOSPC;
		if (r == -ENOSPC)
			return fill_read(fill, map, read->off, read->len, read->buf, err);
		if (r < 0)
			return r;
	}
	r = object_read(read->obj, read->buf, read->len, read->off);
	return r < 0 ? err_set(err, r, "region: %s", strerrordesc_np(-r)) : 0;
}

static int read_inode(struct session *s, struct inode *inode, uint64_t off, size_t len, void *buf,
                      struct err *err)
{
	CLEANUP(object_unref) struct object *obj = inode_object(inode);
	const struct content_read read = { inode_content(inode), obj, off, len, buf };

	return read_content(s, &read, err);
}

/*
 * Valid replies: all bytes asked for up to the end of the file, or an error. A
 * short read would make the kernel believe that the file has shrunk; after an
 * error it asks again page by page, so that only damaged pages fail.
 */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	CLEANUP(inode_put) struct inode *inode = NULL;
	CLEANUP(free) void *buf = NULL;
	struct err err = ERR_INIT;
	uint64_t left;
	int r;

	(void)fi;
	session_threads_step_aside();
	r = inodes_get(s->inodes, ino, &inode, &err);
	if (r > 0) {
		left = inode_content(inode)->size;
		left = (uint64_t)off < left ? left - (uint64_t)off : 0;
		size = size < left ? size : (size_t)left;
		recorder_read(s->recorder, (int)fuse_req_ctx(req)->pid, ino, (uint64_t)off, size);
		buf = malloc(size + 1);
		r = buf ? read_inode(s, inode, (uint64_t)off, size, buf, &err)
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
	enum open_mode before;
	CLEANUP(inode_put) struct inode *inode = NULL;
	bool drop = false;
	bool again;
	int surplus = 0;

	if (mode != OPEN_EMPTY && !was_carried_out(s, &before) &&
	    inodes_get(s->inodes, ino, &inode, NULL) > 0) {
		drop = inode_leave(inode, mode, fuse_io_unique(&again));
		surplus = inodes_take_surplus_backing(s->inodes);
	}
	if (surplus > 0)
		fuse_io_backing_close(&s->io, surplus);
	(void)fuse_reply_err(req, 0);
	if (drop)
		drop_pages(s, ino);
}

static void resume_fill(void *arg, uint64_t ino)
{
	struct session *s = arg;
	CLEANUP(inode_put) struct inode *inode = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;

	if (inodes_get(s->inodes, ino, &inode, NULL) <= 0)
		return;
	obj = inode_object(inode);
	if (obj && object_size(obj) > SYNC_FILL_MAX && !object_complete(obj))
		begin_fill(s, inode, ino, obj);
}

void ops_resume_fills(struct session *s)
{
	(void)!inodes_each_cached(s->inodes, resume_fill, s);
}
