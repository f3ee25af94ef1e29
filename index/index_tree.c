/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and directories. Order is checked while rows go by (seq without gaps,
 * names ascending), which also ends every walk through a damaged database whose
 * pages form a loop. A directory's inode number is above its parent's in every
 * image that is numbered as the format says, so no path can form a cycle.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "index_internal.h"

static int check_child(const struct query *q, uint64_t parent, const struct node *node,
                       struct err *err)
{
	if (S_ISDIR(node->mode) && node->ino <= parent)
		return row_bad(q->stmt, "directory", node->ino,
		               "has a lower number than the one it is in", err);
	return 0;
}

/* The node that an entry names; the join gives NULL where there is none. */
static int row_entry_node(const struct query *q, uint64_t parent, struct node *ret, struct err *err)
{
	int r;

	if (sqlite3_column_type(q->stmt, 0) == SQLITE_NULL)
		return row_bad(q->stmt, "directory", parent, "names a node that does not exist",
		               err);
	r = row_node(q, 0, ret, err);
	return r < 0 ? r : check_child(q, parent, ret, err);
}

int index_lookup(struct index *idx, uint64_t parent, const char *name, size_t len, struct node *ret,
                 struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r;

	if (len < 1 || len > FORMAT_NAME_MAX)
		return 0;
	r = query_begin(idx, QUERY_LOOKUP, &q, err);
	if (r < 0)
		return r;
	query_bind(&q, 1, parent);
	query_bind_bytes(&q, 2, name, len);
	r = query_step(&q, err);
	if (r < 1)
		return r;
	r = row_entry_node(&q, parent, ret, err);
	return r < 0 ? r : 1;
}

int index_resolve(struct index *idx, const char *path, struct node *ret, struct err *err)
{
	struct node node;
	int r = index_node(idx, FORMAT_ROOT_INO, &node, err);

	while (r == 1) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			break;
		if (!S_ISDIR(node.mode))
			return 0;
		r = index_lookup(idx, node.ino, path, len, &node, err);
		path += len;
	}
	if (r == 1)
		*ret = node;
	return r;
}

/* The entry before, to compare the next one with. */
struct list_place {
	uint64_t seq;
	size_t name_len;
	char name[FORMAT_NAME_MAX + 1];
};

static bool follows(const struct list_place *place, const char *name, size_t len)
{
	size_t common = len < place->name_len ? len : place->name_len;
	int cmp = memcmp(place->name, name, common);

	return cmp < 0 || (cmp == 0 && place->name_len < len);
}

/* Check the row of an entry against the entry before it, which it then replaces. */
static int row_entry(const struct query *q, uint64_t parent, struct list_place *place,
                     struct node *ret, struct err *err)
{
	const char *name = NULL;
	uint64_t seq;
	size_t len = 0;
	int r = row_name(q, N_NODE_COLUMNS, parent, &name, &len, err);

	if (r < 0)
		return r;
	if (!col_uint(q->stmt, N_NODE_COLUMNS + 1, INT64_MAX, &seq) || seq != place->seq + 1 ||
	    !follows(place, name, len))
		return row_bad(q->stmt, "directory", parent, "has entries out of order", err);
	place->seq = seq;
	place->name_len = len;
	memcpy(place->name, name, len);
	place->name[len] = '\0';
	return row_entry_node(q, parent, ret, err);
}

int index_list(struct index *idx, uint64_t ino, uint64_t after, index_entry_fn fn, void *arg,
               struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	struct list_place place = { .seq = after, .name_len = 0 };
	int r = query_begin(idx, QUERY_LIST, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, ino);
	query_bind(&q, 2, after);
	while ((r = query_step(&q, err)) == 1) {
		struct dir_entry entry;

		r = row_entry(&q, ino, &place, &entry.node, err);
		if (r < 0)
			return r;
		entry.name = place.name;
		entry.name_len = place.name_len;
		entry.seq = place.seq;
		r = fn(arg, &entry);
		if (r != 0)
			return r;
	}
	return r;
}

