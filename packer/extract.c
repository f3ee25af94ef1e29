/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories are made first, open to their owner alone; files follow in order
 * of content, so that a chunk that many share is decompressed once; modes and
 * times of directories come last, deepest first.
 */
#include "extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/grow.h"
#include "base/io.h"
#include "dirs.h"
#include "listing.h"
#include "names.h"
#include "notes.h"
#include "stream.h"

/* Something to be written. */
struct item {
	char *path; /* owned; relative to the directory */
	struct node node;
	size_t place; /* in the order in which they were found */
	bool missing; /* left out because it is damaged */
};

struct extractor {
	struct image *img; /* borrowed */
	struct index *idx; /* borrowed; its index */
	int root;          /* owned */
	bool root_is_new;
	bool set_owner;
	struct dirs dirs;
	struct dirs first_dirs; /* of the file that a hard link is to name */
	struct stream stream;
	struct item *items; /* owned */
	size_t n_items;
	size_t items_max;
};

static void extractor_release_cleanup(struct extractor *x)
{
	for (size_t i = 0; i < x->n_items; i++)
		free(x->items[i].path);
	free(x->items);
	stream_release(&x->stream);
	dirs_release(&x->dirs);
	dirs_release(&x->first_dirs);
	if (x->root >= 0)
		(void)close(x->root);
}

static int fail_path(struct err *err, int code, const char *path)
{
	char shown[NAME_SHOWN_MAX];

	return err_set(err, code, "'%s' could not be written: %s", name_shown(path, shown),
	               strerrordesc_np(-code));
}

/* The directory that @path is to be in, borrowed; *@ret_name is its last name. */
static int open_parent(struct dirs *dirs, const char *path, const char **ret_name)
{
	size_t len;

	*ret_name = path_split(path, &len);
	return dirs_open(dirs, path, len);
}

static int add_item(struct extractor *x, const char *dir, const char *name, const struct node *node)
{
	struct item *items = array_grow(x->items, x->n_items, &x->items_max, sizeof(*items));
	char *path;

	if (!items)
		return -ENOMEM;
	x->items = items;
	if (asprintf(&path, "%s%s%s", dir, dir[0] != '\0' ? "/" : "", name) < 0)
		return -ENOMEM;
	items[x->n_items] = (struct item){ .path = path, .node = *node, .place = x->n_items };
	x->n_items++;
	return 0;
}

/* Add what directory @ino holds; @path is its path. */
static int add_children(struct extractor *x, uint64_t ino, const char *path, struct err *err)
{
	CLEANUP(listing_release) struct listing l = LISTING_INIT;
	int r = listing_load_below(x->idx, ino, &l, err);

	for (size_t i = 0; r == 0 && i < l.n; i++) {
		if (add_item(x, path, l.list[i].name, &l.list[i].node) < 0)
			r = err_set(err, -ENOMEM, "out of memory");
	}
	return r;
}

