/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breadth first: the list of nodes is its own queue, directories are opened
 * when their turn comes, and the depth of a tree costs no stack.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/table.h"
#include "dirs.h"
#include "format.h"
#include "grow.h"
#include "names.h"
#include "notes.h"

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
	struct dirs dirs;
	struct table linked;     /* owned entries */
	struct tree_node **tail; /* where the next node is hung */
};

static void walker_release_cleanup(struct walker *w)
{
	for (struct table_node *n = table_walk(&w->linked, NULL), *next; n; n = next) {
		next = table_walk(&w->linked, n);
		free(TABLE_ENTRY(n, struct linked, hook));
	}
	table_release(&w->linked);
	dirs_release(&w->dirs);
}

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

static int fail_file(struct err *err, const char *path, int code, const char *what)
{
	char shown[NAME_SHOWN_MAX];

	return err_set(err, code, "'%s' %s: %s", name_shown(path, shown), what,
	               strerrordesc_np(-code));
}

static void set_times(const struct walk_options *o, const struct stat *st, struct tree_node *node)
{
	node->mtime_s = o->has_epoch ? o->epoch : 0;
	node->found_mtime = st->st_mtim;
	if (!(o->flags & WALK_KEEP_MTIME) || (o->has_epoch && st->st_mtim.tv_sec >= o->epoch))
		return;
	node->mtime_s = st->st_mtim.tv_sec;
	node->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

/* A new node, hung behind all others. Takes @path. */
static struct tree_node *add_node(struct walker *w, const struct stat *st, char *path)
{
	struct tree_node *node = calloc(1, sizeof(*node));
	bool keep_owner = w->options->flags & WALK_KEEP_OWNER;

	if (!node)
		return NULL;
	node->source = w->source;
	node->mode = st->st_mode & (S_IFMT | 01777);
	node->uid = keep_owner ? st->st_uid : 0;
	node->gid = keep_owner ? st->st_gid : 0;
	node->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	node->path = path;
	set_times(w->options, st, node);
	if (st->st_mode & (S_ISUID | S_ISGID))
		warn_file(path, "is packed without its setuid and setgid bits");
	*w->tail = node;
	w->tail = &node->next;
	return node;
}

static int read_target(int dirfd, const char *name, struct tree_node *node, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target));

	if (n < 0)
		return fail_file(err, node->path, -errno, "could not be read");
	if (n == 0 || n > FORMAT_TARGET_MAX)
		return fail_file(err, node->path, -ENAMETOOLONG, "has no usable target");
	node->target = strndup(target, (size_t)n);
	node->size = (uint64_t)n;
	return node->target ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int compare_xattrs(const void *a, const void *b)
{
	return strcmp(((const struct tree_xattr *)a)->name, ((const struct tree_xattr *)b)->name);
}

static int read_xattr(int fd, const char *name, struct tree_node *node, struct err *err)
{
	ssize_t size = fgetxattr(fd, name, NULL, 0);
	CLEANUP(free) char *copy = strdup(name);
	CLEANUP(free) void *value = size < 0 ? NULL : malloc((size_t)size + 1);
	struct tree_xattr *xattrs;

	if (size < 0)
		return fail_file(err, node->path, -errno, "has an unreadable attribute");
	xattrs = reallocarray(node->xattrs, node->n_xattrs + 1, sizeof(*xattrs));
	if (xattrs)
		node->xattrs = xattrs;
	if (!copy || !value || !xattrs)
		return err_set(err, -ENOMEM, "out of memory");
	if (fgetxattr(fd, name, value, (size_t)size) != size)
		return fail_file(err, node->path, -EAGAIN, "changed while it was packed");
	xattrs[node->n_xattrs++] = (struct tree_xattr){
		.name = TAKE_PTR(copy),
		.value = TAKE_PTR(value),
		.len = (size_t)size,
	};
	return 0;
}

