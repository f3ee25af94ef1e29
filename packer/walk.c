/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breadth first: the list of directories is its own queue, they are opened
 * when their turn comes, and the depth of a tree costs no stack.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

#include "base/grow.h"
#include "base/table.h"
#include "format.h"
#include "notes.h"
#include "tree_dirs.h"

/* A file of several names. */
struct linked {
	struct table_node hook;
	dev_t dev;
	ino_t ino;
	struct tree_node *node; /* borrowed */
};

struct walker {
	struct source *source;
	const struct walk_options *options;
	struct timespec began;
	struct tree_dirs dirs;
	struct table linked;        /* owned entries */
	struct tree_node *last_dir; /* behind which the next one is hung */
	const char **names;         /* owned array; of the directory that is read */
	size_t names_max;
};

static void walker_release_cleanup(struct walker *w)
{
	for (struct table_node *n = table_walk(&w->linked, NULL), *next; n; n = next) {
		next = table_walk(&w->linked, n);
		free(TABLE_ENTRY(n, struct linked, hook));
	}
	table_release(&w->linked);
	tree_dirs_release(&w->dirs);
	free(w->names);
}

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

static int fail_node(struct err *err, const struct tree_node *node, int code, const char *what)
{
	char shown[NAME_SHOWN_MAX];

	return err_set(err, code, "'%s' %s: %s", tree_path_shown(node, shown), what,
	               strerrordesc_np(-code));
}

static void warn_node(const struct tree_node *node, const char *what)
{
	CLEANUP(path_buf_release) struct path_buf buf = PATH_BUF_INIT;
	const char *path = tree_path(node, &buf);

	warn_file(path ? path : node->name, what);
}

