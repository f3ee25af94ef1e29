/* SPDX-License-Identifier: Apache-2.0 */
/* Credential helpers: programs that are told a host and answer with JSON. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/credentials.h"

enum {
	PROGRAM_MAX = 100,
	ANSWER_MAX = 64 << 10,
	PATIENCE_MS = 60 * 1000, /* without a byte; some helpers ask a server themselves */
};

/* A file with @host in it: unlike a pipe, one can write to it when nobody reads. */
static int open_question(const char *host, struct err *err)
{
	CLEANUP(close) int fd = memfd_create("question", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set_errno(err, "memory file");
	r = io_pwrite(fd, host, strlen(host), 0);
	return r < 0 ? err_set(err, r, "memory file: %s", strerrordesc_np(-r)) : TAKE_FD(fd);
}

/* Run @program with these as its standard input and output. Returns 0 or an error number. */
static int spawn_with(posix_spawn_file_actions_t *actions, const char *program, int question,
                      int answer, pid_t *ret)
{
	char name[PROGRAM_MAX], get[] = "get";
	char *argv[] = { name, get, NULL };
	int r = posix_spawn_file_actions_adddup2(actions, question, STDIN_FILENO);

	(void)snprintf(name, sizeof(name), "%s", program);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, answer, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY,
		                                     0);
	return r == 0 ? posix_spawnp(ret, program, actions, NULL, argv, environ) : r;
}

static int spawn(const char *program, int question, int answer, pid_t *ret, struct err *err)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r == 0) {
		r = spawn_with(&actions, program, question, answer, ret);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	return r == 0 ? 0
	              : err_set(err, -r, "credential helper '%s' could not be run: %s", program,
	                        strerrordesc_np(r));
}

/* Read all that comes from @fd. Returns the number of bytes, or -errno. */
static ssize_t read_answer(int fd, char *buf)
{
	size_t used = 0;

	for (;;) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		int n = poll(&ready, 1, PATIENCE_MS);
		ssize_t got;

		if (n == 0)
			return -ETIMEDOUT;
		got = n < 0 ? -1 : read(fd, buf + used, ANSWER_MAX - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		used += (size_t)got;
		if (got == 0)
			return (ssize_t)used;
		if (used == ANSWER_MAX)
			return -EMSGSIZE;
	}
}

/* Wait for @pid. Returns whether it ended well. */
static bool reap(pid_t pid)
{
	int status = 0;
	pid_t r;

	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	return r == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Make sense of how the helper ended: it wrote @n bytes to @buf, or -errno. */
static int judge(const char *program, bool well, const char *buf, ssize_t n,
                 struct credentials *ret, struct err *err)
{
	int r;

	if (n < 0)
		return err_set(err, (int)n, "credential helper '%s' gave no answer: %s", program,
		               strerrordesc_np((int)-n));
	if (!well) {
		/* The protocol has no other way to say so. */
		if (buf && memmem(buf, (size_t)n, "not found", strlen("not found")))
			return 0;
		return err_set(err, -EIO, "credential helper '%s' failed", program);
	}
	r = credentials_parse_answer(buf, (size_t)n, ret);
	if (r < 0)
		return err_set(err, r == -EBADMSG ? -EINVAL : r,
		               "credential helper '%s' gave an answer without a secret", program);
	return 1;
}

int credentials_ask_helper(const char *name, const char *host, struct credentials *ret,
                           struct err *err)
{
	CLEANUP(free) char *buf = calloc(1, ANSWER_MAX);
	CLEANUP(close) int question = -1;
	int ends[2];
	char program[PROGRAM_MAX];
	pid_t pid = -1;
	ssize_t n;
	bool well;
	int r;

	(void)snprintf(program, sizeof(program), "docker-credential-%s", name);
	question = buf ? open_question(host, err) : err_set(err, -ENOMEM, "out of memory");
	if (question < 0)
		return question;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set_errno(err, "pipe");
	r = spawn(program, question, ends[1], &pid, err);
	(void)close(ends[1]);
	if (r < 0) {
		(void)close(ends[0]);
		return r;
	}
	n = read_answer(ends[0], buf);
	(void)close(ends[0]);
	if (n < 0)
		(void)kill(pid, SIGKILL);
	well = reap(pid);
	r = judge(program, well, buf, n, ret, err);
	OPENSSL_cleanse(buf, ANSWER_MAX);
	return r;
}
