/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a program (LD_PRELOAD), this has one of its system calls go
 * wrong: the N-th of some kind, on files below some path. The program and all
 * its libraries are as they are; what a library calls within itself, as stdio
 * does, is not seen.
 *
 *   FAULT_CALLS   kinds that count, separated by commas:
 *                 write  write, pwrite, writev, pwritev
 *                 sync   fsync, fdatasync
 *                 name   creating open, mkdir, rename, link, ftruncate, fchmod
 *                 from   rename, by the old name; name has it by the new one
 *                 open   open of what exists, before it is done
 *                 read   read, pread, before it is done
 *   FAULT_PATH    absolute path; calls on it, or on what is below it, count
 *   FAULT_AT      which one; the first has number 1
 *   FAULT_REPEAT  if set, all calls from that one on
 *   FAULT_DO      name of the error with which the call fails; "short", for a
 *                 write of half the bytes; "kill"; "log", to let it happen; or
 *                 "run:" and a shell command, and then it happens; "hang:" and
 *                 a file, and it happens once that does not exist
 *   FAULT_LOG     file that gets a line for each fault
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The function that would have been called without this library. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum { PATH_SIZE = 8192 };

static atomic_uint calls_seen;

static const char *setting(const char *name)
{
	/* Nothing sets the environment any more. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *value = getenv(name);

	return value ? value : "";
}

/* The path that @name in @dirfd has, or of @dirfd itself when @name is NULL. */
static void find_path(int dirfd, const char *name, char path[static PATH_SIZE])
{
	char link[64];
	ssize_t n = 0;

	if (!name || name[0] != '/') {
		(void)snprintf(link, sizeof(link),
		               dirfd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dirfd);
		n = readlink(link, path, PATH_SIZE - 1);
	}
	if (n < 0)
		n = 0;
	(void)snprintf(path + n, PATH_SIZE - (size_t)n, "%s%s", name && name[0] != '/' ? "/" : "",
	               name ? name : "");
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return len > 0 && strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static void log_fault(const char *call, const char *path)
{
	int fd = REAL(open)(setting("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	char line[PATH_SIZE + 64];
	int n = snprintf(line, sizeof(line), "%s %s\n", call, path);

	if (fd < 0 || REAL(write)(fd, line, (size_t)n) != n)
		abort();
	(void)close(fd);
}

/* The command runs without this library. */
static void run_command(const char *command)
{
	char *const argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, strdup(command), NULL };
	char *const envp[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, NULL };
	int status;
	pid_t pid;

	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, envp) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		abort();
	free(argv[2]);
}

static void hang(const char *file)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	while (access(file, F_OK) == 0)
		(void)nanosleep(&pause, NULL);
}

static int error_of(const char *name)
{
	for (int code = 1; code < 200; code++) {
		const char *other = strerrorname_np(code);

		if (other && strcmp(other, name) == 0)
			return code;
	}
	abort();
}

/*
 * Called before @call of kind @kind, on @name in @dirfd. Returns 0 to let it
 * happen, an errno for it to fail with, or -1 for half a write.
 */
static int fault(const char *kind, const char *call, int dirfd, const char *name)
{
	const char *what = setting("FAULT_DO");
	char path[PATH_SIZE];
	unsigned long at, n;
	int saved = errno;

	if (!strstr(setting("FAULT_CALLS"), kind))
		return 0;
	find_path(dirfd, name, path);
	errno = saved;
	if (!is_below(path, setting("FAULT_PATH")))
		return 0;
	n = atomic_fetch_add(&calls_seen, 1) + 1ul;
	at = strtoul(setting("FAULT_AT"), NULL, 10);
	if (n != at && !(n > at && setting("FAULT_REPEAT")[0] != '\0'))
		return 0;
	log_fault(call, path);
	errno = saved;
	if (strcmp(what, "log") == 0)
		return 0;
	if (strcmp(what, "kill") == 0)
		(void)raise(SIGKILL);
	if (strcmp(what, "short") == 0)
		return -1;
	if (strncmp(what, "hang:", 5) == 0) {
		hang(what + 5);
		errno = saved;
		return 0;
	}
	if (strncmp(what, "run:", 4) != 0)
		return error_of(what);
	run_command(what + 4);
	errno = saved;
	return 0;
}

/* Whether the call has to fail; sets errno. */
static bool fails(const char *kind, const char *call, int dirfd, const char *name)
{
	int code = fault(kind, call, dirfd, name);

	if (code > 0)
		errno = code;
	return code > 0;
}

static bool rename_fails(int from_dir, const char *from, int to_dir, const char *to)
{
	return fails("from", "rename-from", from_dir, from) || fails("name", "rename", to_dir, to);
}

/* How many of @len bytes may be written: none when the call has to fail. */
static bool may_write(const char *call, int fd, size_t *len)
{
	int code = fault("write", call, fd, NULL);

	if (code < 0 && *len > 1)
		*len /= 2;
	if (code > 0)
		errno = code;
	return code <= 0;
}

/* The C library has names of its own. NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	return may_write("write", fd, &len) ? REAL(write)(fd, buf, len) : -1;
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return may_write("pwrite", fd, &len) ? REAL(pwrite)(fd, buf, len, off) : -1;
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
	return may_write("pwrite", fd, &len) ? REAL(pwrite64)(fd, buf, len, off) : -1;
}

/* Half of several buffers is the first of them. */
EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	size_t count = (size_t)n;

	return may_write("writev", fd, &count) ? REAL(writev)(fd, iov, (int)count) : -1;
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	size_t count = (size_t)n;

	return may_write("pwritev", fd, &count) ? REAL(pwritev)(fd, iov, (int)count, off) : -1;
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t off)
{
	size_t count = (size_t)n;

	return may_write("pwritev", fd, &count) ? REAL(pwritev64)(fd, iov, (int)count, off) : -1;
}

EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	return fails("read", "read", fd, NULL) ? -1 : REAL(read)(fd, buf, len);
}

EXPORT ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	return fails("read", "pread", fd, NULL) ? -1 : REAL(pread)(fd, buf, len, off);
}

EXPORT ssize_t pread64(int fd, void *buf, size_t len, off64_t off)
{
	return fails("read", "pread", fd, NULL) ? -1 : REAL(pread64)(fd, buf, len, off);
}

EXPORT int fsync(int fd)
{
	return fails("sync", "fsync", fd, NULL) ? -1 : REAL(fsync)(fd);
}

EXPORT int fdatasync(int fd)
{
	return fails("sync", "fdatasync", fd, NULL) ? -1 : REAL(fdatasync)(fd);
}

EXPORT int ftruncate(int fd, off_t size)
{
	return fails("name", "ftruncate", fd, NULL) ? -1 : REAL(ftruncate)(fd, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
	return fails("name", "ftruncate", fd, NULL) ? -1 : REAL(ftruncate64)(fd, size);
}

EXPORT int fchmod(int fd, mode_t mode)
{
	return fails("name", "fchmod", fd, NULL) ? -1 : REAL(fchmod)(fd, mode);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
	return fails("name", "mkdir", AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode);
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
	return fails("name", "mkdir", dirfd, path) ? -1 : REAL(mkdirat)(dirfd, path, mode);
}

EXPORT int rename(const char *from, const char *to)
{
	return rename_fails(AT_FDCWD, from, AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return rename_fails(from_dir, from, to_dir, to)
	               ? -1
	               : REAL(renameat)(from_dir, from, to_dir, to);
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return rename_fails(from_dir, from, to_dir, to)
	               ? -1
	               : REAL(renameat2)(from_dir, from, to_dir, to, flags);
}

EXPORT int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return fails("name", "link", to_dir, to) ? -1
	                                         : REAL(linkat)(from_dir, from, to_dir, to, flags);
}

/* Whether an open may happen; it has a mode when it creates. */
static bool may_open(int dirfd, const char *path, int flags)
{
	bool creates = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;

	return !fails(creates ? "name" : "open", creates ? "create" : "open", dirfd, path);
}

/* The mode, an optional argument; it is read, and ignored, also when there is none. */
#define MODE_BEHIND(last)                     \
	({                                    \
		va_list args;                 \
		mode_t mode_;                 \
                                              \
		va_start(args, last);         \
		mode_ = va_arg(args, mode_t); \
		va_end(args);                 \
		mode_;                        \
	})

EXPORT int open(const char *path, int flags, ...)
{
	return may_open(AT_FDCWD, path, flags) ? REAL(open)(path, flags, MODE_BEHIND(flags)) : -1;
}

EXPORT int open64(const char *path, int flags, ...)
{
	return may_open(AT_FDCWD, path, flags) ? REAL(open64)(path, flags, MODE_BEHIND(flags)) : -1;
}

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
	return may_open(dirfd, path, flags) ? REAL(openat)(dirfd, path, flags, MODE_BEHIND(flags))
	                                    : -1;
}

EXPORT int openat64(int dirfd, const char *path, int flags, ...)
{
	return may_open(dirfd, path, flags) ? REAL(openat64)(dirfd, path, flags, MODE_BEHIND(flags))
	                                    : -1;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