/* Add the file at @path in the image; slashes may be at its end, as index_resolve() has it. */
static int add_file(struct extractor *x, const char *path, const struct node *node, struct err *err)
{
	CLEANUP(free) char *copy = strdup(path);
	size_t len = strlen(path);

	while (copy && len > 0 && copy[len - 1] == '/')
		copy[--len] = '\0';
	if (!copy || add_item(x, "", path_split(copy, &len), node) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int make_dir(struct extractor *x, const char *path, struct err *err)
{
	const char *name;
	int parent = open_parent(&x->dirs, path, &name);
	int r;

	if (parent < 0)
		return fail_path(err, parent, path);
	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return fail_path(err, -errno, path);
	/* Fails on what is no directory, and on a link to one. */
	r = dirs_open(&x->dirs, path, strlen(path));
	return r < 0 ? fail_path(err, r, path) : 0;
}

/* Make all directories, and list what goes into them. The list is its own queue. */
static int make_dirs(struct extractor *x, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < x->n_items; i++) {
		const struct item *item = &x->items[i];

		if (!S_ISDIR(item->node.mode))
			continue;
		r = make_dir(x, item->path, err);
		if (r == 0)
			r = add_children(x, item->node.ino, item->path, err);
	}
	return r;
}

static int set_xattrs(struct extractor *x, int fd, const struct node *node, struct err *err)
{
	CLEANUP(free) char *names = NULL;
	size_t len = 0;
	int r;

	if (!index_info(x->idx)->has_xattrs)
		return 0;
	r = index_xattr_names(x->idx, node->ino, &names, &len, err);
	for (const char *name = names; r == 0 && name < names + len; name += strlen(name) + 1) {
		CLEANUP(free) void *value = NULL;
		size_t size = 0;

		r = index_xattr(x->idx, node->ino, name, &value, &size, err);
		if (r == 1)
			r = fsetxattr(fd, name, value, size, 0) < 0 ? -errno : 0;
	}
	return r;
}

static void times_of(const struct node *node, struct timespec times[static 2])
{
	times[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	times[1] = (struct timespec){ .tv_sec = node->mtime_s, .tv_nsec = node->mtime_ns };
}

/* Everything of @node but its bytes. */
static int set_attributes(struct extractor *x, int fd, const struct item *item, struct err *err)
{
	const struct node *node = &item->node;
	struct timespec times[2];
	int r = set_xattrs(x, fd, node, err);

	times_of(node, times);
	if (r == -EBADMSG || r == -ENOMEM)
		return r;
	if (r < 0 || (x->set_owner && fchown(fd, node->uid, node->gid) < 0) ||
	    fchmod(fd, node->mode & 07777) < 0 || futimens(fd, times) < 0)
		return fail_path(err, r < 0 ? r : -errno, item->path);
	return 0;
}

static int write_at(void *arg, const void *data, uint64_t off, uint64_t len)
{
	const int *fd = arg;

	/* The file has its size already: what is not written is a hole. */
	return data ? io_pwrite(*fd, data, (size_t)len, off) : 0;
}

static int write_bytes(struct extractor *x, int fd, const struct item *item, struct err *err)
{
	struct err inner = ERR_INIT;
	char shown[NAME_SHOWN_MAX];
	int r;

	if (item->node.size == 0)
		return 0;
	if (ftruncate(fd, (off_t)item->node.size) < 0)
		return fail_path(err, -errno, item->path);
	r = stream_content(&x->stream, item->node.content, write_at, &fd, &inner);
	if (r < 0 && inner.code == 0)
		return fail_path(err, r, item->path);
	return r < 0 ? err_set(err, r, "'%s': %s", name_shown(item->path, shown), inner.msg) : 0;
}

static int write_file(struct extractor *x, int parent, const char *name, const struct item *item,
                      struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	int r = io_temp_open(&tmp, parent, NULL);

	if (r < 0)
		return fail_path(err, r, item->path);
	r = write_bytes(x, tmp.fd, item, err);
	if (r == 0)
		r = set_attributes(x, tmp.fd, item, err);
	if (r < 0)
		return r;
	/* Unlike rename(2), link(2) replaces nothing. */
	return linkat(parent, tmp.name, parent, name, 0) < 0 ? fail_path(err, -errno, item->path)
	                                                     : 0;
}

static int write_link(struct extractor *x, int parent, const char *name, const struct item *item,
                      struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	struct timespec times[2];
	int r = index_target(x->idx, item->node.ino, target, err);

	if (r < 0)
		return r;
	times_of(&item->node, times);
	if (symlinkat(target, parent, name) < 0 ||
	    (x->set_owner &&
	     fchownat(parent, name, item->node.uid, item->node.gid, AT_SYMLINK_NOFOLLOW) < 0) ||
	    utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_path(err, -errno, item->path);
	return 0;
}

/* Give @first, which was written, another name. */
static int write_hard_link(struct extractor *x, int parent, const char *name,
                           const struct item *first, const struct item *item, struct err *err)
{
	const char *first_name;
	int first_parent = open_parent(&x->first_dirs, first->path, &first_name);

	if (first_parent < 0)
		return fail_path(err, first_parent, item->path);
	if (linkat(first_parent, first_name, parent, name, 0) < 0)
		return fail_path(err, -errno, item->path);
	return 0;
}

/* Write one file or link; @first is an earlier name of it, or NULL. */
static int write_item(struct extractor *x, const struct item *first, const struct item *item,
                      struct err *err)
{
	const char *name;
	int parent = open_parent(&x->dirs, item->path, &name);

	if (parent < 0)
		return fail_path(err, parent, item->path);
	if (first)
		return write_hard_link(x, parent, name, first, item, err);
	if (S_ISLNK(item->node.mode))
		return write_link(x, parent, name, item, err);
	return write_file(x, parent, name, item, err);
}

/* By content, then by inode, then as they were found: hard links follow each other. */
static int compare_items(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;

	if (x->node.content != y->node.content)
		return x->node.content < y->node.content ? -1 : 1;
	if (x->node.ino != y->node.ino)
		return x->node.ino < y->node.ino ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static int compare_places(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;

	return x->place < y->place ? -1 : x->place > y->place;
}

/* Write all but directories. Returns the number that had to be left out, or -errno. */
static int write_items(struct extractor *x, struct err *err)
{
	const struct item *first = NULL;
	int n_missing = 0;

	for (size_t i = 0; i < x->n_items; i++) {
		struct item *item = &x->items[i];
		bool again = first && first->node.ino == item->node.ino;
		struct err why = ERR_INIT;
		int r = 0;

		if (S_ISDIR(item->node.mode))
			continue;
		if (!again)
			first = item;
		item->missing = again && first->missing;
		if (!item->missing)
			r = write_item(x, again ? first : NULL, item, &why);
		if (r == -EBADMSG) {
			note("%s", why.msg);
			item->missing = true;
		} else if (r < 0) {
			return err_set(err, r, "%s", why.msg);
		}
		n_missing += item->missing;
	}
	return n_missing;
}

/* Modes and times of directories, those furthest from the root first; it is called @dir. */
static int finish_dirs(struct extractor *x, const struct node *node, const char *dir,
                       struct err *err)
{
	CLEANUP(free) char *name_of_root = strdup(dir);
	const struct item root = { .path = name_of_root, .node = *node };
	int r = 0;

	if (!name_of_root)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = x->n_items; r == 0 && i-- > 0;) {
		const struct item *item = &x->items[i];
		CLEANUP(close) int fd = -1;
		const char *name;
		int parent;

		if (!S_ISDIR(item->node.mode))
			continue;
		parent = open_parent(&x->dirs, item->path, &name);
		if (parent < 0)
			return fail_path(err, parent, item->path);
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? fail_path(err, -errno, item->path) : set_attributes(x, fd, item, err);
	}
	if (r == 0 && x->root_is_new && S_ISDIR(node->mode))
		r = set_attributes(x, x->root, &root, err);
	return r;
}

static int open_root(struct extractor *x, const char *dir, struct err *err)
{
	x->root_is_new = faccessat(AT_FDCWD, dir, F_OK, 0) < 0;
	if (x->root_is_new) {
		int r = io_make_dirs(dir, err);

		if (r < 0)
			return r;
	}
	x->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->root < 0)
		return err_set_errno(err, "'%s' could not be opened", dir);
	x->dirs = DIRS_INIT(x->root);
	x->first_dirs = DIRS_INIT(x->root);
	return stream_init(&x->stream, x->img, err);
}

int extract(struct image *img, const struct node *node, const char *path, const char *dir,
            struct err *err)
{
	CLEANUP(extractor_release)
	struct extractor x = {
		.img = img,
		.idx = image_index(img),
		.root = -1,
		.set_owner = geteuid() == 0,
		.dirs = DIRS_INIT(-1),
		.first_dirs = DIRS_INIT(-1),
	};
	int n_missing;
	int r = open_root(&x, dir, err);

	if (r < 0)
		return r;
	if (S_ISDIR(node->mode))
		r = add_children(&x, node->ino, "", err);
	else
		r = add_file(&x, path, node, err);
	if (r == 0)
		r = make_dirs(&x, err);
	if (r < 0)
		return r;
	if (x.n_items > 1)
		qsort(x.items, x.n_items, sizeof(*x.items), compare_items);
	n_missing = write_items(&x, err);
	if (n_missing < 0)
		return n_missing;
	if (x.n_items > 1)
		qsort(x.items, x.n_items, sizeof(*x.items), compare_places);
	r = finish_dirs(&x, node, dir, err);
	if (r == 0 && n_missing > 0)
		r = err_set(err, -EBADMSG, "%d files are damaged and were left out", n_missing);
	return r;
}