int index_target(struct index *idx, uint64_t ino, char ret[static FORMAT_TARGET_MAX + 1],
                 struct err *err)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	struct node node = { .ino = 0 };
	const void *target;
	size_t len;
	int r = query_begin(idx, QUERY_NODE, &q, err);

	if (r < 0)
		return r;
	query_bind(&q, 1, ino);
	r = query_step(&q, err);
	if (r == 1)
		r = row_node(&q, 0, &node, err);
	else if (r == 0)
		return err_set(err, -ENOENT, "there is no inode %llu", (unsigned long long)ino);
	if (r < 0)
		return r;
	if (!S_ISLNK(node.mode))
		return err_set(err, -EINVAL, "inode %llu is not a symbolic link",
		               (unsigned long long)ino);
	target = col_blob(q.stmt, 9, 1, FORMAT_TARGET_MAX, &len);
	if (!target)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(ret, target, len);
	ret[len] = '\0';
	return 0;
}

/* Where each directory is. The schema finds children by parent only, so this is read in one go. */
struct dir_map {
	size_t n;
	struct dir_place {
		uint64_t ino;
		uint64_t parent;
	} * dirs; /* owned; ascending ino */
};

void dir_map_free(struct dir_map *map)
{
	if (!map)
		return;
	free(map->dirs);
	free(map);
}
DEFINE_CLEANUP(struct dir_map *, dir_map_free)

