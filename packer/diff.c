/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both trees are walked at once, in order of names, one pair of directories in
 * another; where only one tree has a directory, the other side of the pair is empty.
 */
#include "diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "base/text.h"
#include "blobs.h"
#include "diff_internal.h"
#include "listing.h"
#include "names.h"
#include "notes.h"

enum {
	PATH_KEPT_MAX = 4096, /* a damaged index may have endless ones */
	WAS_MAX = 1024,
};

/* A pair of directories on the way to where we are. */
struct level {
	struct listing new, old;
	size_t next_new, next_old;
	size_t path_len; /* of the path to it */
};

struct differ {
	struct image *old; /* borrowed; or NULL */
	struct image *new; /* borrowed */
	struct costs costs;
	struct origins origins; /* loaded when first needed */
	bool has_origins;
	bool has_xattrs;
	struct level *levels; /* owned */
	size_t n_levels;
	size_t levels_max;
	char *path; /* owned; to the directory that is compared, with a slash at its end */
	size_t path_max;
	struct diff *diff; /* borrowed */
};

static void differ_release_cleanup(struct differ *d)
{
	while (d->n_levels > 0) {
		d->n_levels--;
		listing_release(&d->levels[d->n_levels].new);
		listing_release(&d->levels[d->n_levels].old);
	}
	free(d->levels);
	free(d->path);
	free(d->costs.list);
	free(d->origins.list);
}

const char *diff_reason_name(enum diff_reason reason)
{
	static const char *const names[DIFF_REASONS] = {
		"new", "changed", "moved", "re-cut", "metadata", "removed", "unchanged",
	};

	return names[reason];
}

/* Enter a pair of directories; 0 stands for none. Their name is @name, NULL for the root. */
static int enter(struct differ *d, uint64_t new, uint64_t old, const struct listed *name,
                 struct err *err)
{
	struct level *levels = array_grow(d->levels, d->n_levels, &d->levels_max, sizeof(*levels));
	size_t len = d->n_levels > 0 ? d->levels[d->n_levels - 1].path_len : 0;
	struct level *level;
	int r = 0;

	if (!levels)
		return err_set(err, -ENOMEM, "out of memory");
	d->levels = levels;
	level = &levels[d->n_levels];
	*level = (struct level){ .new = LISTING_INIT, .old = LISTING_INIT };
	if (name) {
		while (d->path_max < len + name->name_len + 2) {
			char *path = array_grow(d->path, d->path_max, &d->path_max, 1);

			if (!path)
				return err_set(err, -ENOMEM, "out of memory");
			d->path = path;
		}
		memcpy(d->path + len, name->name, name->name_len);
		len += name->name_len;
		d->path[len++] = '/';
	}
	level->path_len = len;
	d->n_levels++;
	if (new != 0)
		r = listing_load_below(image_index(d->new), new, &level->new, err);
	if (r == 0 && old != 0)
		r = listing_load_below(image_index(d->old), old, &level->old, err);
	return r;
}

/* The path of @l, in the directory that is compared. Returns NULL when memory runs out. */
static char *path_of(const struct differ *d, const struct listed *l)
{
	static const char cut[] = "...";
	size_t dir = d->levels[d->n_levels - 1].path_len;
	bool fits = dir + l->name_len <= PATH_KEPT_MAX;
	char *path;

	if (!fits)
		dir = PATH_KEPT_MAX - l->name_len;
	path = malloc(dir + sizeof(cut) + l->name_len + 1);
	if (!path)
		return NULL;
	if (dir > 0)
		memcpy(path, d->path, dir);
	if (!fits) {
		memcpy(path + dir, cut, strlen(cut));
		dir += strlen(cut);
	}
	memcpy(path + dir, l->name, l->name_len);
	path[dir + l->name_len] = '\0';
	return path;
}

