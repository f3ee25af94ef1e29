/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How bytes get into objects. Two images may have cut one content differently,
 * so that two flights can reach the same bytes of an object. Whoever writes
 * claims its range first, and the next waits: a chunk that is decompressed
 * where it is to lie is not verified yet, and must not be there when another
 * flight has placed that range. A thread holds one claim at most, and waits
 * for nothing while it does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "fill_internal.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

/* A range of an object that somebody writes; lies on its writer's stack. */
struct claim {
	struct claim *next;
	const struct object *obj;
	uint64_t start, end;
};

/* With fill->lock held. */
static bool is_claimed(const struct fill *fill, const struct claim *wanted)
{
	const struct claim *c = fill->claims;

	while (c && (c->obj != wanted->obj || c->start >= wanted->end || c->end <= wanted->start))
		c = c->next;
	return c != NULL;
}

static void claim_begin(struct fill *fill, struct claim *claim)
{
	(void)pthread_mutex_lock(&fill->lock);
	while (is_claimed(fill, claim))
		(void)pthread_cond_wait(&fill->unclaimed, &fill->lock);
	claim->next = fill->claims;
	fill->claims = claim;
	(void)pthread_mutex_unlock(&fill->lock);
}

static void claim_end(struct fill *fill, const struct claim *claim)
{
	struct claim **link = &fill->claims;

	(void)pthread_mutex_lock(&fill->lock);
	while (*link != claim)
		link = &(*link)->next;
	*link = claim->next;
	(void)pthread_cond_broadcast(&fill->unclaimed);
	(void)pthread_mutex_unlock(&fill->lock);
}

int place_bytes(struct fill *fill, struct object *obj, const void *data, size_t len, uint64_t off)
{
	struct claim claim = { .obj = obj, .start = off, .end = off + len };
	int r;

	claim_begin(fill, &claim);
	r = object_place(obj, data, len, off);
	claim_end(fill, &claim);
	return r;
}

static int allocate(int fd, int mode, uint64_t off, uint64_t len)
{
	int r;

	do {
		r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0 ? -errno
		                                                                          : 0;
	} while (r == -EINTR);
	return r;
}

/* Nobody has verified that a file of an earlier daemon has zeros there. */
static int clear_kept(struct object *obj, uint64_t off, uint64_t len)
{
	CLEANUP(close) int fd = object_open_to_fill(obj);

	return fd < 0 ? fd : allocate(fd, FALLOC_FL_PUNCH_HOLE, off, len);
}

int place_hole(struct fill *fill, struct object *obj, uint64_t off, uint64_t len)
{
	struct claim claim = { .obj = obj, .start = off, .end = off + len };
	int r = 0;

	claim_begin(fill, &claim);
	if (object_kept(obj))
		r = clear_kept(obj, off, len);
	if (r == 0)
		r = object_place_hole(obj, off, len);
	claim_end(fill, &claim);
	return r;
}

int place_copy(struct fill *fill, struct object *obj, const struct extent *x)
{
	struct claim claim = { .obj = obj, .start = x->off, .end = x->off + x->len };
	int r;

	if (!seen_covers(fill, &x->chunk, x->chunk_off, x->len))
		return 0;
	claim_begin(fill, &claim);
	r = seen_copy(fill, x, obj);
	if (r > 0 && object_mark_placed(obj, x->off, x->len) < 0)
		r = -ENOMEM;
	claim_end(fill, &claim);
	return r;
}

/* Whether the bytes of @x that lie in the file of @obj are those of @digest. */
static bool file_has(const struct extent *x, struct object *obj, const struct digest *digest)
{
	CLEANUP(close) int fd = object_open(obj);
	CLEANUP(free) void *bytes = NULL;
	struct digest found;
	off_t data = fd < 0 ? -1 : lseek(fd, (off_t)x->off, SEEK_DATA);

	if (data < 0 || (uint64_t)data >= x->off + x->len)
		return false;
	bytes = malloc(x->len);
	if (!bytes || io_pread(fd, bytes, x->len, x->off) < 0)
		return false;
	sha256(bytes, x->len, &found);
	return digest_equal(&found, digest);
}

