/* SPDX-License-Identifier: Apache-2.0 */
#include "saved.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

/* A version that older ones cannot go on with, because it leaves out what they need, raises both. */
#ifndef SAVED_VERSION
#define SAVED_VERSION 1u
#endif
#define SAVED_OLDEST 1u

#define SAVED_MAGIC UINT64_C(0x6465766173737461) /* "atssaved" */

/*
 * Requests that are remembered. Only those matter that were carried out and not yet answered,
 * one a thread; but a thread may be held up while others serve many.
 */
enum { REQUESTS = 16384 };

/* The file begins with this, on a page of its own. Host byte order: it never leaves the machine. */
struct saved_head {
	uint64_t magic;
	uint64_t at; /* atomic; where the state begins, in whole pages */
};

enum { STATE_FIRST = 4096 };

/*
 * Parts of the state: records of one size each. A later version may make records longer, at their
 * ends, and add parts; what another version has not is zero, what it has more is left out.
 */
enum part_id {
	PART_FACTS,
	PART_TALLY,
	PART_INIT,
	PART_HISTORY,
	PART_CHANGE,
	PART_REQUESTS,
	PART_INODES,
	N_PARTS
};

enum { PARTS_MAX = 16 };

struct part {
	uint64_t at; /* from the beginning of the state */
	uint64_t n;  /* records */
	uint32_t size;
	uint32_t unused;
};

/* The state begins with this. */
struct state_head {
	uint32_t version;
	uint32_t oldest; /* version that can go on with it */
	uint64_t size;
	struct part part[PARTS_MAX]; /* by enum part_id; size 0: none */
};

struct init {
	uint32_t len; /* atomic; 0 until init is whole */
	unsigned char bytes[SAVED_INIT_MAX];
};

struct history {
	uint64_t n_requests;
	int32_t highest_backing;
	uint32_t unused;
};

/* The change that is being carried out. */
struct change {
	uint32_t valid; /* atomic */
	uint32_t unused;
	uint64_t ino;
	struct history history; /* before the request, and with it */
	struct saved_request request;
	struct saved_inode now;
};

/* Tests build a version whose records are longer. */
#ifndef SAVED_MORE
#define SAVED_MORE 0
#endif

struct inode_record {
	struct saved_inode inode;
	unsigned char more[SAVED_MORE];
};

/* What this version has before the inodes. */
struct state {
	struct state_head head;
	struct saved_facts facts;
	struct saved_tally tally;
	struct init init;
	struct history history;
	struct change change;
	unsigned char more[SAVED_MORE];
	struct saved_request request[REQUESTS]; /* ring: the last ones */
};

enum { INODES_AT = (sizeof(struct state) + 4095) / 4096 * 4096 };

struct saved {
	int fd;      /* owned */
	off_t at;    /* of the state */
	size_t size; /* of the mapping */
	struct state *state;
	struct inode_record *inode; /* by number; in the mapping */
};

/* What the head of a state of this version says. */
static struct state_head head_for(uint64_t n_inodes)
{
	struct state_head head = { .version = SAVED_VERSION, .oldest = SAVED_OLDEST };
	struct part *part = head.part;

	part[PART_FACTS] =
		(struct part){ offsetof(struct state, facts), 1, sizeof(struct saved_facts), 0 };
	part[PART_TALLY] =
		(struct part){ offsetof(struct state, tally), 1, sizeof(struct saved_tally), 0 };
	part[PART_INIT] = (struct part){ offsetof(struct state, init), 1, sizeof(struct init), 0 };
	part[PART_HISTORY] =
		(struct part){ offsetof(struct state, history), 1, sizeof(struct history), 0 };
	part[PART_CHANGE] = (struct part){ offsetof(struct state, change), 1,
		                           sizeof(struct change) + SAVED_MORE, 0 };
	part[PART_REQUESTS] = (struct part){ offsetof(struct state, request), REQUESTS,
		                             sizeof(struct saved_request), 0 };
	part[PART_INODES] =
		(struct part){ INODES_AT, n_inodes + 1, sizeof(struct inode_record), 0 };
	head.size = INODES_AT + (n_inodes + 1) * sizeof(struct inode_record);
	return head;
}

