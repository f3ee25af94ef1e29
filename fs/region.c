/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lock guards the table of objects and every object's set of ranges: both
 * are touched once a chunk or an open, for less than a microsecond. Files are
 * opened anew for each placement, which costs 2 % of decompressing a chunk and
 * keeps the number of descriptors independent of the number of objects.
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/table.h"
#include "ranges.h"

#define PAGE_BYTES ((uint64_t)4096)

struct region {
	/* constant after region_open() */
	int root; /* owned; root directory of the tmpfs */
	uint64_t size;

	pthread_mutex_t lock;
	/* under lock */
	struct table objects; /* struct object, by digest */
	uint64_t reserved;    /* sum of the objects' sizes, in whole pages */
};

struct object {
	/* constant */
	struct table_node node;
	struct region *region;
	struct digest digest;
	uint64_t size;

	/* atomic */
	uint32_t refs;
	bool complete;
	bool sized; /* the file exists and has its size */

	/* under region->lock */
	struct ranges placed; /* empty again once complete */
};

/* A tmpfs that is attached to no directory: nobody can reach it but through our descriptor. */
static int mount_tmpfs(uint64_t size, struct err *err)
{
	CLEANUP(close) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char text[32];
	int root;

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", text, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0)
		return err_set_errno(err, "no tmpfs for the region");
	/* A kernel without transparent huge pages refuses the option: pages of 4 KiB do, only slower. */
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "huge", "within_size", 0);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set_errno(err, "no tmpfs for the region");
	root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (root < 0)
		return err_set_errno(err, "the region's tmpfs could not be mounted");
	return root;
}

int region_open(uint64_t size, struct region **ret, struct err *err)
{
	CLEANUP(free) struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return err_set(err, -ENOMEM, "out of memory");
	region->root = mount_tmpfs(size, err);
	if (region->root < 0)
		return region->root;
	region->size = size;
	(void)pthread_mutex_init(&region->lock, NULL);
	*ret = TAKE_PTR(region);
	return 0;
}

static struct object *object_of(struct table_node *node)
{
	return TABLE_ENTRY(node, struct object, node);
}

void region_close(struct region *region)
{
	struct table_node *node;

	if (!region)
		return;
	while ((node = table_walk(&region->objects, NULL)) != NULL) {
		struct object *obj = object_of(node);

		table_remove(&region->objects, node);
		ranges_release(&obj->placed);
		free(obj);
	}
	table_release(&region->objects);
	(void)pthread_mutex_destroy(&region->lock);
	(void)close(region->root);
	free(region);
}

void region_usage(struct region *region, struct region_usage *ret)
{
	struct statfs st = { 0 };
	uint64_t objects = 0;

	(void)fstatfs(region->root, &st);
	(void)pthread_mutex_lock(&region->lock);
	for (struct table_node *n = NULL; (n = table_walk(&region->objects, n)) != NULL;)
		objects += object_of(n)->complete || object_of(n)->placed.n > 0;
	(void)pthread_mutex_unlock(&region->lock);
	*ret = (struct region_usage){
		.size = region->size,
		.used = (uint64_t)(st.f_blocks - st.f_bfree) * (uint64_t)st.f_bsize,
		.objects = objects,
	};
}

/* With region->lock held. */
static struct object *find_locked(const struct region *region, const struct digest *digest)
{
	struct table_node *n = table_first(&region->objects, digest_key(digest));

	for (; n; n = table_next(n)) {
		if (digest_equal(&object_of(n)->digest, digest))
			return object_ref(object_of(n));
	}
	return NULL;
}

struct object *region_find(struct region *region, const struct digest *digest)
{
	struct object *obj;

	(void)pthread_mutex_lock(&region->lock);
	obj = find_locked(region, digest);
	(void)pthread_mutex_unlock(&region->lock);
	return obj;
}