bool place_kept(struct fill *fill, struct object *obj, const struct extent *x)
{
	struct claim claim = { .obj = obj, .start = x->off, .end = x->off + x->len };
	const struct digest *digest = is_whole_chunk(x)            ? &x->chunk.digest
	                              : x->len == object_size(obj) ? object_digest(obj)
	                                                           : NULL;
	bool placed;

	if (!digest || !object_kept(obj))
		return false;
	claim_begin(fill, &claim);
	placed = file_has(x, obj, digest) && object_mark_placed(obj, x->off, x->len) == 0;
	claim_end(fill, &claim);
	return placed;
}

/* By way of memory of ours, where the kernel does not copy between these files. */
static int copy_through_buffer(int from, uint64_t from_off, int to, uint64_t to_off, size_t len)
{
	CLEANUP(free) void *bytes = malloc(len);
	int r = bytes ? io_pread(from, bytes, len, from_off) : -ENOMEM;

	return r < 0 ? r : io_pwrite(to, bytes, len, to_off);
}

int copy_between(struct object *from, uint64_t from_off, struct object *to, uint64_t to_off,
                 size_t len)
{
	CLEANUP(close) int in = object_open(from);
	CLEANUP(close) int out = object_open_to_fill(to);

	if (in < 0 || out < 0)
		return in < 0 ? in : out;
	while (len > 0) {
		off_t in_off = (off_t)from_off, out_off = (off_t)to_off;
		ssize_t n = copy_file_range(in, &in_off, out, &out_off, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOSPC) {
			if (object_give_room(to, len))
				continue;
			return -ENOSPC;
		}
		if (n <= 0)
			return copy_through_buffer(in, from_off, out, to_off, len);
		from_off += (uint64_t)n;
		to_off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/*
 * Only what lies on huge pages is worth a mapping: it costs one fault and one clearing for each,
 * and the file's pages are written once. Page by page, faults cost more than a copy does.
 */
void target_open(struct target *t, struct object *obj)
{
	const uint64_t len = object_size(obj) / HUGE_PAGE * HUGE_PAGE;
	CLEANUP(close) int fd = -1;
	struct stat st;
	void *base;

	*t = (struct target){ .obj = obj, .fd = -1 };
	if (len == 0)
		return;
	fd = object_open_to_fill(obj);
	/* So does a tmpfs tell that it has them. */
	if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_blksize < HUGE_PAGE)
		return;
	base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return;
	t->fd = TAKE_FD(fd);
	t->base = base;
	t->mapped = len;
}

void target_close(struct target *t)
{
	if (t->base)
		(void)munmap(t->base, t->mapped);
	if (t->fd >= 0)
		(void)close(t->fd);
	*t = (struct target){ .obj = t->obj, .fd = -1 };
}

/* With the range of @x claimed. Returns as place_direct(). */
static int read_to_target(struct image *img, struct chunk_reader *reader, const struct target *t,
                          const struct extent *x, struct err *err)
{
	int r;

	/* Bytes that can be read already must not be seen changing, not even to the same ones. */
	if (object_touches(t->obj, x->off, x->len))
		return 0;
	/* A page without room would be a signal. */
	r = allocate(t->fd, 0, x->off, x->len);
	if (r == -ENOSPC && object_give_room(t->obj, x->len))
		r = allocate(t->fd, 0, x->off, x->len);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : err_set(err, r, "region: %s", strerrordesc_np(-r));
	r = image_read_chunk_to(img, reader, &x->chunk, t->base + x->off, err);
	if (r < 0) {
		/* Another image may say that there is a hole. */
		(void)allocate(t->fd, FALLOC_FL_PUNCH_HOLE, x->off, x->len);
		return r;
	}
	r = object_mark_placed(t->obj, x->off, x->len);
	return r < 0 ? err_set(err, r, "region: %s", strerrordesc_np(-r)) : 1;
}

int place_direct(struct fill *fill, struct image *img, struct chunk_reader *reader,
                 const struct target *t, const struct extent *x, struct err *err)
{
	struct claim claim = { .obj = t->obj, .start = x->off, .end = x->off + x->len };
	int r;

	if (!is_whole_chunk(x) || claim.end > t->mapped)
		return 0;
	claim_begin(fill, &claim);
	r = read_to_target(img, reader, t, x, err);
	claim_end(fill, &claim);
	return r;
}