/* Returns false with errno set. */
static bool map(struct saved *saved, off_t at, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, saved->fd, at);

	if (p == MAP_FAILED)
		return false;
	saved->at = at;
	saved->size = size;
	saved->state = p;
	saved->inode = (void *)((char *)p + INODES_AT);
	return true;
}

static struct saved *make(int fd)
{
	struct saved *saved = calloc(1, sizeof(*saved));

	if (saved)
		saved->fd = fd;
	return saved;
}

/* Let the file's state be the one at @at. */
static int point_to(int fd, off_t at)
{
	const struct saved_head head = { .magic = SAVED_MAGIC, .at = (uint64_t)at };

	/* One write within a page: a daemon that is killed has done it or not. */
	return io_pwrite(fd, &head, sizeof(head), 0);
}

int saved_new(const struct saved_facts *facts, uint64_t n_inodes, struct saved **ret,
              struct err *err)
{
	CLEANUP(close) int fd = memfd_create("assetfs-session", MFD_CLOEXEC);
	CLEANUP(saved_free) struct saved *saved = NULL;
	const struct state_head head = head_for(n_inodes);

	if (fd < 0 || n_inodes > SIZE_MAX / sizeof(struct inode_record) / 2 ||
	    ftruncate(fd, (off_t)(STATE_FIRST + head.size)) < 0)
		return err_set_errno(err, "no memory for the state of a session");
	saved = make(fd);
	if (!saved)
		return err_set(err, -ENOMEM, "out of memory");
	(void)TAKE_FD(fd);
	if (!map(saved, STATE_FIRST, head.size))
		return err_set_errno(err, "no memory for the state of a session");
	saved->state->head = head;
	saved->state->facts = *facts;
	if (point_to(saved->fd, STATE_FIRST) < 0)
		return err_set_errno(err, "no memory for the state of a session");
	*ret = TAKE_PTR(saved);
	return 0;
}

void saved_versions(uint32_t *ret_version, uint32_t *ret_oldest)
{
	*ret_version = SAVED_VERSION;
	*ret_oldest = SAVED_OLDEST;
}

bool saved_knows(uint32_t version, uint32_t oldest)
{
	return version >= SAVED_OLDEST && oldest <= SAVED_VERSION;
}

/* Whether the parts that a state must have lie within it. */
static bool parts_are_sound(const struct state_head *head)
{
	bool sound = true;

	for (size_t i = 0; i < PARTS_MAX; i++) {
		const struct part *part = &head->part[i];

		if (i < N_PARTS && (part->size == 0 || part->n == 0))
			sound = false;
		if (part->size > 0 &&
		    (part->at > head->size || part->n > (head->size - part->at) / part->size))
			sound = false;
	}
	return sound;
}

/* Check what the file says of itself. Returns 0 or as saved_adopt(). */
static int check(int fd, struct err *err, off_t *ret_at, struct state_head *ret)
{
	struct saved_head file;
	struct stat st;

	if (fstat(fd, &st) < 0 || io_pread(fd, &file, sizeof(file), 0) < 0 ||
	    file.magic != SAVED_MAGIC || file.at > (uint64_t)st.st_size ||
	    file.at % STATE_FIRST != 0 || io_pread(fd, ret, sizeof(*ret), file.at) < 0)
		return err_set(err, -EBADMSG, "the keeper's state of a session is none");
	if (!saved_knows(ret->version, ret->oldest))
		return err_set(err, -EPROTONOSUPPORT,
		               "the state of a session has version %u, this assetfs knows %u to %u",
		               ret->version, SAVED_OLDEST, SAVED_VERSION);
	if (ret->size > (uint64_t)st.st_size - file.at || !parts_are_sound(ret))
		return err_set(err, -EBADMSG, "the keeper's state of a session has a wrong size");
	*ret_at = (off_t)file.at;
	return 0;
}

int saved_check(int fd, struct err *err)
{
	struct state_head head;
	off_t at;

	return check(fd, err, &at, &head);
}

/* Two states in one mapping of their file. */
struct conversion {
	int fd;
	char *file;
	uint64_t from, to; /* where they begin */
};