/* Count @l, and list it unless it is as it was. @origin: where its content was, for DIFF_MOVED. */
static int add_file(struct differ *d, const struct listed *l, enum diff_reason reason,
                    const struct origin *origin, struct err *err)
{
	struct content_cost *cost = costs_find(&d->costs, l->node.content);
	struct diff *diff = d->diff;
	struct diff_file *files, file = { .reason = reason, .size = l->node.size };
	char was[WAS_MAX];

	diff->counts[reason]++;
	if (reason == DIFF_UNCHANGED)
		return 0;
	files = array_grow(diff->files, diff->n_files, &diff->files_max, sizeof(*files));
	if (!files)
		return err_set(err, -ENOMEM, "out of memory");
	diff->files = files;
	if (cost && !cost->borne) {
		cost->borne = true;
		file.cost = cost->bytes;
	}
	file.path = path_of(d, l);
	if (reason == DIFF_MOVED && origin && origin->ino != 0) {
		index_path(image_index(d->old), origin->ino, was, sizeof(was));
		file.was = strdup(was);
	}
	files[diff->n_files++] = file;
	return file.path ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Whether the value of xattr @name is another. Returns 1, 0 or -errno. */
static int xattr_differs(const struct differ *d, uint64_t new, uint64_t old, const char *name,
                         struct err *err)
{
	CLEANUP(free) void *value = NULL;
	CLEANUP(free) void *before = NULL;
	size_t len = 0, len_before = 0;
	int r = index_xattr(image_index(d->new), new, name, &value, &len, err);

	if (r == 1)
		r = index_xattr(image_index(d->old), old, name, &before, &len_before, err);
	if (r < 1)
		return r < 0 ? r : 1;
	return len != len_before || (len > 0 && memcmp(value, before, len) != 0);
}

/* Whether two inodes have other xattrs. Returns 1, 0 or -errno. */
static int xattrs_differ(const struct differ *d, uint64_t new, uint64_t old, struct err *err)
{
	CLEANUP(free) char *names = NULL;
	CLEANUP(free) char *before = NULL;
	size_t len = 0, len_before = 0;
	int r = index_xattr_names(image_index(d->new), new, &names, &len, err);

	if (r == 0)
		r = index_xattr_names(image_index(d->old), old, &before, &len_before, err);
	if (r < 0)
		return r;
	if (len != len_before || (len > 0 && memcmp(names, before, len) != 0))
		return 1;
	for (size_t i = 0; r == 0 && i < len; i += strlen(names + i) + 1)
		r = xattr_differs(d, new, old, names + i, err);
	return r;
}

/* Of a file whose bytes are the same: whether the rest is. Returns 1, 0 or -errno. */
static int metadata_differs(const struct differ *d, const struct node *new, const struct node *old,
                            struct err *err)
{
	if (new->mode != old->mode || new->uid != old->uid || new->gid != old->gid ||
	    new->mtime_s != old->mtime_s || new->mtime_ns != old->mtime_ns)
		return 1;
	return d->has_xattrs ? xattrs_differ(d, new->ino, old->ino, err) : 0;
}

/* Whether two links lead to the same. Returns 1, 0 or -errno. */
static int same_target(const struct differ *d, uint64_t new, uint64_t old, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1], before[FORMAT_TARGET_MAX + 1];
	int r = index_target(image_index(d->new), new, target, err);

	if (r == 0)
		r = index_target(image_index(d->old), old, before, err);
	return r < 0 ? r : strcmp(target, before) == 0;
}

/* Whether two nodes of one kind have the same bytes; @digest is that of @new. 1, 0 or -errno. */
static int same_bytes(const struct differ *d, const struct node *new, const struct node *old,
                      const struct digest *digest, struct err *err)
{
	struct content content;
	int r;

	if (S_ISLNK(new->mode))
		return same_target(d, new->ino, old->ino, err);
	if (new->size != old->size)
		return 0;
	if (new->content == 0 || old->content == 0)
		return new->content == old->content;
	r = index_content(image_index(d->old), old->content, &content, err);
	return r < 0 ? r : digest_equal(&content.digest, digest);
}

/* Set *@ret to where the old image has the bytes with @digest, or to NULL. */
static int find_origin(struct differ *d, const struct digest *digest, const struct origin **ret,
                       struct err *err)
{
	int r = 0;

	*ret = NULL;
	if (!d->old)
		return 0;
	if (!d->has_origins)
		r = origins_load(image_index(d->old), &d->origins, err);
	if (r < 0)
		return r;
	d->has_origins = true;
	*ret = origins_find(&d->origins, digest);
	return 0;
}

/* A file or link @l of the new image; @old is the file or link that was at its path, or NULL. */
static int compare_file(struct differ *d, const struct listed *l, const struct node *old,
                        bool had_path, struct err *err)
{
	const struct node *new = &l->node;
	const struct content_cost *cost = costs_find(&d->costs, new->content);
	const struct origin *origin = NULL;
	struct content content = { .id = 0 };
	int r = 0;

	if (new->content != 0)
		r = index_content(image_index(d->new), new->content, &content, err);
	if (r == 0 && old && (old->mode & S_IFMT) == (new->mode &S_IFMT))
		r = same_bytes(d, new, old, &content.digest, err);
	if (r < 0)
		return r;
	if (r == 1 && cost)
		return add_file(d, l, DIFF_RECUT, NULL, err);
	if (r == 1 && old) {
		r = metadata_differs(d, new, old, err);
		return r < 0 ? r
		             : add_file(d, l, r == 1 ? DIFF_METADATA : DIFF_UNCHANGED, NULL, err);
	}
	if (new->content != 0)
		r = find_origin(d, &content.digest, &origin, err);
	if (r < 0)
		return r;
	if (origin)
		return add_file(d, l, cost ? DIFF_RECUT : DIFF_MOVED, origin, err);
	return add_file(d, l, had_path ? DIFF_CHANGED : DIFF_NEW, NULL, err);
}

