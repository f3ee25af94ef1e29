/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "fuse_wire.h"
#include "stats.h"

/* 1 MiB: the most that a READ asks for unless the administrator raises fs.fuse.max_pages_limit. */
enum { MAX_PAGES = 256 };

/*
 * Nothing is written here, and each thread of a session keeps a buffer of this size and a page for
 * what the kernel asks: the longest names and ioctls fit.
 */
enum { MAX_WRITE = 16384 };

/*
 * One level of stacking below us: a tmpfs. A higher number would forbid others,
 * such as a container's overlay, to stack on our mount.
 */
enum { STACK_DEPTH = 1 };

/* As the kernel has numbered the request that this thread has read. */
static _Thread_local uint64_t last_unique;

/* Which of fuse_io.request this thread has used last. */
static _Thread_local unsigned place;

/* In fuse_io_request.unique: somebody is about to set it. The kernel has no such number. */
#define BUSY UINT64_MAX

static bool turn(struct fuse_io_request *request, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(&request->unique, &from, to, /* weak= */ false,
	                                   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* This thread has read what it is to answer. */
static void begin_request(struct fuse_io *io, const struct wire_in_header *head)
{
	struct fuse_io_request *request = &io->request[place];

	/* There are more places than threads. */
	while (!turn(request, 0, BUSY)) {
		place = (place + 1) % FUSE_IO_REQUESTS;
		request = &io->request[place];
	}
	(void)__atomic_fetch_add(&io->under_way, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&request->node, head->nodeid, __ATOMIC_RELAXED);
	__atomic_store_n(&request->opcode, head->opcode, __ATOMIC_RELAXED);
	__atomic_store_n(&request->began, stats_clock(), __ATOMIC_RELAXED);
	__atomic_store_n(&request->unique, head->unique, __ATOMIC_RELEASE);
}

/* Take the request @unique, to answer it. Returns false when somebody has. */
static bool end_request(struct fuse_io *io, struct fuse_io_request *request, uint64_t unique)
{
	if (!turn(request, unique, BUSY))
		return false;
	(void)__atomic_fetch_sub(&io->under_way, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&request->began, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&request->unique, 0, __ATOMIC_RELEASE);
	return true;
}

/* Whether the kernel waits for an answer to it. */
static bool has_answer(uint32_t opcode)
{
	return opcode != WIRE_OP_FORGET && opcode != WIRE_OP_BATCH_FORGET &&
	       opcode != WIRE_OP_INTERRUPT;
}

/* Whether the answer to @unique, or a notice (0), may be sent: sets errno if not. */
static bool may_answer(struct fuse_io *io, uint64_t unique)
{
	if (unique == 0 || unique != last_unique || end_request(io, &io->request[place], unique))
		return true;
	errno = ENOENT;
	return false;
}

uint64_t fuse_io_oldest(const struct fuse_io *io)
{
	uint64_t now = stats_clock();
	uint64_t oldest = now;

	for (size_t i = 0; i < FUSE_IO_REQUESTS; i++) {
		uint64_t at = __atomic_load_n(&io->request[i].began, __ATOMIC_RELAXED);

		oldest = at != 0 && at < oldest ? at : oldest;
	}
	return now - oldest;
}

static const char *operation_name(uint32_t opcode)
{
	switch (opcode) {
	case WIRE_OP_LOOKUP:
		return "lookup";
	case WIRE_OP_OPEN:
		return "open";
	case WIRE_OP_READ:
		return "read";
	default:
		return "request";
	}
}

void fuse_io_expire(struct fuse_io *io, uint32_t ticks, fuse_io_expired_fn fn, void *arg)
{
	for (size_t i = 0; i < FUSE_IO_REQUESTS; i++) {
		struct fuse_io_request *request = &io->request[i];
		uint64_t unique = __atomic_load_n(&request->unique, __ATOMIC_ACQUIRE);
		struct wire_out_header head = { .len = sizeof(head), .error = -EIO };
		uint64_t node = __atomic_load_n(&request->node, __ATOMIC_RELAXED);
		uint32_t opcode = __atomic_load_n(&request->opcode, __ATOMIC_RELAXED);

		if (unique == 0 || unique == BUSY || unique != request->watched) {
			request->watched = unique;
			request->ticks = 0;
			continue;
		}
		if (++request->ticks < ticks || !end_request(io, request, unique))
			continue;
		head.unique = unique;
		(void)!write(io->dev_fd, &head, sizeof(head));
		fn(arg, operation_name(opcode), node);
	}
}

static void note_init(struct fuse_io *io, const struct wire_in_header *head, const void *buf,
                      size_t len)
{
	struct wire_init_in init;

	io->init_unique = head->unique;
	io->init_len = len < sizeof(io->init) ? len : sizeof(io->init);
	memcpy(io->init, buf, io->init_len);
	if (len < sizeof(*head) + sizeof(init))
		return;
	memcpy(&init, (const char *)buf + sizeof(*head), sizeof(init));
	io->kernel_flags2 = init.flags & WIRE_INIT_EXT ? init.flags2 : 0;
}

/*
 * Have the pages that a request lies in. The kernel could not make them once this process is
 * being killed, and would fail the request that it has taken off its queue.
 */
static void touch(void *buf, size_t len)
{
	enum { LAST = 4095 };
	volatile char *bytes = buf;

	bytes[0] = 0;
	if (len > LAST)
		bytes[LAST] = 0;
}

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
	struct fuse_io *io = userdata;
	struct wire_in_header head;
	ssize_t n;

	if (io->replay && io->init_len <= len) {
		io->replay = false;
		n = (ssize_t)io->init_len;
		memcpy(buf, io->init, io->init_len);
	} else {
		touch(buf, len);
		/* Whoever waits for an answer sends nothing. */
		if (__atomic_load_n(&io->under_way, __ATOMIC_RELAXED) == 0)
			busy_poll_wait(io->busy_poll, fd);
		n = read(fd, buf, len);
		(void)__atomic_fetch_add(io->requests, n > 0, __ATOMIC_RELAXED);
	}
	if (n < (ssize_t)sizeof(head))
		return n;
	memcpy(&head, buf, sizeof(head));
	last_unique = head.unique;
	if (has_answer(head.opcode))
		begin_request(io, &head);
	if (head.opcode == WIRE_OP_INIT)
		note_init(io, &head, buf, (size_t)n);
	return n;
}

uint64_t fuse_io_unique(bool *ret_again)
{
	*ret_again = last_unique & WIRE_UNIQUE_RESEND;
	return last_unique & ~WIRE_UNIQUE_RESEND;
}

/* libfuse would derive it from the size of writes. */
static void want_large_reads(struct wire_init_out *out)
{
	out->flags |= WIRE_INIT_MAX_PAGES;
	out->max_pages = MAX_PAGES;
}

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)