static void set_times(const struct walk_options *o, const struct stat *st, struct tree_node *node)
{
	node->mtime_s = o->has_epoch ? o->epoch : 0;
	if (!(o->flags & WALK_KEEP_MTIME) || (o->has_epoch && st->st_mtim.tv_sec >= o->epoch))
		return;
	node->mtime_s = st->st_mtim.tv_sec;
	node->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

/* What regular file @node is known by later on. */
static void set_identity(const struct walker *w, const struct stat *st, struct tree_node *node)
{
	node->size = (uint64_t)st->st_size;
	node->stamp = tree_stamp(st);
	node->fresh = tree_is_fresh(st, &w->began);
}

/* Make @node, which has its parent and name, what @st says. */
static void set_node(struct walker *w, const struct stat *st, struct tree_node *node)
{
	bool keep_owner = w->options->flags & WALK_KEEP_OWNER;

	node->rank = (uint8_t)w->source->rank;
	node->mode = (uint16_t)(st->st_mode & (S_IFMT | 01777));
	node->uid = keep_owner ? st->st_uid : 0;
	node->gid = keep_owner ? st->st_gid : 0;
	set_times(w->options, st, node);
	w->source->n_nodes++;
	if (S_ISREG(st->st_mode))
		set_identity(w, st, node);
	if (S_ISDIR(st->st_mode)) {
		if (w->last_dir)
			w->last_dir->next_dir = node;
		w->last_dir = node;
	}
	if (st->st_mode & (S_ISUID | S_ISGID))
		warn_node(node, "is packed without its setuid and setgid bits");
}

static int read_target(struct walker *w, int dirfd, struct tree_node *node, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	ssize_t n = readlinkat(dirfd, node->name, target, sizeof(target));

	if (n < 0)
		return fail_node(err, node, -errno, "could not be read");
	if (n == 0 || n > FORMAT_TARGET_MAX)
		return fail_node(err, node, -ENAMETOOLONG, "has no usable target");
	node->target = arena_copy(&w->source->arena, target, (size_t)n);
	node->size = (uint64_t)n;
	return node->target ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int compare_xattrs(const void *a, const void *b)
{
	return strcmp(((const struct tree_xattr *)a)->name, ((const struct tree_xattr *)b)->name);
}

/* Add attribute @name at the end of *@found, which has room for it. */
static int read_xattr(struct walker *w, int fd, const char *name, const struct tree_node *node,
                      struct tree_xattrs *found, struct err *err)
{
	ssize_t size = fgetxattr(fd, name, NULL, 0);
	const char *copy = arena_copy(&w->source->arena, name, strlen(name));
	void *value = size < 0 ? NULL : arena_alloc(&w->source->arena, (size_t)size + 1, 1);

	if (size < 0)
		return fail_node(err, node, -errno, "has an unreadable attribute");
	if (!copy || !value)
		return err_set(err, -ENOMEM, "out of memory");
	if (fgetxattr(fd, name, value, (size_t)size) != size)
		return fail_node(err, node, -EAGAIN, "changed while it was packed");
	found->list[found->n++] =
		(struct tree_xattr){ .name = copy, .value = value, .len = (size_t)size };
	return 0;
}

static bool is_kept_xattr(const char *name)
{
	return strncmp(name, "user.", 5) == 0 && name[5] != '\0';
}

/* The attributes to be kept of the @size bytes of @names. */
static int read_kept_xattrs(struct walker *w, int fd, const char *names, size_t size,
                            struct tree_node *node, struct err *err)
{
	struct tree_xattrs *found;
	size_t kept = 0;
	int r = 0;

	for (const char *n = names; n < names + size; n += strlen(n) + 1)
		kept += is_kept_xattr(n);
	if (kept == 0)
		return 0;
	found = arena_array(&w->source->arena, 1, sizeof(*found) + kept * sizeof(*found->list));
	if (!found)
		return err_set(err, -ENOMEM, "out of memory");
	found->n = 0;
	for (const char *n = names; r == 0 && n < names + size; n += strlen(n) + 1) {
		if (is_kept_xattr(n))
			r = read_xattr(w, fd, n, node, found, err);
	}
	qsort(found->list, found->n, sizeof(*found->list), compare_xattrs);
	node->xattrs = found;
	return r;
}

/* The user.* attributes of file or directory @node, which is @name in @dirfd. */
static int read_xattrs(struct walker *w, int dirfd, const char *name, struct tree_node *node,
                       struct err *err)
{
	CLEANUP(close)
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : flistxattr(fd, NULL, 0);
	CLEANUP(free) char *names = size < 0 ? NULL : malloc((size_t)size + 1);

	if (size < 0 && fd >= 0 && errno == ENOTSUP)
		return 0;
	if (size < 0)
		return fail_node(err, node, -errno, "could not be read");
	if (!names)
		return err_set(err, -ENOMEM, "out of memory");
	/* Never with size 0, which would ask for the size once more and fill in nothing. */
	size = flistxattr(fd, names, (size_t)size + 1);
	if (size < 0)
		return fail_node(err, node, -errno, "has unreadable attributes");
	return read_kept_xattrs(w, fd, names, (size_t)size, node, err);
}

/* The node that an earlier name of the same file has, or NULL. */
static struct tree_node *find_linked(const struct walker *w, const struct stat *st)
{
	for (struct table_node *n = table_first(&w->linked, st->st_ino); n; n = table_next(n)) {
		const struct linked *l = TABLE_ENTRY(n, struct linked, hook);

		if (l->ino == st->st_ino && l->dev == st->st_dev)
			return l->node;
	}
	return NULL;
}

static int remember_linked(struct walker *w, const struct stat *st, struct tree_node *node)
{
	struct linked *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	*l = (struct linked){ .dev = st->st_dev, .ino = st->st_ino, .node = node };
	if (table_insert(&w->linked, &l->hook, st->st_ino) < 0) {
		free(l);
		return -ENOMEM;
	}
	return 0;
}

/* What is left out of every image, in words; NULL for what is kept. */
static const char *unsupported(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
		return NULL;
	case S_IFSOCK:
		return "is left out: it is a socket";
	case S_IFIFO:
		return "is left out: it is a pipe";
	default:
		return "is left out: it is a device";
	}
}

/* Keep another name of @first; what becomes of the entry is all there is to it. */
static void set_other_name(struct walker *w, struct tree_node *entry, struct tree_node *first)
{
	entry->first = first;
	entry->other_name = true;
	w->source->n_other_names++;
}

/*
 * Make @entry, which has its parent and name, what its name stands for: a new
 * node, or another name of an earlier one. Returns 1, 0 when it is left out, or
 * -errno.
 */
static int find_node(struct walker *w, int dirfd, struct tree_node *entry, struct err *err)
{
	struct tree_node *first = NULL;
	struct stat st;
	int r = 0;

	if (fstatat(dirfd, entry->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_node(err, entry, -errno, "could not be read");
	if (unsupported(st.st_mode)) {
		warn_node(entry, unsupported(st.st_mode));
		return 0;
	}
	if (w->source->n_nodes + w->source->n_other_names >= TREE_NODES_MAX)
		return err_set(err, -EOVERFLOW, "'%s' " TREE_TOO_LARGE, w->source->path,
		               TREE_NODES_MAX);
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
		first = find_linked(w, &st);
	if (first) {
		set_other_name(w, entry, first);
		return 1;
	}
	set_node(w, &st, entry);
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && remember_linked(w, &st, entry) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (S_ISLNK(st.st_mode))
		r = read_target(w, dirfd, entry, err);
	else if (w->options->flags & WALK_XATTRS)
		r = read_xattrs(w, dirfd, entry->name, entry, err);
	return r < 0 ? r : 1;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* List the names in @stream, that of @dir, in order. */
static int read_names(struct walker *w, DIR *stream, const struct tree_node *dir, size_t *ret_n,
                      struct err *err)
{
	const struct dirent *d;
	size_t n = 0;

	errno = 0;
	/* The stream is its caller's own. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	for (; (d = readdir(stream)); errno = 0) {
		const char **names;
		const char *name;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		names = array_grow(w->names, n, &w->names_max, sizeof(const char *));
		if (!names)
			return err_set(err, -ENOMEM, "out of memory");
		w->names = names;
		name = arena_copy(&w->source->arena, d->d_name, strlen(d->d_name));
		if (!name)
			return err_set(err, -ENOMEM, "out of memory");
		names[n++] = name;
	}
	if (errno != 0)
		return fail_node(err, dir, -errno, "could not be listed");
	if (n > 1)
		qsort(w->names, n, sizeof(const char *), compare_names);
	*ret_n = n;
	return 0;
}

/* Open directory @node for reading. */
static DIR *open_dir(struct walker *w, const struct tree_node *node)
{
	int parent = tree_dirs_open(&w->dirs, node->parent ? node->parent : node);
	int fd;
	DIR *stream;

	if (parent < 0) {
		errno = -parent;
		return NULL;
	}
	fd = openat(parent, node->parent ? node->name : ".",
	            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream && fd >= 0)
		(void)close(fd);
	return stream;
}

static int walk_dir(struct walker *w, struct tree_node *dir, struct err *err)
{
	CLEANUP(closedir) DIR *stream = open_dir(w, dir);
	size_t n = 0;
	int r;

	if (!stream && !dir->parent)
		return err_set_errno(err, "'%s' could not be opened", w->source->path);
	if (!stream)
		return fail_node(err, dir, -errno, "could not be opened");
	r = read_names(w, stream, dir, &n, err);
	if (r < 0 || n == 0)
		return r;
	dir->children = arena_array(&w->source->arena, n, sizeof(*dir->children));
	if (!dir->children)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct tree_node *entry = &dir->children[dir->n_children];

		*entry = (struct tree_node){ .parent = dir, .name = w->names[i] };
		r = find_node(w, dirfd(stream), entry, err);
		if (r < 0)
			return r;
		dir->n_children += (unsigned)r;
	}
	return 0;
}

static int walk_all(struct walker *w, struct err *err)
{
	struct tree_node *root = &w->source->root;
	struct stat st;
	int r = 0;

	if (fstat(w->source->fd, &st) < 0)
		return err_set_errno(err, "'%s'", w->source->path);
	root->name = "";
	set_node(w, &st, root);
	if (w->options->flags & WALK_XATTRS)
		r = read_xattrs(w, w->source->fd, ".", root, err);
	for (struct tree_node *dir = root; r == 0 && dir; dir = dir->next_dir)
		r = walk_dir(w, dir, err);
	return r;
}

int walk(const char *path, unsigned rank, const struct walk_options *options, struct source *ret,
         struct err *err)
{
	CLEANUP(walker_release)
	struct walker w = { .source = ret, .options = options, .dirs = TREE_DIRS_INIT };

	*ret = (struct source){ .path = path, .rank = rank };
	(void)clock_gettime(CLOCK_REALTIME, &w.began);
	ret->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->fd < 0)
		return err_set_errno(err, "'%s' could not be opened", path);
	return walk_all(&w, err);
}
