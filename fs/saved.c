/* SPDX-License-Identifier: Apache-2.0 */
#include "saved.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

#define SAVED_MAGIC UINT64_C(0x6465766173737461) /* "atssaved" */

/*
 * Requests that are remembered. Only those matter that were carried out and not yet answered,
 * one a thread; but a thread may be held up while others serve many.
 */
enum { REQUESTS = 16384 };

/* Host byte order: the file never leaves the machine. */
struct saved_file {
	uint64_t magic;
	uint32_t version;
	uint32_t header; /* bytes before the inodes */
	uint64_t n_inodes;
	struct saved_facts facts;
	struct saved_tally tally;

	uint32_t init_len; /* atomic; 0 until init is whole */
	uint32_t unused;
	unsigned char init[SAVED_INIT_MAX];

	/* The change that is being carried out. */
	struct {
		uint32_t valid; /* atomic */
		uint32_t unused;
		struct saved_request request;
		uint64_t n_requests; /* before it */
		uint64_t ino;
		struct saved_inode now;
		int32_t highest_backing; /* with it */
	} change;

	int32_t highest_backing;
	uint32_t unused2;
	uint64_t n_requests;
	struct saved_request request[REQUESTS]; /* ring: the last ones */
};

enum { HEADER = (sizeof(struct saved_file) + 4095) / 4096 * 4096 };

struct saved {
	int fd; /* owned */
	struct saved_file *file;
	struct saved_inode *inode; /* by number; in the mapping */
	size_t size;               /* of the mapping */
};

/* Returns false with errno set. */
static bool map(struct saved *saved, uint64_t n_inodes)
{
	void *p;

	saved->size = HEADER + (size_t)(n_inodes + 1) * sizeof(struct saved_inode);
	p = mmap(NULL, saved->size, PROT_READ | PROT_WRITE, MAP_SHARED, saved->fd, 0);
	if (p == MAP_FAILED)
		return false;
	saved->file = p;
	saved->inode = (void *)((char *)p + HEADER);
	return true;
}

static struct saved *make(int fd)
{
	struct saved *saved = calloc(1, sizeof(*saved));

	if (saved)
		saved->fd = fd;
	return saved;
}

int saved_new(const struct saved_facts *facts, uint64_t n_inodes, struct saved **ret,
              struct err *err)
{
	CLEANUP(close) int fd = memfd_create("assetfs-session", MFD_CLOEXEC);
	CLEANUP(saved_free) struct saved *saved = NULL;

	if (fd < 0 || n_inodes > (SIZE_MAX - HEADER) / sizeof(struct saved_inode) - 1 ||
	    ftruncate(fd, (off_t)(HEADER + (n_inodes + 1) * sizeof(struct saved_inode))) < 0)
		return err_set_errno(err, "no memory for the state of a session");
	saved = make(fd);
	if (!saved)
		return err_set(err, -ENOMEM, "out of memory");
	(void)TAKE_FD(fd);
	if (!map(saved, n_inodes))
		return err_set_errno(err, "no memory for the state of a session");
	saved->file->version = SAVED_VERSION;
	saved->file->header = HEADER;
	saved->file->n_inodes = n_inodes;
	saved->file->facts = *facts;
	saved->file->magic = SAVED_MAGIC;
	*ret = TAKE_PTR(saved);
	return 0;
}

/* Check what the file says of itself. Returns 0 or as saved_adopt(). */
static int check(int fd, struct err *err, uint64_t *ret_n_inodes)
{
	struct {
		uint64_t magic;
		uint32_t version;
		uint32_t header;
		uint64_t n_inodes;
	} head;
	struct stat st;

	static_assert(offsetof(struct saved_file, facts) == sizeof(head), "one beginning");
	if (fstat(fd, &st) < 0 || io_pread(fd, &head, sizeof(head), 0) < 0 ||
	    head.magic != SAVED_MAGIC)
		return err_set(err, -EBADMSG, "the keeper's state of a session is none");
	if (head.version != SAVED_VERSION)
		return err_set(err, -EPROTONOSUPPORT,
		               "the state of a session has version %u, this assetfs knows %u",
		               head.version, SAVED_VERSION);
	if (head.header != HEADER || st.st_size < HEADER ||
	    head.n_inodes != (uint64_t)(st.st_size - HEADER) / sizeof(struct saved_inode) - 1)
		return err_set(err, -EBADMSG, "the keeper's state of a session has a wrong size");
	*ret_n_inodes = head.n_inodes;
	return 0;
}