/* Entries of one name: @new or @old may be NULL. */
static int compare_entry(struct differ *d, const struct listed *new, const struct listed *old,
                         struct err *err)
{
	bool new_dir = new &&S_ISDIR(new->node.mode);
	bool old_dir = old && S_ISDIR(old->node.mode);
	int r = 0;

	if (new && !new_dir)
		r = compare_file(d, new, old && !old_dir ? &old->node : NULL, old != NULL, err);
	if (r < 0)
		return r;
	if (old && !old_dir && (!new || new_dir)) {
		d->diff->counts[DIFF_REMOVED]++;
		d->diff->removed_file_bytes += S_ISREG(old->node.mode) ? old->node.size : 0;
	}
	if (!new_dir && !old_dir)
		return 0;
	return enter(d, new_dir ? new->node.ino : 0, old_dir ? old->node.ino : 0,
	             new_dir ? new : old, err);
}

/* As memcmp() of the names; what is not there comes last. */
static int compare_names(const struct listed *a, const struct listed *b)
{
	size_t len;
	int r;

	if (!a || !b)
		return a ? -1 : 1;
	len = a->name_len < b->name_len ? a->name_len : b->name_len;
	r = memcmp(a->name, b->name, len);
	return r != 0 ? r : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static int compare_trees(struct differ *d, struct err *err)
{
	int r = enter(d, FORMAT_ROOT_INO, d->old ? FORMAT_ROOT_INO : 0, NULL, err);

	while (r == 0 && d->n_levels > 0) {
		struct level *level = &d->levels[d->n_levels - 1];
		const struct listed *new =
			level->next_new < level->new.n ? &level->new.list[level->next_new] : NULL;
		const struct listed *old =
			level->next_old < level->old.n ? &level->old.list[level->next_old] : NULL;
		int order;

		if (!new && !old) {
			listing_release(&level->new);
			listing_release(&level->old);
			d->n_levels--;
			continue;
		}
		order = compare_names(new, old);
		level->next_new += order <= 0;
		level->next_old += order >= 0;
		r = compare_entry(d, order <= 0 ? new : NULL, order >= 0 ? old : NULL, err);
	}
	return r;
}

static int count_blobs(const struct differ *d, struct err *err)
{
	CLEANUP(blob_set_release) struct blob_set new = BLOB_SET_INIT;
	CLEANUP(blob_set_release) struct blob_set old = BLOB_SET_INIT;
	const struct manifest *m = image_manifest(d->new);
	struct diff *diff = d->diff;
	int r = blob_set_add_manifest(&new, m);

	if (r == 0 && d->old)
		r = blob_set_add_manifest(&old, image_manifest(d->old));
	if (r < 0)
		return err_set(err, r, "out of memory");
	blob_set_seal(&new);
	blob_set_seal(&old);
	diff->update_bytes = blob_set_lacking(&new, &old);
	diff->dropped_bytes = blob_set_lacking(&old, &new);
	if (!blob_set_has(&old, &m->self.digest))
		diff->manifest_bytes += m->self.size;
	if (!blob_set_has(&old, &m->config.digest))
		diff->manifest_bytes += m->config.size;
	if (!blob_set_has(&old, &m->index.digest))
		diff->index_bytes = m->index.size;
	diff->pack_bytes = diff->update_bytes - diff->manifest_bytes - diff->index_bytes;
	return 0;
}

static int compare_cost(const void *a, const void *b)
{
	const struct diff_file *x = a;
	const struct diff_file *y = b;

	if (x->cost != y->cost)
		return x->cost > y->cost ? -1 : 1;
	return strcmp(x->path, y->path);
}

int diff_images(struct image *old, struct image *new, struct diff *ret, struct err *err)
{
	CLEANUP(differ_release) struct differ d = { .old = old, .new = new, .diff = ret };
	int r;

	*ret = DIFF_INIT;
	d.has_xattrs = index_info(image_index(new))->has_xattrs ||
	               (old && index_info(image_index(old))->has_xattrs);
	r = costs_collect(old, new, &d.costs, ret, err);
	if (r == 0)
		r = compare_trees(&d, err);
	if (r == 0)
		r = count_blobs(&d, err);
	if (r == 0 && ret->n_files > 1)
		qsort(ret->files, ret->n_files, sizeof(*ret->files), compare_cost);
	return r;
}

void diff_release(struct diff *d)
{
	for (size_t i = 0; i < d->n_files; i++) {
		free(d->files[i].path);
		free(d->files[i].was);
	}
	free(d->files);
	*d = DIFF_INIT;
}

void diff_print_costliest(const struct diff *d, size_t n)
{
	char size[TEXT_SIZE_MAX], shown[NAME_SHOWN_MAX];

	for (size_t i = 0; i < d->n_files && i < n && d->files[i].cost > 0; i++)
		note("%10s  %-8s  %s", text_size(d->files[i].cost, size),
		     diff_reason_name(d->files[i].reason), name_shown(d->files[i].path, shown));
}
