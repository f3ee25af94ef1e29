/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory listings. Without opendir there is no state between two requests:
 * the offset is the place of an entry, 1 for ".", 2 for "..", seq + 2 for the
 * others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

enum { DOTS = 2 };

struct listing {
	fuse_req_t req;
	char *buf;
	size_t size; /* of buf */
	size_t used;
	bool plus; /* with attributes */
};

/* Add an entry. Returns false when it does not fit any more. */
static bool add(struct listing *l, const char *name, const struct fuse_entry_param *e, uint64_t off)
{
	size_t room = l->size - l->used;
	size_t need = l->plus ? fuse_add_direntry_plus(l->req, l->buf + l->used, room, name, e,
	                                               (off_t)off)
	                      : fuse_add_direntry(l->req, l->buf + l->used, room, name, &e->attr,
	                                          (off_t)off);

	if (need > room)
		return false;
	l->used += need;
	return true;
}

/* "." and "..": inode 0 in a listing with attributes means that the kernel learns nothing from it. */
static bool add_dot(struct listing *l, const char *name, uint64_t ino, uint64_t off)
{
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = S_IFDIR } };

	return add(l, name, &e, off);
}

static int add_entry(void *arg, const struct dir_entry *entry)
{
	struct listing *l = arg;
	struct fuse_entry_param e = {
		.ino = entry->node.ino,
		.attr_timeout = KEEP_FOREVER,
		.entry_timeout = KEEP_FOREVER,
	};

	stat_of_node(&entry->node, &e.attr);
	if (!add(l, entry->name, &e, entry->seq + DOTS))
		return 1;
	if (l->plus)
		pusher_known(session_of(l->req)->pusher, entry->node.ino);
	return 0;
}

static int fill_listing(struct listing *l, struct index *idx, fuse_ino_t ino, uint64_t off,
                        struct err *err)
{
	uint64_t parent;
	int r;

	if (off < 1 && !add_dot(l, ".", ino, 1))
		return 0;
	if (off < 2) {
		r = index_parent(idx, ino, &parent, err);
		if (r <= 0)
			return r < 0 ? r : err_set(err, -ENOENT, "no such directory");
		if (!add_dot(l, "..", parent, 2))
			return 0;
	}
	return index_list(idx, ino, off > DOTS ? off - DOTS : 0, add_entry, l, err);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct listings *listings = session_of(req)->listings;
	CLEANUP(free) char *buf = malloc(size);
	struct listing l = { .req = req, .buf = buf, .size = size, .plus = plus };
	struct err err = ERR_INIT;

	if (!buf) {
		(void)fuse_reply_err(req, ENOMEM);
		return;
	}
	if (fill_listing(&l, session_of(req)->idx, ino, (uint64_t)off, &err) < 0) {
		reply_failure(req, "listing of", ino, &err);
		return;
	}
	/* The end. Noted before the kernel goes on, so that nothing that follows comes first. */
	if (l.used == 0 && listings)
		listings_add(listings, ino, (uint64_t)off);
	(void)fuse_reply_buf(req, buf, l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, /* plus= */ false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, /* plus= */ true);
}