/* Id to put into the OPEN reply that this thread is sending; 0 for none. */
static _Thread_local int32_t reply_backing_id;

/* Add to the INIT reply what this libfuse cannot say. */
static void complete_init(struct fuse_io *io, struct wire_init_out *out)
{
	want_large_reads(out);
	if (!io->cached_only && (io->kernel_flags2 & WIRE_INIT2_PASSTHROUGH)) {
		out->minor = WIRE_MINOR;
		out->flags |= WIRE_INIT_EXT;
		out->flags2 |= WIRE_INIT2_PASSTHROUGH;
		out->max_stack_depth = STACK_DEPTH;
	}
	__atomic_store_n(&io->passthrough, out->max_stack_depth > 0, __ATOMIC_RELEASE);
}

/* Send what answers no INIT, with the backing id if it answers OPEN. */
static ssize_t write_other(int fd, struct iovec *iov, int count, int error)
{
	struct wire_open_out open;

	if (error == 0 && count >= 2 && reply_backing_id > 0 && iov[1].iov_len == sizeof(open)) {
		memcpy(&open, iov[1].iov_base, sizeof(open));
		open.open_flags = (open.open_flags & ~WIRE_OPEN_KEEP_CACHE) | WIRE_OPEN_PASSTHROUGH;
		open.backing_id = reply_backing_id;
		iov[1].iov_base = &open;
	}
	return writev(fd, iov, count);
}

void fuse_io_want(struct fuse_io *io, struct fuse_conn_info *conn)
{
	(void)io;
	conn->max_write = MAX_WRITE;
}

int fuse_io_reply_open(fuse_req_t req, struct fuse_file_info *fi, int backing_id)
{
	int r;

	reply_backing_id = backing_id;
	r = fuse_reply_open(req, fi);
	reply_backing_id = 0;
	return r;
}

#else

static void complete_init(struct fuse_io *io, struct wire_init_out *out)
{
	(void)io;
	want_large_reads(out);
}

static ssize_t write_other(int fd, struct iovec *iov, int count, int error)
{
	(void)error;
	return writev(fd, iov, count);
}