static int cmp_place(const void *a, const void *b)
{
	const struct dir_place *x = a;
	const struct dir_place *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

static int add_place(struct dir_map *map, struct dir_place place, struct err *err)
{
	/* Room doubles whenever n reaches a power of two. */
	if ((map->n & (map->n - 1)) == 0) {
		size_t room = map->n > 0 ? map->n * 2 : 1;
		void *dirs = reallocarray(map->dirs, room, sizeof(place));

		if (!dirs)
			return err_set(err, -ENOMEM, "out of memory");
		map->dirs = dirs;
	}
	map->dirs[map->n++] = place;
	return 0;
}

static int dir_map_load(struct index *idx, struct dir_map **ret, struct err *err)
{
	CLEANUP(dir_map_free) struct dir_map *map = calloc(1, sizeof(*map));
	CLEANUP(query_end) struct query q = QUERY_INIT;
	int r;

	if (!map)
		return err_set(err, -ENOMEM, "out of memory");
	r = query_begin(idx, QUERY_DIRS, &q, err);
	while (r == 0 && (r = query_step(&q, err)) == 1) {
		struct dir_place place = { .ino = 0 };

		if (map->n >= idx->info.n_nodes || !col_uint(q.stmt, 0, INT64_MAX, &place.ino) ||
		    !col_uint(q.stmt, 1, INT64_MAX, &place.parent) || place.ino <= place.parent)
			return row_bad(q.stmt, "directory", place.ino, "is in a bad place", err);
		r = add_place(map, place, err);
	}
	if (r < 0)
		return r;
	if (map->n > 0)
		qsort(map->dirs, map->n, sizeof(*map->dirs), cmp_place);
	for (size_t i = 1; i < map->n; i++) {
		if (map->dirs[i].ino == map->dirs[i - 1].ino)
			return row_bad(q.stmt, "directory", map->dirs[i].ino,
			               "is in two directories", err);
	}
	*ret = TAKE_PTR(map);
	return 0;
}

/* Two threads may both load the map; one of them keeps it. */
static int dir_map_get(struct index *idx, const struct dir_map **ret, struct err *err)
{
	struct dir_map *map = __atomic_load_n(&idx->dirs, __ATOMIC_ACQUIRE);
	struct dir_map *first = NULL;
	int r;

	if (!map) {
		r = dir_map_load(idx, &map, err);
		if (r < 0)
			return r;
		if (!__atomic_compare_exchange_n(&idx->dirs, &first, map, /* weak= */ false,
		                                 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			dir_map_free(map);
			map = first;
		}
	}
	*ret = map;
	return 0;
}

int index_parent(struct index *idx, uint64_t ino, uint64_t *ret, struct err *err)
{
	struct dir_place key = { .ino = ino };
	const struct dir_map *map = NULL;
	const struct dir_place *place;
	int r;

	if (ino == FORMAT_ROOT_INO) {
		*ret = FORMAT_ROOT_INO;
		return 1;
	}
	r = dir_map_get(idx, &map, err);
	if (!map)
		return r;
	place = map->n > 0 ? bsearch(&key, map->dirs, map->n, sizeof(key), cmp_place) : NULL;
	if (!place)
		return 0;
	*ret = place->parent;
	return 1;
}

/* A path that grows to the left in a buffer. */
struct path_end {
	char *start; /* of the buffer */
	char *at;    /* of the path so far */
	bool cut;
};

/* Put a name, and a slash unless it is the last one, before the path. */
static void prepend(struct path_end *path, const char *name, size_t len)
{
	bool slash = *path->at != '\0';
	size_t room = (size_t)(path->at - path->start);
	size_t keep = room - slash < len ? room - slash : len;

	if (room <= (size_t)slash) {
		path->cut = true;
		return;
	}
	if (slash)
		*--path->at = '/';
	path->at -= keep;
	path->cut = keep < len;
	/* Messages are one line: whatever would break it becomes a question mark. */
	for (size_t i = 0; i < keep; i++) {
		char c = name[len - keep + i];

		path->at[i] = iscntrl((unsigned char)c) ? '?' : c;
	}
}

/* Put a name of @ino before the path and set *@ret to the directory that the name is in. */
static int prepend_name(struct index *idx, uint64_t ino, struct path_end *path, uint64_t *ret)
{
	CLEANUP(query_end) struct query q = QUERY_INIT;
	const char *name = NULL;
	uint64_t parent = 0;
	size_t len = 0;
	/* Looking through one directory beats looking through all; files have no such short cut. */
	bool is_dir = index_parent(idx, ino, &parent, NULL) == 1;
	int r = query_begin(idx, is_dir ? QUERY_NAME_IN : QUERY_NAME, &q, NULL);

	if (r < 0)
		return r;
	query_bind(&q, 1, is_dir ? parent : ino);
	if (is_dir)
		query_bind(&q, 2, ino);
	r = query_step(&q, NULL);
	if (r < 1)
		return -ENOENT;
	if (!is_dir && !col_uint(q.stmt, 1, INT64_MAX, &parent))
		return -EBADMSG;
	r = row_name(&q, 0, parent, &name, &len, NULL);
	if (r < 0)
		return r;
	prepend(path, name, len);
	*ret = parent;
	return 0;
}

void index_path(struct index *idx, uint64_t ino, char *buf, size_t size)
{
	char space[4096];
	struct path_end path = { .start = space, .at = space + sizeof(space) - 1 };
	uint64_t at = ino;
	size_t len, room;

	if (size == 0)
		return;
	*path.at = '\0';
	while (at != FORMAT_ROOT_INO && !path.cut) {
		uint64_t parent = 0;

		if (prepend_name(idx, at, &path, &parent) < 0 || (at != ino && parent >= at)) {
			(void)snprintf(buf, size, "inode %llu", (unsigned long long)ino);
			return;
		}
		at = parent;
	}
	len = strlen(path.at);
	room = size - 1;
	if (len <= room && !path.cut) {
		memcpy(buf, path.at, len + 1);
	} else {
		/* The end says more than the beginning. */
		size_t keep = room > 3 ? room - 3 : 0;

		if (keep > len)
			keep = len;
		(void)snprintf(buf, size, "...%s", path.at + len - keep);
	}
}
