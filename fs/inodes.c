/* SPDX-License-Identifier: Apache-2.0 */
#include "inodes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/pool.h"
#include "base/table.h"

/*
 * Each backing is an open file of the machine (fs.file-max), though not one of this process. So
 * many files of an image keep theirs while they are closed, those that were used last; opening
 * another one costs 3 us more.
 */
enum { BACKINGS_MAX = 16384 };

/* A ring; a link that is in none has no next. */
struct link {
	struct link *next, *prev;
};

struct inodes {
	/* constant */
	struct image *img;     /* borrowed */
	struct region *region; /* borrowed */
	backing_close_fn close_backing;
	void *close_arg;

	pthread_mutex_t lock;
	/* under lock */
	struct table table; /* struct inode, by ino */
	struct pool pool;   /* struct inode */
	uint64_t n_open;
	uint64_t n_backings; /* inodes that have one */
	struct link idle; /* those that nobody has open: first the one that was closed longest ago */
	uint64_t backings_max;
	struct saved *saved; /* borrowed; or NULL: nothing outlives this daemon */
};

struct inode {
	/* constant */
	struct table_node node;
	struct inodes *inodes;
	struct content content;

	struct object_holder holder; /* its links belong to the region */

	/* under inodes->lock; there may be as many as an image has files, so in an order without gaps */
	struct object *open_obj; /* owned reference while it is open; NULL without room */
	struct link idle;        /* in inodes->idle from the last close to the next open */
	uint32_t refs;
	uint32_t n_cached;
	uint32_t n_passthrough;
	uint32_t opens; /* since the session began; no more than this can count */
	int backing_id; /* above 0 when there is one */
	bool held;      /* the holder is one of an object */
	bool filling;
};

static struct inode *inode_of(struct table_node *node)
{
	return TABLE_ENTRY(node, struct inode, node);
}

struct inodes *inodes_new(struct image *img, struct region *region, backing_close_fn close,
                          void *arg)
{
	struct inodes *inodes = calloc(1, sizeof(*inodes));

	if (!inodes)
		return NULL;
	inodes->img = img;
	inodes->region = region;
	inodes->close_backing = close;
	inodes->close_arg = arg;
	inodes->backings_max = BACKINGS_MAX;
	inodes->pool = POOL_INIT(struct inode);
	inodes->idle.next = inodes->idle.prev = &inodes->idle;
	(void)pthread_mutex_init(&inodes->lock, NULL);
	return inodes;
}

/* With inodes->lock held. */
static void add_idle(struct inodes *inodes, struct inode *inode)
{
	struct link *last = inodes->idle.prev;

	inode->idle = (struct link){ .next = &inodes->idle, .prev = last };
	last->next = &inode->idle;
	inodes->idle.prev = &inode->idle;
}

/* Take @inode out if it is in. With inodes->lock held. */
static void remove_idle(struct inode *inode)
{
	struct link *link = &inode->idle;

	if (!link->next)
		return;
	link->next->prev = link->prev;
	link->prev->next = link->next;
	link->next = NULL;
}

void inodes_save(struct inodes *inodes, struct saved *saved)
{
	inodes->saved = saved;
}

/*
 * Let what has changed outlive the daemon, and with it that the request @unique was carried out;
 * 0: none. With inodes->lock held.
 */
static void save(const struct inode *inode, uint64_t unique, enum open_mode mode)
{
	const struct saved_request request = { .unique = unique, .mode = mode };
	const struct saved_inode now = { .backing_id = inode->backing_id,
		                         .n_cached = inode->n_cached,
		                         .n_passthrough = inode->n_passthrough };
	struct saved *saved = inode->inodes->saved;

	if (saved && saved_has(saved, inode->node.hash))
		saved_change(saved, &request, inode->node.hash, &now);
}

/* Returns the backing id of @inode, which has none from now on, or 0. With inodes->lock held. */
static int take_backing(struct inode *inode)
{
	int id = inode->backing_id;

	inode->inodes->n_backings -= id > 0;
	inode->backing_id = 0;
	save(inode, 0, OPEN_EMPTY);
	remove_idle(inode);
	return id;
}

