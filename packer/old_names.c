/* SPDX-License-Identifier: Apache-2.0 */
/* Names are listed at first need, in order of name, so that those of one name stand together. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "dirs.h"
#include "old.h"

struct old_file {
	char *name; /* owned; without its directory */
	uint64_t dir;
	uint64_t content;
};

struct old_names {
	struct image *img;      /* borrowed */
	struct old_file *files; /* owned; by name */
	size_t n, max;
	uint64_t *dirs; /* owned; that have been found */
	size_t n_dirs, dirs_max;
	uint64_t dir; /* being listed */
};

void old_names_free(struct old_names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < names->n; i++)
		free(names->files[i].name);
	free(names->files);
	free(names->dirs);
	free(names);
}

static int add_dir(struct old_names *names, uint64_t ino)
{
	uint64_t *dirs = array_grow(names->dirs, names->n_dirs, &names->dirs_max, sizeof(*dirs));

	if (!dirs)
		return -ENOMEM;
	names->dirs = dirs;
	dirs[names->n_dirs++] = ino;
	return 0;
}

static int add_file(struct old_names *names, const struct dir_entry *entry)
{
	struct old_file *files = array_grow(names->files, names->n, &names->max, sizeof(*files));

	if (!files)
		return -ENOMEM;
	names->files = files;
	files[names->n] = (struct old_file){
		.name = strdup(entry->name),
		.dir = names->dir,
		.content = entry->node.content,
	};
	if (!files[names->n].name)
		return -ENOMEM;
	names->n++;
	return 0;
}

static int add_entry(void *arg, const struct dir_entry *entry)
{
	struct old_names *names = arg;

	if (S_ISDIR(entry->node.mode))
		return add_dir(names, entry->node.ino);
	if (S_ISREG(entry->node.mode) && entry->node.content != 0)
		return add_file(names, entry);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct old_file *x = a;
	const struct old_file *y = b;
	int order = strcmp(x->name, y->name);

	if (order == 0)
		order = x->dir < y->dir ? -1 : x->dir > y->dir;
	return order;
}

struct old_names *old_names_new(struct image *img)
{
	struct old_names *names = calloc(1, sizeof(*names));

	if (names)
		names->img = img;
	return names;
}

/* List all files, by name. */
static int list_all(struct old_names *names, struct err *err)
{
	int r = add_dir(names, FORMAT_ROOT_INO);

	for (size_t i = 0; r == 0 && i < names->n_dirs; i++) {
		names->dir = names->dirs[i];
		r = index_list(image_index(names->img), names->dir, 0, add_entry, names, err);
	}
	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
	if (names->n > 1)
		qsort(names->files, names->n, sizeof(*names->files), compare_names);
	return 0;
}

static const char *extension(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot : "";
}

/* Bytes that two names have in common at their start and end. */
static size_t likeness(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	size_t shorter = a_len < b_len ? a_len : b_len;
	size_t start = 0, end = 0;

	while (start < shorter && a[start] == b[start])
		start++;
	while (end < shorter - start && a[a_len - end - 1] == b[b_len - end - 1])
		end++;
	return start + end;
}

static uint64_t find_alike(const struct old_names *names, uint64_t dir, const char *name)
{
	const char *ext = extension(name);
	/* What all files of the extension have in common does not count. */
	size_t best = strlen(ext);
	uint64_t found = 0;

	for (size_t i = 0; i < names->n; i++) {
		const struct old_file *f = &names->files[i];
		size_t like;

		if (f->dir != dir || strcmp(extension(f->name), ext) != 0)
			continue;
		like = likeness(f->name, name);
		if (like > best) {
			best = like;
			found = f->content;
		}
	}
	return found;
}

static uint64_t find_named(const struct old_names *names, const char *name)
{
	size_t lo = 0, hi = names->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(names->files[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < names->n && strcmp(names->files[lo].name, name) == 0 ? names->files[lo].content
	                                                                 : 0;
}

bool old_file_at(struct image *img, const char *path, uint64_t *ret)
{
	struct node node;

	/* What cannot be read is not found: the build goes on without. */
	if (index_resolve(image_index(img), path, &node, NULL) != 1 || !S_ISREG(node.mode))
		return false;
	*ret = node.content;
	return true;
}

int old_names_find(struct old_names *names, const char *path, uint64_t *ret, struct err *err)
{
	size_t len;
	const char *name = path_split(path, &len);
	CLEANUP(free) char *dir = strndup(path, len);
	struct node node;

	/* To list all names takes long; most files are where they were. */
	if (names->n_dirs == 0) {
		int r = list_all(names, err);

		if (r < 0)
			return r;
	}
	*ret = find_named(names, name);
	if (*ret == 0 && dir && index_resolve(image_index(names->img), dir, &node, NULL) == 1)
		*ret = find_alike(names, node.ino, name);
	return 0;
}
