/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run a command and write what it took.
 *
 * usage: measure FILE COMMAND [ARGUMENT]...
 *
 * FILE gets one line: seconds, seconds of all processors (user and system), and the
 * peak of resident memory in KiB, of the command and of the children that it waited
 * for. The exit status is the command's.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	EXIT_OWN = 125, /* measure itself failed */
	EXIT_NO_COMMAND = 127,
};

static double now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static int write_line(const char *path, double wall, const struct rusage *usage)
{
	FILE *f = fopen(path, "we");
	int r;

	if (!f)
		return -errno;
	r = fprintf(f, "%.3f %.3f %ld\n", wall, seconds(usage->ru_utime) + seconds(usage->ru_stime),
	            usage->ru_maxrss);
	return fclose(f) == 0 && r > 0 ? 0 : -EIO;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	double start = now();
	int status, r;
	pid_t pid;

	if (argc < 3) {
		(void)fprintf(stderr, "usage: measure FILE COMMAND [ARGUMENT]...\n");
		return EXIT_OWN;
	}
	pid = fork();
	if (pid == 0) {
		(void)execvp(argv[2], argv + 2);
		(void)fprintf(stderr, "measure: cannot run '%s': %m\n", argv[2]);
		_exit(EXIT_NO_COMMAND);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) {
		(void)fprintf(stderr, "measure: cannot start a process: %m\n");
		return EXIT_OWN;
	}
	r = write_line(argv[1], now() - start, &usage);
	if (r < 0) {
		errno = -r;
		(void)fprintf(stderr, "measure: cannot write '%s': %m\n", argv[1]);
		return EXIT_OWN;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