bool inodes_carried_out(struct inodes *inodes, uint64_t unique, enum open_mode *ret_mode)
{
	uint32_t mode;
	bool found;

	(void)pthread_mutex_lock(&inodes->lock);
	found = inodes->saved && saved_find(inodes->saved, unique, &mode);
	(void)pthread_mutex_unlock(&inodes->lock);
	if (found)
		*ret_mode = (enum open_mode)mode;
	return found;
}

/* Some inode of the table as a reference; NULL when it is empty. */
static struct inode *any(struct inodes *inodes)
{
	struct table_node *n;

	(void)pthread_mutex_lock(&inodes->lock);
	n = table_walk(&inodes->table, NULL);
	if (n)
		inode_of(n)->refs++;
	(void)pthread_mutex_unlock(&inodes->lock);
	return n ? inode_of(n) : NULL;
}

/* With inodes->lock held. */
static void free_inode(struct inode *inode)
{
	remove_idle(inode);
	table_remove(&inode->inodes->table, &inode->node);
	object_unref(inode->open_obj);
	pool_put(&inode->inodes->pool, inode);
}

void inodes_free(struct inodes *inodes)
{
	struct inode *inode;

	if (!inodes)
		return;
	while ((inode = any(inodes)) != NULL) {
		object_unhold(inodes->region, &inode->holder);
		(void)pthread_mutex_lock(&inodes->lock);
		free_inode(inode);
		(void)pthread_mutex_unlock(&inodes->lock);
	}
	/* The last one may have been freed by a let_go() that is not at its end. */
	region_settle(inodes->region);
	table_release(&inodes->table);
	pool_release(&inodes->pool);
	(void)pthread_mutex_destroy(&inodes->lock);
	free(inodes);
}

/* Whether nobody needs the inode. With inodes->lock held. */
static bool is_unused(const struct inode *inode)
{
	return inode->refs == 0 && inode->n_cached + inode->n_passthrough == 0 && !inode->held;
}

/* The region needs the object's room. */
static void let_go(struct object_holder *holder)
{
	struct inode *inode = TABLE_ENTRY(holder, struct inode, holder);
	struct inodes *inodes = inode->inodes;
	int id;

	(void)pthread_mutex_lock(&inodes->lock);
	id = take_backing(inode);
	inode->held = false;
	object_let_go(holder);
	if (is_unused(inode))
		free_inode(inode);
	(void)pthread_mutex_unlock(&inodes->lock);
	if (id > 0)
		inodes->close_backing(inodes->close_arg, id);
}

static struct inode *find(struct inodes *inodes, uint64_t ino)
{
	struct table_node *n;

	(void)pthread_mutex_lock(&inodes->lock);
	n = table_first(&inodes->table, ino);
	if (n)
		inode_of(n)->refs++;
	(void)pthread_mutex_unlock(&inodes->lock);
	return n ? inode_of(n) : NULL;
}

/* Make inode @ino, whose content is @content. With inodes->lock held. Returns NULL without memory. */
static struct inode *make(struct inodes *inodes, uint64_t ino, const struct content *content)
{
	struct inode *inode = pool_get(&inodes->pool);

	if (!inode || table_insert(&inodes->table, &inode->node, ino) < 0) {
		pool_put(&inodes->pool, inode);
		return NULL;
	}
	inode->inodes = inodes;
	inode->content = *content;
	inode->holder.let_go = let_go;
	return inode;
}

/* Enter inode @ino, unless another thread has entered it meanwhile. Returns NULL without memory. */
static struct inode *insert(struct inodes *inodes, uint64_t ino, const struct content *content)
{
	struct table_node *n;
	struct inode *inode;

	(void)pthread_mutex_lock(&inodes->lock);
	n = table_first(&inodes->table, ino);
	inode = n ? inode_of(n) : make(inodes, ino, content);
	if (inode)
		inode->refs++;
	(void)pthread_mutex_unlock(&inodes->lock);
	return inode;
}

