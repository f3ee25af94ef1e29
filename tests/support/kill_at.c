/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into the node daemon (LD_PRELOAD), this kills it beside a chosen system call, and its
 * successor beside another one. The daemon is as it is.
 *
 *   KILL_PLAN  steps, separated by commas, one a daemon: WINDOW:N, the N-th call
 *              in that window
 *   KILL_LOG   file that gets a line for each kill; so many steps are done with
 *
 * Windows are "before-" and "after-" one of
 *   request   read of a request of the kernel (after- only)
 *   reply     reply to an open
 *   backing   making a backing id
 *   unback    taking one back
 *   object    making an object's file (after- only)
 *   whole     marking it as whole
 *   evict     removing it
 *   keep      giving a descriptor to the keeper
 *   adopt     taking over the region (after- only)
 */
#include <ctype.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The function that would have been called without this library. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum {
	OPEN_REPLY = 32, /* bytes: struct fuse_out_header, struct fuse_open_out */
	HEX = 64,        /* digits of an object's name */
};

static atomic_uint calls;

static const char *setting(const char *name)
{
	/* Nothing sets the environment any more. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *value = getenv(name);

	return value ? value : "";
}

/* The step of the plan that is next, with its number. False when all are done. */
static bool next_step(char step[static 64], unsigned *ret_n)
{
	int fd = open(setting("KILL_LOG"), O_RDONLY | O_CLOEXEC);
	const char *at = setting("KILL_PLAN");
	char text[1024];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

	if (fd >= 0)
		(void)close(fd);
	for (ssize_t i = 0; i < n; i++) {
		if (text[i] == '\n') {
			at += strcspn(at, ",");
			at += *at == ',';
		}
	}
	n = (ssize_t)strcspn(at, ":");
	(void)snprintf(step, 64, "%.*s", (int)n, at);
	*ret_n = at[n] == ':' ? (unsigned)strtoul(at + n + 1, NULL, 10) : 0;
	return *ret_n > 0;
}

/* Called beside each call of a window. */
static void beside(const char *window)
{
	static atomic_bool known, over;
	static char step[64];
	static unsigned n;
	static atomic_flag once = ATOMIC_FLAG_INIT;
	char line[80];
	int fd;

	if (!atomic_load(&known)) {
		if (atomic_flag_test_and_set(&once))
			return;
		atomic_store(&over, !next_step(step, &n));
		atomic_store(&known, true);
	}
	if (atomic_load(&over) || strcmp(step, window) != 0 || atomic_fetch_add(&calls, 1) + 1 != n)
		return;
	fd = open(setting("KILL_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	(void)snprintf(line, sizeof(line), "%s\n", window);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		abort();
	(void)kill(getpid(), SIGKILL);
}

static bool is_fuse(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode);
}

static bool is_object(const char *name)
{
	size_t n = 0;

	while (isxdigit((unsigned char)name[n]))
		n++;
	return n == HEX && name[n] == '\0';
}

EXPORT ssize_t read(int fd, void *buf, size_t nbytes)
{
	ssize_t n = REAL(read)(fd, buf, nbytes);

	if (n > 0 && nbytes > 4096 && is_fuse(fd))
		beside("after-request");
	return n;
}

EXPORT ssize_t writev(int fd, const struct iovec *iovec, int count)
{
	size_t len = 0;
	bool is_open;
	ssize_t n;

	for (int i = 0; i < count; i++)
		len += iovec[i].iov_len;
	is_open = len == OPEN_REPLY && is_fuse(fd);
	if (is_open)
		beside("before-reply");
	n = REAL(writev)(fd, iovec, count);
	if (is_open)
		beside("after-reply");
	return n;
}

/* What a call to /dev/fuse is for; NULL: none of the windows. */
static const char *backing_call(unsigned long request)
{
	enum { FUSE = 229, OPEN = 1, CLOSE = 2 };

	if (_IOC_TYPE(request) != FUSE)
		return NULL;
	return _IOC_NR(request) == OPEN ? "backing" : _IOC_NR(request) == CLOSE ? "unback" : NULL;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	const char *call = backing_call(request);
	char window[32];
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	(void)snprintf(window, sizeof(window), "before-%s", call ? call : "");
	if (call)
		beside(window);
	r = REAL(ioctl)(fd, request, arg);
	(void)snprintf(window, sizeof(window), "after-%s", call ? call : "");
	if (call)
		beside(window);
	return r;
}

static int open_object(__typeof__(&openat) real, int fd, const char *file, int oflag, mode_t mode)
{
	int opened = real(fd, file, oflag, mode);

	if ((oflag & O_CREAT) && is_object(file))
		beside("after-object");
	return opened;
}

EXPORT int openat(int fd, const char *file, int oflag, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, oflag);
	mode = oflag & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return open_object(REAL(openat), fd, file, oflag, mode);
}

/* As programs call it that are built for large files. */
EXPORT int openat64(int fd, const char *file, int oflag, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, oflag);
	mode = oflag & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return open_object(REAL(openat64), fd, file, oflag, mode);
}

EXPORT int fchmodat(int fd, const char *file, mode_t mode, int flag)
{
	int r;

	if (is_object(file))
		beside("before-whole");
	r = REAL(fchmodat)(fd, file, mode, flag);
	if (is_object(file))
		beside("after-whole");
	return r;
}

EXPORT int unlinkat(int fd, const char *name, int flag)
{
	int r;

	if (is_object(name))
		beside("before-evict");
	r = REAL(unlinkat)(fd, name, flag);
	if (is_object(name))
		beside("after-evict");
	return r;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	static const char store[] = "FDSTORE=1";
	bool keeps = message->msg_iovlen == 1 && message->msg_iov[0].iov_len > strlen(store) &&
	             memcmp(message->msg_iov[0].iov_base, store, strlen(store)) == 0;
	ssize_t n;

	if (keeps)
		beside("before-keep");
	n = REAL(sendmsg)(fd, message, flags);
	if (keeps)
		beside("after-keep");
	return n;
}

EXPORT int fspick(int dfd, const char *path, unsigned flags)
{
	int fd = REAL(fspick)(dfd, path, flags);

	beside("after-adopt");
	return fd;
}