void fuse_io_want(struct fuse_io *io, struct fuse_conn_info *conn)
{
	conn->max_write = MAX_WRITE;
	if (io->cached_only || !(conn->capable & FUSE_CAP_PASSTHROUGH))
		return;
	conn->want |= FUSE_CAP_PASSTHROUGH;
	conn->max_backing_stack_depth = STACK_DEPTH;
	__atomic_store_n(&io->passthrough, true, __ATOMIC_RELEASE);
}

int fuse_io_reply_open(fuse_req_t req, struct fuse_file_info *fi, int backing_id)
{
	fi->backing_id = backing_id;
	if (backing_id > 0)
		fi->keep_cache = 0;
	return fuse_reply_open(req, fi);
}

#endif

/* Send an answer to INIT. One that an earlier process has given is good as well. */
static ssize_t write_init(struct fuse_io *io, int fd, struct iovec *iov, int count, int error)
{
	struct wire_init_out init;
	ssize_t n;

	if (error == 0 && count >= 2 && iov[1].iov_len >= sizeof(init)) {
		memcpy(&init, iov[1].iov_base, sizeof(init));
		complete_init(io, &init);
		iov[1].iov_base = &init;
	}
	n = writev(fd, iov, count);
	io->init_unique = 0;
	if (n >= 0 || errno != ENOENT)
		return n;
	n = 0;
	for (int i = 0; i < count; i++)
		n += (ssize_t)iov[i].iov_len;
	return n;
}

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fuse_io *io = userdata;
	struct wire_out_header head;

	memcpy(&head, iov[0].iov_base, sizeof(head));
	if (!may_answer(io, head.unique))
		return -1;
	if (io->init_unique != 0 && head.unique == io->init_unique)
		return write_init(io, fd, iov, count, head.error);
	return write_other(fd, iov, count, head.error);
}

int fuse_io_attach(struct fuse_io *io, struct fuse_session *se, int dev_fd, struct err *err)
{
	static const struct fuse_custom_io calls = { .read = read_request, .writev = write_reply };
	int r = fuse_session_custom_io(se, &calls, dev_fd);

	io->dev_fd = dev_fd;
	return r < 0 ? err_set(err, r, "libfuse refused the session: %s", strerrordesc_np(-r)) : 0;
}

int fuse_io_init(struct fuse_io *io, struct fuse_session *se,
                 void (*before)(void *arg, const void *init, size_t len), void *arg)
{
	struct fuse_buf buf = { .mem = NULL };
	int n;

	do {
		n = fuse_session_receive_buf(se, &buf);
	} while (n == -EINTR);
	if (n > 0) {
		if (before)
			before(arg, io->init, io->init_len);
		fuse_session_process_buf(se, &buf);
	}
	free(buf.mem);
	return n > 0 ? 0 : n < 0 ? n : -ENODEV;
}

void fuse_io_replay(struct fuse_io *io, const void *init, size_t len)
{
	io->init_len = len < sizeof(io->init) ? len : sizeof(io->init);
	memcpy(io->init, init, io->init_len);
	io->replay = true;
}

int fuse_io_resend(const struct fuse_io *io)
{
	const struct wire_out_header head = { .len = sizeof(head), .error = WIRE_NOTIFY_RESEND };

	return write(io->dev_fd, &head, sizeof(head)) < 0 ? -errno : 0;
}

bool fuse_io_passthrough(const struct fuse_io *io)
{
	return __atomic_load_n(&io->passthrough, __ATOMIC_ACQUIRE);
}

/* Whether the kernel says this of every file: no privilege, no such call, a stacked file system. */
static bool refuses_all(int code)
{
	return code == EPERM || code == EACCES || code == ENOTTY || code == EINVAL ||
	       code == EOPNOTSUPP || code == ELOOP;
}

int fuse_io_backing_open(struct fuse_io *io, int fd)
{
	struct wire_backing_map map = { .fd = fd };
	int id = ioctl(io->dev_fd, WIRE_BACKING_OPEN, &map);
	int code = errno;

	if (id > 0)
		return id;
	if (id == 0)
		code = EIO;
	if (refuses_all(code) && __atomic_exchange_n(&io->passthrough, false, __ATOMIC_ACQ_REL))
		log_warn("no FUSE passthrough, reads go through the daemon: %s (it needs "
		         "CAP_SYS_ADMIN and a region that is not stacked)",
		         strerrordesc_np(code));
	return -code;
}

void fuse_io_backing_close(const struct fuse_io *io, int backing_id)
{
	uint32_t id = (uint32_t)backing_id;

	(void)ioctl(io->dev_fd, WIRE_BACKING_CLOSE, &id);
}