static uint64_t pages(uint64_t size)
{
	return (size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/* With region->lock held: enter @fresh, unless objects would take more than @limit then. */
static int insert_locked(struct region *region, struct object *fresh, uint64_t limit)
{
	int r;

	if (region->reserved > limit || pages(fresh->size) > limit - region->reserved)
		return -ENOSPC;
	r = table_insert(&region->objects, &fresh->node, digest_key(&fresh->digest));
	if (r < 0)
		return r;
	region->reserved += pages(fresh->size);
	return 0;
}

/* Find an object, or make it unless objects would take more than @limit bytes then. */
static int get(struct region *region, const struct digest *digest, uint64_t size, uint64_t limit,
               struct object **ret)
{
	CLEANUP(free) struct object *fresh = NULL;
	struct object *obj = region_find(region, digest);
	int r = 0;

	if (!obj) {
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		fresh->region = region;
		fresh->digest = *digest;
		fresh->size = size;
		fresh->refs = 1;
		(void)pthread_mutex_lock(&region->lock);
		obj = find_locked(region, digest);
		if (!obj) {
			r = insert_locked(region, fresh, limit);
			if (r == 0)
				obj = TAKE_PTR(fresh);
		}
		(void)pthread_mutex_unlock(&region->lock);
	}
	if (r < 0)
		return r;
	*ret = obj;
	return 0;
}

int region_get(struct region *region, const struct digest *digest, uint64_t size,
               struct object **ret)
{
	return get(region, digest, size, region->size, ret);
}

int region_get_spare(struct region *region, const struct digest *digest, uint64_t size,
                     struct object **ret)
{
	return get(region, digest, size, region->size / 2, ret);
}

struct object *object_ref(struct object *obj)
{
	(void)__atomic_fetch_add(&obj->refs, 1, __ATOMIC_RELAXED);
	return obj;
}

void object_unref(struct object *obj)
{
	if (obj)
		(void)__atomic_fetch_sub(&obj->refs, 1, __ATOMIC_RELAXED);
}

const struct digest *object_digest(const struct object *obj)
{
	return &obj->digest;
}

uint64_t object_size(const struct object *obj)
{
	return obj->size;
}

bool object_complete(const struct object *obj)
{
	return __atomic_load_n(&obj->complete, __ATOMIC_ACQUIRE);
}

bool object_covers(struct object *obj, uint64_t off, uint64_t len)
{
	bool covered;

	if (object_complete(obj))
		return true;
	(void)pthread_mutex_lock(&obj->region->lock);
	covered = obj->complete || ranges_cover(&obj->placed, off, off + len);
	(void)pthread_mutex_unlock(&obj->region->lock);
	return covered;
}

uint64_t object_placed_bytes(struct object *obj)
{
	uint64_t bytes;

	(void)pthread_mutex_lock(&obj->region->lock);
	bytes = obj->complete ? obj->size : ranges_bytes(&obj->placed);
	(void)pthread_mutex_unlock(&obj->region->lock);
	return bytes;
}

/* Two threads may size a new file at once: both set the same size, which drops nothing. */
static int open_to_fill(struct object *obj)
{
	char name[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(obj->region->root, digest_hex(&obj->digest, name),
	                O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (!__atomic_load_n(&obj->sized, __ATOMIC_ACQUIRE)) {
		if (ftruncate(fd, (off_t)obj->size) < 0)
			return -errno;
		__atomic_store_n(&obj->sized, true, __ATOMIC_RELEASE);
	}
	return TAKE_FD(fd);
}

static int mark_placed(struct object *obj, uint64_t off, uint64_t len)
{
	int r = 0;

	(void)pthread_mutex_lock(&obj->region->lock);
	if (!obj->complete) {
		r = ranges_add(&obj->placed, off, off + len);
		if (ranges_cover(&obj->placed, 0, obj->size)) {
			ranges_release(&obj->placed);
			__atomic_store_n(&obj->complete, true, __ATOMIC_RELEASE);
		}
	}
	(void)pthread_mutex_unlock(&obj->region->lock);
	return r;
}

int object_place(struct object *obj, const void *data, size_t len, uint64_t off)
{
	CLEANUP(close) int fd = open_to_fill(obj);
	int r;

	if (fd < 0)
		return fd;
	r = io_pwrite(fd, data, len, off);
	if (r < 0)
		return r;
	return mark_placed(obj, off, len);
}

int object_place_hole(struct object *obj, uint64_t off, uint64_t len)
{
	CLEANUP(close) int fd = open_to_fill(obj);

	return fd < 0 ? fd : mark_placed(obj, off, len);
}

int object_open(struct object *obj)
{
	char name[DIGEST_HEX_SIZE];
	int fd = openat(obj->region->root, digest_hex(&obj->digest, name), O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int object_read(struct object *obj, void *buf, size_t len, uint64_t off)
{
	CLEANUP(close) int fd = object_open(obj);

	return fd < 0 ? fd : io_pread(fd, buf, len, off);
}

int region_each(struct region *region, region_object_fn fn, void *arg)
{
	CLEANUP(free) struct object **list = NULL;
	size_t n = 0;

	(void)pthread_mutex_lock(&region->lock);
	list = calloc(region->objects.n + 1, sizeof(struct object *));
	for (struct table_node *node = NULL;
	     list && (node = table_walk(&region->objects, node)) != NULL;) {
		if (object_of(node)->complete || object_of(node)->placed.n > 0)
			list[n++] = object_ref(object_of(node));
	}
	(void)pthread_mutex_unlock(&region->lock);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		fn(arg, list[i]);
		object_unref(list[i]);
	}
	return 0;
}