int saved_check(int fd, struct err *err)
{
	uint64_t n_inodes;

	return check(fd, err, &n_inodes);
}

/* Carry out the change that is written down. May be done several times. */
static void carry_out(struct saved *saved)
{
	struct saved_file *f = saved->file;

	saved->inode[f->change.ino] = f->change.now;
	f->highest_backing = f->change.highest_backing;
	if (f->change.request.unique != 0) {
		f->request[f->change.n_requests % REQUESTS] = f->change.request;
		f->n_requests = f->change.n_requests + 1;
	}
	__atomic_store_n(&f->change.valid, 0, __ATOMIC_SEQ_CST);
}

int saved_adopt(int fd, struct saved **ret, struct err *err)
{
	CLEANUP(saved_free) struct saved *saved = NULL;
	uint64_t n_inodes = 0;
	int r = check(fd, err, &n_inodes);

	if (r < 0)
		return r;
	saved = make(fd);
	if (!saved)
		return err_set(err, -ENOMEM, "out of memory");
	if (!map(saved, n_inodes)) {
		saved->fd = -1; /* the caller's */
		return err_set_errno(err, "the state of a session");
	}
	if (saved->file->change.valid && saved->file->change.ino <= n_inodes)
		carry_out(saved);
	*ret = TAKE_PTR(saved);
	return 0;
}

void saved_free(struct saved *saved)
{
	if (!saved)
		return;
	if (saved->file)
		(void)munmap(saved->file, saved->size);
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
	return &saved->file->facts;
}

struct saved_tally *saved_tally(struct saved *saved)
{
	return &saved->file->tally;
}

void saved_set_init(struct saved *saved, const void *init, size_t len)
{
	if (len > SAVED_INIT_MAX)
		return;
	memcpy(saved->file->init, init, len);
	__atomic_store_n(&saved->file->init_len, (uint32_t)len, __ATOMIC_SEQ_CST);
}

const void *saved_init(const struct saved *saved, size_t *ret_len)
{
	uint32_t len = __atomic_load_n(&saved->file->init_len, __ATOMIC_SEQ_CST);

	*ret_len = len <= SAVED_INIT_MAX ? len : 0;
	return saved->file->init;
}

bool saved_has(const struct saved *saved, uint64_t ino)
{
	return ino <= saved->file->n_inodes;
}

void saved_change(struct saved *saved, const struct saved_request *request, uint64_t ino,
                  const struct saved_inode *now)
{
	struct saved_file *f = saved->file;

	f->change.request = *request;
	f->change.n_requests = f->n_requests;
	f->change.ino = ino;
	f->change.now = *now;
	f->change.highest_backing = now->backing_id > f->highest_backing ? now->backing_id
	                                                                 : f->highest_backing;
	__atomic_store_n(&f->change.valid, 1, __ATOMIC_SEQ_CST);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	carry_out(saved);
}

bool saved_find(const struct saved *saved, uint64_t unique, uint32_t *ret_mode)
{
	for (size_t i = 0; unique != 0 && i < REQUESTS; i++) {
		if (saved->file->request[i].unique == unique) {
			*ret_mode = saved->file->request[i].mode;
			return true;
		}
	}
	return false;
}

int32_t saved_highest_backing(const struct saved *saved)
{
	return saved->file->highest_backing;
}

/* Visit the inodes whose records begin in the bytes @from to @to of the file. */
static int each_between(const struct saved *saved, off_t from, off_t to, saved_visit_fn fn,
                        void *arg)
{
	size_t size = sizeof(struct saved_inode);
	size_t i = from > HEADER ? ((size_t)(from - HEADER) + size - 1) / size : 0;
	int r = 0;

	for (; r == 0 && i <= saved->file->n_inodes && (off_t)(HEADER + i * size) < to; i++) {
		const struct saved_inode *inode = &saved->inode[i];

		if (inode->backing_id != 0 || inode->n_cached != 0 || inode->n_passthrough != 0)
			r = fn(arg, i, inode);
	}
	return r;
}

int saved_each(const struct saved *saved, saved_visit_fn fn, void *arg)
{
	off_t end = (off_t)saved->size;
	int r = 0;

	/* Most records were never written: their pages do not exist, and need not. */
	for (off_t at = HEADER; r == 0 && at < end;) {
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
