/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before: assets in a segment of shared memory, that one process writes and servers attach.
 *
 * usage: segment sysv-write KEYFILE FILE...   as a DaemonSet with hostIPC does
 *        segment sysv-read ID                 as a server with a hard-coded identifier does
 *        segment sysv-scribble ID             a server with a bug
 *        segment posix-write NAME FILE...     in /dev/shm
 *        segment posix-read NAME
 *
 * Writers put the files one after the other into the segment, print "written ID bytes=N", and
 * leave it there when they end: so do those whose place this takes. Readers print
 * "bytes=N sum=N". All stay until standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROJECT = 2015, EVERYBODY_WRITES = 0666 };

static int failed(const char *what)
{
	int e = errno;

	(void)fprintf(stderr, "segment: %s: %s\n", what, strerrordesc_np(e));
	return -e;
}

static void stay(void)
{
	char byte;

	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

/* Bytes of all files, or -errno. */
static int64_t total_size(char *const files[])
{
	int64_t total = 0;
	struct stat st;

	for (; *files; files++) {
		if (stat(*files, &st) < 0)
			return failed(*files);
		total += st.st_size;
	}
	return total;
}

/* The files, one after the other, to @to. Returns 0 or -errno. */
static int copy_files(unsigned char *to, char *const files[])
{
	for (; *files; files++) {
		int fd = open(*files, O_RDONLY | O_CLOEXEC);
		static unsigned char buffer[1 << 16];
		ssize_t n;

		if (fd < 0)
			return failed(*files);
		/* Stored as engines do that unpack into it: read(2) would get an error where a store kills. */
		while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
			memcpy(to, buffer, (size_t)n);
			to += n;
		}
		(void)close(fd);
		if (n < 0)
			return failed(*files);
	}
	return 0;
}

static void print_sum(const unsigned char *bytes, size_t size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	(void)printf("bytes=%zu sum=%llu\n", size, (unsigned long long)sum);
}

static int sysv_write(char *const args[])
{
	int64_t size = total_size(args + 1);
	key_t key = ftok(args[0], PROJECT);
	void *at;
	int id;

	if (size < 0)
		return (int)size;
	if (key == -1)
		return failed(args[0]);
	id = shmget(key, (size_t)size, IPC_CREAT | EVERYBODY_WRITES);
	if (id < 0)
		return failed("shmget");
	at = shmat(id, NULL, 0);
	if ((intptr_t)at == -1)
		return failed("shmat");
	if (copy_files(at, args + 1) < 0)
		return -EIO;
	(void)printf("written %d bytes=%lld\n", id, (long long)size);
	stay();
	return 0;
}

/* The segment and its size; NULL on failure. */
static unsigned char *sysv_attach(const char *word, size_t *size)
{
	int id = (int)strtol(word, NULL, 10);
	struct shmid_ds about;
	void *at;

	*size = 0;
	if (shmctl(id, IPC_STAT, &about) < 0) {
		(void)failed("shmctl");
		return NULL;
	}
	at = shmat(id, NULL, 0);
	if ((intptr_t)at == -1) {
		(void)failed("shmat");
		return NULL;
	}
	*size = about.shm_segsz;
	return at;
}

static int sysv_read(char *const args[])
{
	size_t size;
	const unsigned char *at = sysv_attach(args[0], &size);

	if (!at)
		return -EIO;
	print_sum(at, size);
	stay();
	return 0;
}

static int sysv_scribble(char *const args[])
{
	size_t size;
	unsigned char *at = sysv_attach(args[0], &size);

	if (!at)
		return -EIO;
	at[size / 2]++;
	return 0;
}

static int posix_write(char *const args[])
{
	int64_t size = total_size(args + 1);
	int fd = shm_open(args[0], O_RDWR | O_CREAT | O_CLOEXEC, EVERYBODY_WRITES);
	void *at;

	if (size < 0)
		return (int)size;
	if (fd < 0)
		return failed(args[0]);
	/* Succeeds whatever /dev/shm has room for. */
	if (ftruncate(fd, size) < 0)
		return failed("ftruncate");
	at = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return failed("mmap");
	if (copy_files(at, args + 1) < 0)
		return -EIO;
	(void)printf("written %s bytes=%lld\n", args[0], (long long)size);
	stay();
	return 0;
}

static int posix_read(char *const args[])
{
	int fd = shm_open(args[0], O_RDONLY | O_CLOEXEC, 0);
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st) < 0)
		return failed(args[0]);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return failed("mmap");
	print_sum(at, (size_t)st.st_size);
	stay();
	return 0;
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char *const args[]);
	} ways[] = {
		{ "sysv-write", 2, sysv_write },       { "sysv-read", 1, sysv_read },
		{ "sysv-scribble", 1, sysv_scribble }, { "posix-write", 2, posix_write },
		{ "posix-read", 1, posix_read },
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (argc >= 2 + ways[i].args && strcmp(argv[1], ways[i].name) == 0)
			return ways[i].run(argv + 2) < 0 ? 1 : 0;
	}
	(void)fputs(
		"usage: segment sysv-write KEYFILE FILE... | sysv-read ID | sysv-scribble ID |\n"
		"       posix-write NAME FILE... | posix-read NAME\n",
		stderr);
	return 2;
}
