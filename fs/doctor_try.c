/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trials: what no file of /proc or /sys tells for sure.
 *
 * FUSE passthrough is tried with a mount that is attached nowhere and whose root is a regular
 * file. One child serves it, a child of that one reads it: the server never touches the mount,
 * and the reader has no /dev/fuse. The server ends by SIGALRM at the latest; that
 * aborts the connection, and with it whatever the reader waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "doctor.h"
#include "fuse_wire.h"

enum {
	WATCHDOG_SECONDS = 10,
	REQUEST_MAX = 64 << 10, /* more than the kernel asks a reader's buffer for */
	OP_FORGET = 2,
	OP_GETATTR = 3,
	OP_OPEN = 14,
	OP_READ = 15,
	OP_BATCH_FORGET = 42,
	ATTR_WORDS = 13, /* of 8 bytes, in the reply to GETATTR */
	HUGE_MAX = 32 << 20,
	TMPFS_SIZE = 2 * HUGE_MAX,
};

static const char scratch_bytes[] = "read by passthrough";

/* What the server tells the doctor. */
struct outcome {
	int step; /* enum doctor_step */
	int result;
};

struct server {
	int dev;     /* owned */
	int backing; /* owned; the file behind the mount's root */
	struct outcome outcome;
	bool was_read; /* a READ has come: no passthrough */
};

/* A descriptor of the root of an empty tmpfs like the region's, or -errno. */
static int open_tmpfs(void)
{
	CLEANUP(close) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char size[16];
	int root;

	(void)snprintf(size, sizeof(size), "%d", TMPFS_SIZE);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0)
		return -errno;
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "huge", "within_size", 0);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	return root < 0 ? -errno : root;
}