int inodes_get(struct inodes *inodes, uint64_t ino, struct inode **ret, struct err *err)
{
	struct inode *inode = find(inodes, ino);
	struct content content;
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
	r = index_content(image_index(inodes->img), node.content, &content, err);
	if (r < 0)
		return r;
	inode = insert(inodes, ino, &content);
	if (!inode)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = inode;
	return 1;
}

struct inode *inode_ref(struct inode *inode)
{
	(void)pthread_mutex_lock(&inode->inodes->lock);
	inode->refs++;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return inode;
}

void inode_put(struct inode *inode)
{
	struct inodes *inodes;

	if (!inode)
		return;
	inodes = inode->inodes;
	(void)pthread_mutex_lock(&inodes->lock);
	inode->refs--;
	if (is_unused(inode))
		free_inode(inode);
	(void)pthread_mutex_unlock(&inodes->lock);
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
	struct inodes *inodes = inode->inodes;
	struct object *obj = object_of_holder(inodes->region, &inode->holder);

	if (obj ||
	    region_get(inodes->region, &inode->content.digest, inode->content.size, &obj) < 0)
		return obj;
	(void)pthread_mutex_lock(&inodes->lock);
	if (!inode->held)
		object_hold(obj, &inode->holder);
	inode->held = true;
	(void)pthread_mutex_unlock(&inodes->lock);
	return obj;
}

int inode_backing(struct inode *inode)
{
	int id;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	id = inode->backing_id;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return id;
}

bool inode_open_cached(struct inode *inode)
{
	bool is;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	is = inode->n_cached > 0;
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return is;
}

bool inode_set_backing(struct inode *inode, int id)
{
	bool first;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	first = inode->backing_id == 0;
	if (first) {
		inode->backing_id = id;
		inode->inodes->n_backings++;
		save(inode, 0, OPEN_EMPTY);
	}
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return first;
}

int inodes_take_surplus_backing(struct inodes *inodes)
{
	struct link *first;
	int id = 0;

	(void)pthread_mutex_lock(&inodes->lock);
	first = inodes->idle.next;
	if (inodes->n_backings > inodes->backings_max && first != &inodes->idle)
		id = take_backing(TABLE_ENTRY(first, struct inode, idle));
	(void)pthread_mutex_unlock(&inodes->lock);
	return id;
}

void inodes_limit_backings(struct inodes *inodes, uint64_t n)
{
	(void)pthread_mutex_lock(&inodes->lock);
	inodes->backings_max = n;
	(void)pthread_mutex_unlock(&inodes->lock);
}

enum open_mode inode_enter(struct inode *inode, struct object *obj, bool seen, uint64_t unique,
                           int *ret_backing)
{
	const struct saved *saved = inode->inodes->saved;
	enum open_mode mode = OPEN_PASSTHROUGH;

	/* Another daemon, that would not know of it, must not come to another mode. */
	if (saved && !saved_has(saved, inode->node.hash))
		seen = true;
	(void)pthread_mutex_lock(&inode->inodes->lock);
	/* Without a reference to the object, its room could be taken, and the backing id with it. */
	if (inode->n_passthrough == 0 &&
	    (seen || inode->n_cached > 0 || inode->backing_id == 0 || !obj))
		mode = OPEN_CACHED;
	if (mode == OPEN_PASSTHROUGH)
		inode->n_passthrough++;
	else
		inode->n_cached++;
	remove_idle(inode);
	if (!inode->open_obj && obj)
		inode->open_obj = object_ref(obj);
	*ret_backing = mode == OPEN_PASSTHROUGH ? inode->backing_id : 0;
	inode->inodes->n_open++;
	inode->opens += inode->opens < UINT32_MAX;
	save(inode, unique, mode);
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return mode;
}