/* Copy the bytes @start to @end of @theirs, and the rest of the records that these cut. */
static void copy_records(const struct conversion *c, const struct part *theirs,
                         const struct part *ours, uint64_t start, uint64_t end)
{
	const uint64_t n = theirs->n < ours->n ? theirs->n : ours->n;
	const uint32_t size = theirs->size < ours->size ? theirs->size : ours->size;

	for (uint64_t i = start / theirs->size; i < n && i * theirs->size < end; i++)
		memcpy(c->file + c->to + ours->at + i * ours->size,
		       c->file + c->from + theirs->at + i * theirs->size, size);
}

/* Copy what both have of a part; not where nothing was ever written, which takes no memory so. */
static int copy_part(const struct conversion *c, const struct part *theirs, const struct part *ours)
{
	const uint64_t first = c->from + theirs->at;
	const uint64_t end = first + theirs->n * theirs->size;

	for (uint64_t at = first; at < end;) {
		off_t data = lseek(c->fd, (off_t)at, SEEK_DATA);
		off_t hole = data < 0 ? -1 : lseek(c->fd, data, SEEK_HOLE);

		if ((data < 0 && errno == ENXIO) || (data >= 0 && (uint64_t)data >= end))
			return 0;
		if (hole < 0)
			return -errno;
		at = (uint64_t)hole < end ? (uint64_t)hole : end;
		copy_records(c, theirs, ours, (uint64_t)data - first, at - first);
	}
	return 0;
}

/*
 * Make a state of this version behind the one of another version at @at, and let the file be that.
 * The other one is not touched before: a daemon that is killed here has done nothing. Returns 0
 * with *@at and *@head of the new one, or -errno.
 */
static int convert(int fd, off_t *at, struct state_head *head)
{
	const struct state_head ours = head_for(head->part[PART_INODES].n - 1);
	const off_t to = (*at + (off_t)head->size + STATE_FIRST - 1) / STATE_FIRST * STATE_FIRST;
	const size_t all = (size_t)to + ours.size;
	struct conversion c = { .fd = fd, .from = (uint64_t)*at, .to = (uint64_t)to };
	int r = 0;

	/* Of an earlier attempt nothing may be left. */
	if (ftruncate(fd, to) < 0 || ftruncate(fd, (off_t)all) < 0)
		return -errno;
	c.file = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c.file == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < N_PARTS && r == 0; i++)
		r = copy_part(&c, &head->part[i], &ours.part[i]);
	memcpy(c.file + to, &ours, sizeof(ours));
	(void)munmap(c.file, all);
	if (r == 0)
		r = point_to(fd, to);
	if (r < 0)
		return r;
	(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, STATE_FIRST,
	                to - STATE_FIRST);
	*at = to;
	*head = ours;
	return 0;
}

/* Whether it lies as this version has it. */
static bool is_ours(const struct state_head *head)
{
	const struct state_head ours = head_for(head->part[PART_INODES].n - 1);

	return memcmp(head, &ours, sizeof(ours)) == 0;
}

/* Carry out the change that is written down. May be done several times. */
static void carry_out(struct saved *saved)
{
	struct state *state = saved->state;
	const struct change *change = &state->change;

	saved->inode[change->ino].inode = change->now;
	state->history.highest_backing = change->history.highest_backing;
	if (change->request.unique != 0) {
		state->request[change->history.n_requests % REQUESTS] = change->request;
		state->history.n_requests = change->history.n_requests + 1;
	}
	__atomic_store_n(&state->change.valid, 0, __ATOMIC_SEQ_CST);
}

/* Check the file, and have it of this version. Returns as saved_adopt(). */
static int prepare(int fd, off_t *ret_at, struct state_head *ret, struct err *err)
{
	int r = check(fd, err, ret_at, ret);

	if (r < 0)
		return r;
	if (ret->version != SAVED_VERSION) {
		r = convert(fd, ret_at, ret);
		if (r < 0)
			return err_set(err, r, "the state of a session: %s", strerrordesc_np(-r));
	}
	return is_ours(ret)
	               ? 0
	               : err_set(err, -EBADMSG, "the keeper's state of a session has a wrong form");
}