/* The user.* attributes of the file or directory @name. */
static int read_xattrs(int dirfd, const char *name, struct tree_node *node, struct err *err)
{
	CLEANUP(close)
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : flistxattr(fd, NULL, 0);
	CLEANUP(free) char *names = size < 0 ? NULL : malloc((size_t)size + 1);
	int r = 0;

	if (size < 0 && fd >= 0 && errno == ENOTSUP)
		return 0;
	if (size < 0)
		return fail_file(err, node->path, -errno, "could not be read");
	if (!names)
		return err_set(err, -ENOMEM, "out of memory");
	/* Never with size 0, which would ask for the size once more and fill in nothing. */
	size = flistxattr(fd, names, (size_t)size + 1);
	if (size < 0)
		return fail_file(err, node->path, -errno, "has unreadable attributes");
	for (const char *n = names; r == 0 && n < names + size; n += strlen(n) + 1) {
		if (strncmp(n, "user.", 5) == 0 && n[5] != '\0')
			r = read_xattr(fd, n, node, err);
	}
	if (node->n_xattrs > 1)
		qsort(node->xattrs, node->n_xattrs, sizeof(*node->xattrs), compare_xattrs);
	return r;
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

static char *join_path(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s%s%s", dir, dir[0] != '\0' ? "/" : "", name) < 0)
		return NULL;
	return path;
}

/* The node of entry @name: a new one, or that of an earlier hard link. NULL in *@ret: left out. */
static int find_node(struct walker *w, int dirfd, const struct tree_node *dir, const char *name,
                     struct tree_node **ret, struct err *err)
{
	char *path = join_path(dir->path, name);
	struct tree_node *node;
	struct stat st;
	int r = 0;

	*ret = NULL;
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = fail_file(err, path, -errno, "could not be read");
	else if (unsupported(st.st_mode))
		warn_file(path, unsupported(st.st_mode));
	else
		*ret = find_linked(w, &st);
	if (r < 0 || *ret || unsupported(st.st_mode)) {
		free(path);
		return r;
	}
	node = add_node(w, &st, path);
	if (!node) {
		free(path);
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && remember_linked(w, &st, node) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (S_ISLNK(st.st_mode))
		r = read_target(dirfd, name, node, err);
	else if (w->options->flags & WALK_XATTRS)
		r = read_xattrs(dirfd, name, node, err);
	*ret = node;
	return r;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct tree_entry *)a)->name, ((const struct tree_entry *)b)->name);
}

/* List the names in @stream as entries of @dir without nodes, in order. */
static int read_names(DIR *stream, struct tree_node *dir, struct err *err)
{
	const struct dirent *d;
	size_t max = 0;

	errno = 0;
	/* The stream is its caller's own. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	for (; (d = readdir(stream)); errno = 0) {
		struct tree_entry *entries;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		entries = array_grow(dir->entries, dir->n_entries, &max, sizeof(*entries));
		if (!entries)
			return err_set(err, -ENOMEM, "out of memory");
		dir->entries = entries;
		entries[dir->n_entries] = (struct tree_entry){ .name = strdup(d->d_name) };
		if (!entries[dir->n_entries].name)
			return err_set(err, -ENOMEM, "out of memory");
		dir->n_entries++;
	}
	if (errno != 0)
		return fail_file(err, dir->path, -errno, "could not be listed");
	if (dir->n_entries > 1)
		qsort(dir->entries, dir->n_entries, sizeof(*dir->entries), compare_entries);
	return 0;
}

/* Open directory @node for reading; errors name it as the user would. */
static DIR *open_dir(struct walker *w, const struct tree_node *node)
{
	size_t len;
	const char *name = path_split(node->path, &len);
	int parent = dirs_open(&w->dirs, node->path, len);
	int fd;
	DIR *stream;

	if (parent < 0) {
		errno = -parent;
		return NULL;
	}
	fd = openat(parent, node->path[0] != '\0' ? name : ".",
	            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream && fd >= 0)
		(void)close(fd);
	return stream;
}

static int walk_dir(struct walker *w, struct tree_node *dir, struct err *err)
{
	CLEANUP(closedir) DIR *stream = open_dir(w, dir);
	size_t kept = 0;
	int r;

	if (!stream)
		return fail_file(err, dir->path[0] != '\0' ? dir->path : w->source->path, -errno,
		                 "could not be opened");
	r = read_names(stream, dir, err);
	for (size_t i = 0; i < dir->n_entries; i++) {
		struct tree_entry *entry = &dir->entries[i];

		if (r == 0)
			r = find_node(w, dirfd(stream), dir, entry->name, &entry->node, err);
		if (entry->node)
			dir->entries[kept++] = *entry;
		else
			free(entry->name);
	}
	dir->n_entries = kept;
	return r;
}

static int walk_all(struct walker *w, struct err *err)
{
	char *path = strdup("");
	struct stat st;

	if (fstat(w->source->fd, &st) < 0) {
		free(path);
		return err_set_errno(err, "'%s'", w->source->path);
	}
	w->source->root = path ? add_node(w, &st, path) : NULL;
	if (!w->source->root) {
		free(path);
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (w->options->flags & WALK_XATTRS) {
		int r = read_xattrs(w->source->fd, ".", w->source->root, err);

		if (r < 0)
			return r;
	}
	for (struct tree_node *node = w->source->root; node; node = node->next) {
		int r = S_ISDIR(node->mode) ? walk_dir(w, node, err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

int walk(const char *path, unsigned rank, const struct walk_options *options, struct source *ret,
         struct err *err)
{
	CLEANUP(walker_release) struct walker w = { .source = ret, .options = options };

	*ret = (struct source){ .path = path, .rank = rank };
	w.tail = &ret->nodes;
	ret->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w.dirs = DIRS_INIT(ret->fd);
	if (ret->fd < 0)
		return err_set_errno(err, "'%s' could not be opened", path);
	return walk_all(&w, err);
}