bool inode_leave(struct inode *inode, enum open_mode mode, uint64_t unique)
{
	struct inodes *inodes = inode->inodes;
	struct object *obj = NULL;
	bool last_cached = false;

	(void)pthread_mutex_lock(&inodes->lock);
	if (mode == OPEN_PASSTHROUGH) {
		inode->n_passthrough--;
	} else {
		inode->n_cached--;
		last_cached = inode->n_cached == 0 && inode->open_obj &&
		              object_complete(inode->open_obj);
	}
	if (inode->n_cached + inode->n_passthrough == 0) {
		obj = TAKE_PTR(inode->open_obj);
		if (inode->backing_id > 0)
			add_idle(inodes, inode);
	}
	inodes->n_open--;
	save(inode, unique, mode);
	(void)pthread_mutex_unlock(&inodes->lock);
	object_unref(obj);
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

bool inode_fill_end(struct inode *inode, const struct object *obj)
{
	bool unused;

	(void)pthread_mutex_lock(&inode->inodes->lock);
	inode->filling = false;
	unused = inode->n_cached == 0 && obj && object_complete(obj);
	(void)pthread_mutex_unlock(&inode->inodes->lock);
	return unused;
}

/* A backing id that is in use, and those that an earlier daemon opened and did not get to note. */
enum { UNNOTED_MAX = 64, LOOKED_FOR = 65536 };

struct restoring {
	struct inodes *inodes;
	struct err *err;
	bool *known; /* owned; by backing id, from first on */
	int32_t first, end;
};

static int restore_inode(void *arg, uint64_t ino, const struct saved_inode *was)
{
	struct restoring *restoring = arg;
	struct inodes *inodes = restoring->inodes;
	CLEANUP(inode_put) struct inode *inode = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	int r = inodes_get(inodes, ino, &inode, restoring->err);

	if (r < 0 || !inode)
		return r;
	/* A complete object is there still; for what was incomplete there is a new one. */
	obj = inode_object(inode);
	(void)pthread_mutex_lock(&inodes->lock);
	inode->n_cached = was->n_cached;
	inode->n_passthrough = was->n_passthrough;
	inode->backing_id = was->backing_id;
	if (was->n_cached + was->n_passthrough > 0 && obj)
		inode->open_obj = object_ref(obj);
	inodes->n_open += was->n_cached + was->n_passthrough;
	inodes->n_backings += was->backing_id > 0;
	if (was->backing_id > 0 && was->n_cached + was->n_passthrough == 0)
		add_idle(inodes, inode);
	(void)pthread_mutex_unlock(&inodes->lock);
	if (was->backing_id >= restoring->first && was->backing_id < restoring->end)
		restoring->known[was->backing_id - restoring->first] = true;
	return 0;
}

int inodes_restore(struct inodes *inodes, struct err *err)
{
	struct restoring restoring = { .inodes = inodes, .err = err };
	int32_t highest = saved_highest_backing(inodes->saved);
	int r;

	restoring.end = highest < INT32_MAX - UNNOTED_MAX ? highest + UNNOTED_MAX : INT32_MAX;
	restoring.first = restoring.end > LOOKED_FOR ? restoring.end - LOOKED_FOR : 1;
	restoring.known = calloc((size_t)(restoring.end - restoring.first), sizeof(bool));
	if (!restoring.known)
		return err_set(err, -ENOMEM, "out of memory");
	r = saved_each(inodes->saved, restore_inode, &restoring);
	for (int32_t id = restoring.first; r == 0 && id < restoring.end; id++) {
		if (!restoring.known[id - restoring.first])
			inodes->close_backing(inodes->close_arg, id);
	}
	free(restoring.known);
	return r;
}

int inodes_each_cached(struct inodes *inodes, inodes_open_fn fn, void *arg)
{
	CLEANUP(free) uint64_t *list = NULL;
	size_t n = 0;

	(void)pthread_mutex_lock(&inodes->lock);
	list = calloc(inodes->table.n + 1, sizeof(*list));
	for (struct table_node *node = NULL;
	     list && (node = table_walk(&inodes->table, node)) != NULL;) {
		if (inode_of(node)->n_cached > 0)
			list[n++] = node->hash;
	}
	(void)pthread_mutex_unlock(&inodes->lock);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		fn(arg, list[i]);
	return 0;
}