/* A new file without a name in the region's place. */
static int open_backing(const char *region)
{
	CLEANUP(close)
	int dir = region ? open(region, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : open_tmpfs();
	CLEANUP(close) int fd = -1;
	int r;

	if (dir < 0)
		return region ? -errno : dir;
	fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = io_pwrite(fd, scratch_bytes, sizeof(scratch_bytes), 0);
	return r < 0 ? r : TAKE_FD(fd);
}

/* A detached mount whose root is a file. Returns its descriptor or -errno. */
static int make_mount(int dev)
{
	CLEANUP(close) int fs = fsopen("fuse", FSOPEN_CLOEXEC);
	char fd_text[16];
	int mount;

	(void)snprintf(fd_text, sizeof(fd_text), "%d", dev);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", "assetfs-doctor", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "fd", fd_text, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "100444", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	return mount < 0 ? -errno : mount;
}

static void reply(const struct server *s, uint64_t unique, int error, const void *body, size_t len)
{
	union {
		struct wire_out_header head;
		uint8_t bytes[256];
	} out = { .head = { .len = (uint32_t)(sizeof(out.head) + len),
		            .error = error,
		            .unique = unique } };

	if (len > 0)
		memcpy(out.bytes + sizeof(out.head), body, len);
	/* A reader that is gone gives ENOENT; a dead connection shows at the next read. */
	(void)!write(s->dev, &out, out.head.len);
}

static void answer_init(struct server *s, const struct wire_in_header *head, const void *body)
{
	struct wire_init_in in;
	struct wire_init_out out = { .major = 7,
		                     .minor = WIRE_MINOR,
		                     .max_write = 4096,
		                     .flags = WIRE_INIT_EXT,
		                     .flags2 = WIRE_INIT2_PASSTHROUGH,
		                     .max_stack_depth = 1 };

	memcpy(&in, body, sizeof(in));
	if (!(in.flags & WIRE_INIT_EXT) || !(in.flags2 & WIRE_INIT2_PASSTHROUGH)) {
		s->outcome = (struct outcome){ .step = STEP_OFFER, .result = -EOPNOTSUPP };
		reply(s, head->unique, -EIO, NULL, 0);
		return;
	}
	reply(s, head->unique, 0, &out, sizeof(out));
}

static void answer_getattr(const struct server *s, const struct wire_in_header *head)
{
	uint64_t attr[ATTR_WORDS] = { [0] = 60 };
	uint32_t modes[2] = { S_IFREG | 0444, 1 };

	attr[2] = 1; /* ino */
	attr[3] = sizeof(scratch_bytes);
	memcpy((uint8_t *)&attr[9] + sizeof(uint32_t), modes, sizeof(modes)); /* mode, nlink */
	reply(s, head->unique, 0, attr, sizeof(attr));
}

static void answer_open(struct server *s, const struct wire_in_header *head)
{
	struct wire_backing_map map = { .fd = s->backing };
	struct wire_open_out out = { .open_flags = WIRE_OPEN_PASSTHROUGH };

	out.backing_id = ioctl(s->dev, WIRE_BACKING_OPEN, &map);
	if (out.backing_id <= 0) {
		s->outcome = (struct outcome){ .step = STEP_BACKING, .result = -errno };
		reply(s, head->unique, -EIO, NULL, 0);
		return;
	}
	reply(s, head->unique, 0, &out, sizeof(out));
}

static void answer(struct server *s, const struct wire_in_header *head, const void *body)
{
	switch (head->opcode) {
	case OP_FORGET:
	case OP_BATCH_FORGET:
		break;
	case WIRE_OP_INIT:
		answer_init(s, head, body);
		break;
	case OP_GETATTR:
		answer_getattr(s, head);
		break;
	case OP_OPEN:
		answer_open(s, head);
		break;
	default:
		s->was_read = s->was_read || head->opcode == OP_READ;
		reply(s, head->unique, -ENOSYS, NULL, 0);
	}
}

/* Answer requests until the mount is gone, which the reader's end makes it. */
static void serve(struct server *s)
{
	CLEANUP(free) uint8_t *request = calloc(1, REQUEST_MAX);
	struct wire_in_header head;

	if (!request)
		return;
	for (;;) {
		ssize_t n = read(s->dev, request, REQUEST_MAX);

		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < (ssize_t)sizeof(head))
			return;
		memcpy(&head, request, sizeof(head));
		answer(s, &head, request + sizeof(head));
	}
}

/* In the reader. Returns 0 or an errno, as its exit status. */
static int read_scratch(int mount)
{
	char path[64];
	char bytes[sizeof(scratch_bytes)] = "";
	CLEANUP(close) int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", mount);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, bytes, sizeof(bytes), 0) < 0)
		return errno;
	return memcmp(bytes, scratch_bytes, sizeof(bytes)) == 0 ? 0 : EIO;
}

/* In the server's process: make the mount, have a child read it, serve it. */
static void run_server(const char *region, struct outcome *ret)
{
	struct server s = { .dev = open("/dev/fuse", O_RDWR | O_CLOEXEC) };
	int status = 0;
	int mount;
	pid_t reader;

	*ret = (struct outcome){ .step = STEP_MOUNT, .result = s.dev < 0 ? -errno : 0 };
	if (s.dev < 0)
		return;
	s.backing = open_backing(region);
	mount = s.backing < 0 ? s.backing : make_mount(s.dev);
	ret->result = mount < 0 ? mount : 0;
	if (mount < 0)
		return;
	reader = fork();
	if (reader == 0) {
		(void)alarm(WATCHDOG_SECONDS);
		(void)close(s.dev);
		_exit(read_scratch(mount));
	}
	ret->result = reader < 0 ? -errno : 0;
	(void)close(mount); /* the reader's is the last: its end ends the connection */
	if (reader < 0)
		return;
	s.outcome = (struct outcome){ .step = STEP_READ, .result = 0 };
	serve(&s);
	(void)waitpid(reader, &status, 0);
	if (s.outcome.result == 0 && s.was_read)
		s.outcome.result = -EOPNOTSUPP;
	else if (s.outcome.result == 0 && status != 0)
		s.outcome.result = WIFEXITED(status) ? -WEXITSTATUS(status) : -ETIMEDOUT;
	*ret = s.outcome;
}

