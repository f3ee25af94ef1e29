/* SPDX-License-Identifier: Apache-2.0 */
#include "inodes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/table.h"

struct inodes {
	struct image *img;     /* borrowed; constant */
	struct region *region; /* borrowed; constant */

	pthread_mutex_t lock;
	/* under lock */
	struct table table; /* struct inode, by ino */
	uint64_t n_open;
};

struct inode {
	/* constant */
	struct table_node node;
	struct inodes *inodes;
	struct content content;

	/* under inodes->lock */
	struct object *obj;     /* owned reference, or NULL */
	struct extent_map *map; /* owned reference, or NULL */
	uint32_t n_cached;
	uint32_t n_passthrough;
	int backing_id; /* above 0 when there is one */
	uint64_t opens; /* since the session began */
	bool filling;
};

struct inodes *inodes_new(struct image *img, struct region *region)
{
	struct inodes *inodes = calloc(1, sizeof(*inodes));

	if (!inodes)
		return NULL;
	inodes->img = img;
	inodes->region = region;
	(void)pthread_mutex_init(&inodes->lock, NULL);
	return inodes;
}

void inodes_free(struct inodes *inodes)
{
	struct table_node *n;

	if (!inodes)
		return;
	while ((n = table_walk(&inodes->table, NULL)) != NULL) {
		struct inode *inode = TABLE_ENTRY(n, struct inode, node);

		table_remove(&inodes->table, n);
		object_unref(inode->obj);
		extent_map_unref(inode->map);
		free(inode);
	}
	table_release(&inodes->table);
	(void)pthread_mutex_destroy(&inodes->lock);
	free(inodes);
}

static struct inode *find(struct inodes *inodes, uint64_t ino)
{
	struct table_node *n;

	(void)pthread_mutex_lock(&inodes->lock);
	n = table_first(&inodes->table, ino);
	(void)pthread_mutex_unlock(&inodes->lock);
	return n ? TABLE_ENTRY(n, struct inode, node) : NULL;
}

/* Enter @fresh, unless another thread has entered that inode meanwhile. */
static int insert(struct inodes *inodes, uint64_t ino, struct inode *fresh, struct inode **ret)
{
	struct table_node *n;
	int r = 0;

	(void)pthread_mutex_lock(&inodes->lock);
	n = table_first(&inodes->table, ino);
	if (!n) {
		n = &fresh->node;
		r = table_insert(&inodes->table, n, ino);
	}
	(void)pthread_mutex_unlock(&inodes->lock);
	if (r < 0)
		return r;
	*ret = TABLE_ENTRY(n, struct inode, node);
	return 0;
}

int inodes_get(struct inodes *inodes, uint64_t ino, struct inode **ret, struct err *err)
{
	CLEANUP(free) struct inode *fresh = NULL;
	struct inode *inode = find(inodes, ino);
	struct node node;
	int r;

	if (inode) {
		*ret = inode;
		return 1;
	}
	r = index_node(image_index(inodes->img), ino, &node, err);
	if (r < 0)
		return r;
	if (r == 0 || !S_ISREG(node.mode))
		return err_set(err, -ENOENT, "no such file");
	if (node.content == 0)
		return 0;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return err_set(err, -ENOMEM, "out of memory");
	fresh->inodes = inodes;
	r = index_content(image_index(inodes->img), node.content, &fresh->content, err);
	if (r < 0)
		return r;
	r = insert(inodes, ino, fresh, &inode);
	if (r < 0)
		return err_set(err, r, "out of memory");
	if (inode == fresh)
		fresh = NULL;
	*ret = inode;
	return 1;
}

int inodes_each(struct inodes *inodes, inodes_visit_fn fn, void *arg)
{
	int r = 0;

	(void)pthread_mutex_lock(&inodes->lock);
	for (struct table_node *n = NULL; r == 0 && (n = table_walk(&inodes->table, n)) != NULL;) {
		const struct inode *inode = TABLE_ENTRY(n, struct inode, node);

		if (inode->opens > 0)
			r = fn(arg, n->hash, &inode->content, inode->opens);
	}
	(void)pthread_mutex_unlock(&inodes->lock);
	return r;
}

uint64_t inodes_open_files(struct inodes *inodes)
{
	uint64_t n;

	(void)pthread_mutex_lock(&inodes->lock);
	n = inodes->n_open;
	(void)pthread_mutex_unlock(&inodes->lock);
	return n;
}

const struct content *inode_content(const struct inode *inode)
{
	return &inode->content;
}

struct object *inode_object(struct inode *inode)
{
	CLEANUP(object_unref) struct object *fresh = NULL;
	struct object *obj;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	obj = inode->obj;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	if (obj || region_get(inode->inodes->region, &inode->content.digest, inode->content.size,
	                      &fresh) < 0)
		return obj;
	(void)pthread_mutex_lock(&inode->inodes->lock);
	if (!inode->obj)
		inode->obj = TAKE_PTR(fresh);
	obj = inode->obj;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return obj;
}

int inode_extents(struct inode *inode, struct extent_map **ret, struct err *err)
{
	struct extent_map *map;
	struct extent_map *fresh;
	int r;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	map = inode->map ? extent_map_ref(inode->map) : NULL;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	if (map) {
		*ret = map;
		return 0;
	}
	r = extent_map_load(inode->inodes->img, &inode->content, &fresh, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&inode->inodes->lock);
	if (!inode->map && inode->n_cached > 0)
		inode->map = extent_map_ref(fresh);
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	*ret = fresh;
	return 0;
}

bool inode_has_backing(struct inode *inode)
{
	bool has;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	has = inode->backing_id > 0;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return has;
}

bool inode_set_backing(struct inode *inode, int id)
{
	bool first;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	first = inode->backing_id == 0;
	if (first)
		inode->backing_id = id;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return first;
}

enum open_mode inode_enter(struct inode *inode, int *ret_backing)
{
	enum open_mode mode = OPEN_PASSTHROUGH;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	if (inode->n_passthrough == 0 && (inode->n_cached > 0 || inode->backing_id == 0))
		mode = OPEN_CACHED;
	if (mode == OPEN_PASSTHROUGH)
		inode->n_passthrough++;
	else
		inode->n_cached++;
	*ret_backing = mode == OPEN_PASSTHROUGH ? inode->backing_id : 0;
	inode->inodes->n_open++;
	inode->opens++;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return mode;
}

bool inode_leave(struct inode *inode, enum open_mode mode)
{
	struct extent_map *map = NULL;
	bool last_cached = false;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	if (mode == OPEN_PASSTHROUGH) {
		inode->n_passthrough--;
	} else {
		inode->n_cached--;
		last_cached = inode->n_cached == 0 && inode->obj && object_complete(inode->obj);
		if (inode->n_cached == 0)
			map = TAKE_PTR(inode->map);
	}
	inode->inodes->n_open--;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	extent_map_unref(map);
	return last_cached;
}

bool inode_fill_begin(struct inode *inode)
{
	bool begun;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	begun = !inode->filling;
	inode->filling = true;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return begun;
}

bool inode_fill_end(struct inode *inode)
{
	bool unused;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	inode->filling = false;
	unused = inode->n_cached == 0 && inode->obj && object_complete(inode->obj);
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return unused;
}