int saved_adopt(int fd, struct saved **ret, struct err *err)
{
	CLEANUP(saved_free) struct saved *saved = NULL;
	struct state_head head = { 0 };
	off_t at = 0;
	int r = prepare(fd, &at, &head, err);

	if (r < 0)
		return r;
	saved = make(fd);
	if (!saved)
		return err_set(err, -ENOMEM, "out of memory");
	if (!map(saved, at, head.size)) {
		saved->fd = -1; /* the caller's */
		return err_set_errno(err, "the state of a session");
	}
	if (saved->state->change.valid && saved_has(saved, saved->state->change.ino))
		carry_out(saved);
	*ret = TAKE_PTR(saved);
	return 0;
}

void saved_free(struct saved *saved)
{
	if (!saved)
		return;
	if (saved->state)
		(void)munmap(saved->state, saved->size);
	if (saved->fd >= 0)
		(void)close(saved->fd);
	free(saved);
}

int saved_fd(const struct saved *saved)
{
	return saved->fd;
}

const struct saved_facts *saved_facts(const struct saved *saved)
{
	return &saved->state->facts;
}

struct saved_tally *saved_tally(struct saved *saved)
{
	return &saved->state->tally;
}

void saved_set_init(struct saved *saved, const void *init, size_t len)
{
	if (len > SAVED_INIT_MAX)
		return;
	memcpy(saved->state->init.bytes, init, len);
	__atomic_store_n(&saved->state->init.len, (uint32_t)len, __ATOMIC_SEQ_CST);
}

const void *saved_init(const struct saved *saved, size_t *ret_len)
{
	uint32_t len = __atomic_load_n(&saved->state->init.len, __ATOMIC_SEQ_CST);

	*ret_len = len <= SAVED_INIT_MAX ? len : 0;
	return saved->state->init.bytes;
}

bool saved_has(const struct saved *saved, uint64_t ino)
{
	return ino < saved->state->head.part[PART_INODES].n;
}

void saved_change(struct saved *saved, const struct saved_request *request, uint64_t ino,
                  const struct saved_inode *now)
{
	struct change *change = &saved->state->change;

	change->request = *request;
	change->history = saved->state->history;
	if (now->backing_id > change->history.highest_backing)
		change->history.highest_backing = now->backing_id;
	change->ino = ino;
	change->now = *now;
	__atomic_store_n(&change->valid, 1, __ATOMIC_SEQ_CST);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	carry_out(saved);
}

bool saved_find(const struct saved *saved, uint64_t unique, uint32_t *ret_mode)
{
	for (size_t i = 0; unique != 0 && i < REQUESTS; i++) {
		if (saved->state->request[i].unique == unique) {
			*ret_mode = saved->state->request[i].mode;
			return true;
		}
	}
	return false;
}

int32_t saved_highest_backing(const struct saved *saved)
{
	return saved->state->history.highest_backing;
}

/* Visit the inodes whose records begin in the bytes @from to @to of the file. */
static int each_between(const struct saved *saved, off_t from, off_t to, saved_visit_fn fn,
                        void *arg)
{
	const off_t first = saved->at + INODES_AT;
	const size_t size = sizeof(struct inode_record);
	size_t i = from > first ? ((size_t)(from - first) + size - 1) / size : 0;
	int r = 0;

	for (; r == 0 && saved_has(saved, i) && first + (off_t)(i * size) < to; i++) {
		const struct saved_inode *inode = &saved->inode[i].inode;

		if (inode->backing_id != 0 || inode->n_cached != 0 || inode->n_passthrough != 0)
			r = fn(arg, i, inode);
	}
	return r;
}

int saved_each(const struct saved *saved, saved_visit_fn fn, void *arg)
{
	off_t end = saved->at + (off_t)saved->size;
	int r = 0;

	/* Most records were never written: their pages do not exist, and need not. */
	for (off_t at = saved->at + INODES_AT; r == 0 && at < end;) {
		off_t data = lseek(saved->fd, at, SEEK_DATA);
		off_t hole = data < 0 ? -1 : lseek(saved->fd, data, SEEK_HOLE);

		if (data < 0 && errno == ENXIO)
			return 0;
		if (hole < 0)
			return -errno;
		r = each_between(saved, data, hole, fn, arg);
		at = hole;
	}
	return r;
}
