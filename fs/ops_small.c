/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read finds its file by the inode number alone. It keeps nothing between two
 * requests: once the kernel has a file it asks for it no more.
 */
#include "ops_small.h"

#include <errno.h>
#include <stdlib.h>

#include "session_threads.h"

enum {
	CONTENTS_MIN = 1000, /* below that nobody would notice */
	EXACT = 16384,       /* so many contents are all looked at, */
	RUNS = 256,          /* of more, as many runs */
	RUN = 16,         /* of so many: neighbours are cheap, and no memory is spent on the rest */
	LARGE_SHARE = 20, /* one part in so many may be large files' */
};

/* Bytes of small contents, estimated from some of them; negative when the index cannot be read. */
static double sample_small(struct index *idx)
{
	const struct index_info *info = index_info(idx);
	uint64_t stride = info->n_contents > EXACT ? info->n_contents / RUNS : RUN;
	uint64_t samples = 0;
	uint64_t small = 0;

	for (uint64_t start = 1; start <= info->n_contents; start += stride) {
		for (uint64_t id = start; id < start + RUN && id <= info->n_contents; id++) {
			struct content content;

			if (index_content(idx, id, &content, NULL) < 0)
				return -1;
			samples++;
			if (content.size <= FORMAT_SMALL_MAX)
				small += content.size;
		}
	}
	/* What all contents have together shows large ones that the sample missed. */
	return (double)small / (double)samples * (double)info->n_contents;
}

bool small_files_image(const struct image *img)
{
	const struct index_info *info = index_info(image_index(img));
	const struct manifest *m = image_manifest(img);
	double small;

	if (info->n_contents < CONTENTS_MIN)
		return false;
	small = m->has_small_bytes ? (double)m->small_bytes : sample_small(image_index(img));
	return small >= (double)info->content_bytes * (LARGE_SHARE - 1) / LARGE_SHARE;
}

/* ENOSYS: the kernel opens files by itself from now on. */
static void small_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	(void)fuse_reply_err(req, ENOSYS);
}

/* One READ. */
struct small_read {
	struct session *session;
	struct content content;
	struct object *obj; /* owned reference, or NULL: no room in the region */
	uint64_t off;
	size_t len;
	void *buf;   /* owned */
	bool filled; /* bytes were not there */
};

static void small_read_release(struct small_read *read)
{
	object_unref(read->obj);
	free(read->buf);
}

static void small_read_release_cleanup(struct small_read *read)
{
	small_read_release(read);
}

/* Find the content of @ino and clamp the read to it. Returns 1, 0 when there is nothing to read, -errno. */
static int small_read_begin(struct small_read *read, fuse_ino_t ino, struct err *err)
{
	struct index *idx = read->session->idx;
	struct node node;
	int r = index_node(idx, ino, &node, err);

	if (r < 0)
		return r;
	if (r == 0 || !S_ISREG(node.mode))
		return err_set(err, -ENOENT, "no such file");
	if (read->off >= node.size)
		return 0;
	if (read->len > node.size - read->off)
		read->len = (size_t)(node.size - read->off);
	r = index_content(idx, node.content, &read->content, err);
	if (r < 0)
		return r;
	read->buf = malloc(read->len);
	if (!read->buf)
		return err_set(err, -ENOMEM, "out of memory");
	/* Without an object the bytes are read past the region. */
	(void)!region_get(read->session->engine->region, &read->content.digest, node.size,
	                  &read->obj);
	return 1;
}

/* Fill all of the file, to be pushed. Failures show at the reads that they concern. */
static void small_fill(const struct small_read *read)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	struct session *s = read->session;

	if (read->obj && read->content.size <= SYNC_FILL_MAX &&
	    extent_map_load(s->img, &read->content, &map, NULL) == 0)
		(void)!fill_object(s->engine->fill, map, read->obj, NULL);
}

static int small_read_content(struct small_read *read, struct err *err)
{
	const struct content_read wanted = { &read->content, read->obj, read->off, read->len,
		                             read->buf };

	read->filled = !read->obj || !object_covers(read->obj, read->off, read->len);
	if (read->filled)
		small_fill(read);
	return read_content(read->session, &wanted, err);
}

/* Valid replies: as op_read(). */
static void small_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
	CLEANUP(small_read_release)
	struct small_read read = {
		.session = session_of(req),
		.off = (uint64_t)off,
		.len = size,
	};
	struct err err = ERR_INIT;
	int r;

	(void)fi;
	session_threads_step_aside();
	r = small_read_begin(&read, ino, &err);
	if (r == 0) {
		(void)fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (r > 0)
		r = small_read_content(&read, &err);
	if (r < 0) {
		reply_failure(req, "read", ino, &err);
		return;
	}
	/* The pusher discards what nobody holds. */
	object_unref(TAKE_PTR(read.obj));
	if (fuse_reply_buf(req, read.buf, read.len) == 0)
		pusher_sent(read.session->pusher, ino, read.len == read.content.size, read.filled);
}

void ops_small(struct fuse_lowlevel_ops *ops)
{
	ops->open = small_open;
	ops->read = small_read;
	ops->release = NULL;
}