void doctor_try_passthrough(const char *region, struct doctor_facts *facts)
{
	struct outcome outcome = { .step = STEP_READ, .result = -ETIMEDOUT };
	CLEANUP(close) int from = -1;
	CLEANUP(close) int to = -1;
	int ends[2];
	pid_t server;

	facts->passthrough = DOCTOR_NOT_TRIED;
	if (!facts->sys_admin || facts->fuse_device < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return;
	from = ends[0];
	to = ends[1];
	server = fork();
	if (server < 0)
		return;
	if (server == 0) {
		(void)signal(SIGALRM, SIG_DFL);
		(void)alarm(WATCHDOG_SECONDS);
		run_server(region, &outcome);
		_exit(io_write(to, &outcome, sizeof(outcome)) < 0);
	}
	(void)close(TAKE_FD(to));
	/* The pipe ends with the server and the reader: by their watchdogs at the latest. */
	if (read(from, &outcome, sizeof(outcome)) != (ssize_t)sizeof(outcome))
		outcome = (struct outcome){ .step = STEP_READ, .result = -ETIMEDOUT };
	(void)waitpid(server, NULL, 0);
	facts->passthrough = outcome.result;
	facts->passthrough_step = (enum doctor_step)outcome.step;
}

/* Whether a page of @size bytes of @fd is mapped as one. Returns 0, -ENOTSUP or -errno. */
static int is_mapped_huge(int fd, size_t size)
{
	CLEANUP(free) char *smaps = NULL;
	uint8_t *room = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *at = room + (size - (uintptr_t)room % size) % size;
	char start[32];
	const char *entry;
	const char *mapped;
	size_t len;

	if (room == MAP_FAILED ||
	    mmap(at, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return -errno;
	(void)*(volatile const uint8_t *)at;
	(void)snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)at);
	if (io_read_file(-1, "/proc/self/smaps", (size_t)64 << 20, &smaps, &len, NULL) < 0)
		return -EIO;
	(void)munmap(room, 2 * size);
	entry = strstr(smaps, start);
	mapped = entry ? strstr(entry, "ShmemPmdMapped:") : NULL;
	if (!mapped)
		return -EIO;
	return strtoul(mapped + strlen("ShmemPmdMapped:"), NULL, 10) * 1024 >= size ? 0 : -ENOTSUP;
}

static int huge_page_size(size_t *ret)
{
	CLEANUP(free) char *text = NULL;
	size_t len;
	int r = io_read_file(-1, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", 8192, &text,
	                     &len, NULL);

	if (r < 0)
		return -EINVAL;
	*ret = strtoul(text, NULL, 10);
	/* Where they are larger than that, no object would be on one. */
	return *ret > 0 && *ret <= HUGE_MAX ? 0 : -ENOTSUP;
}

void doctor_try_huge(struct doctor_facts *facts)
{
	CLEANUP(close) int dir = -1;
	CLEANUP(close) int fd = -1;
	CLEANUP(free) void *zeros = NULL;
	size_t size = 0;
	int r = huge_page_size(&size);

	facts->huge = DOCTOR_NOT_TRIED;
	if (!facts->sys_admin)
		return;
	if (r == 0) {
		zeros = calloc(1, size);
		dir = open_tmpfs();
		r = !zeros ? -ENOMEM : dir < 0 ? dir : 0;
	}
	if (r == 0) {
		fd = openat(dir, "page", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		r = fd < 0 || ftruncate(fd, (off_t)size) < 0 ? -errno
		                                             : io_pwrite(fd, zeros, size, 0);
	}
	facts->huge = r < 0 ? r : is_mapped_huge(fd, size);
}
