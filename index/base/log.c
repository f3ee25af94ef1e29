/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 1024, /* longer messages are cut: an error has at most 240 bytes */
	LINES_PER_SECOND = 10,
};

static enum log_level max_level = LOG_LEVEL_INFO;

static bool show_time;

void log_set_level(enum log_level level)
{
	max_level = level;
}

void log_show_time(void)
{
	show_time = true;
}

static size_t write_time(char *line, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(line + n, size - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* syslog(3) priorities, as sd-daemon(3) wants them. */
static int priority(enum log_level level)
{
	static const int priorities[] = { 3, 4, 6, 7 };

	return priorities[level];
}

static void log_line(enum log_level level, const char *fmt, va_list ap) PRINTF_FMT(2, 0);

static void log_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	size_t used = 0;
	int n;

	if (level > max_level)
		return;
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	if (getenv("JOURNAL_STREAM"))
		used = (size_t)snprintf(line, sizeof(line), "<%d>", priority(level));
	else if (show_time)
		used = write_time(line, sizeof(line));
	used += (size_t)snprintf(line + used, sizeof(line) - used,
	                         "%s: ", program_invocation_short_name);
	if (used > sizeof(line) / 2)
		used = sizeof(line) / 2;
	n = vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
	if (n > 0)
		used += (size_t)n < sizeof(line) - used - 1 ? (size_t)n : sizeof(line) - used - 2;
	line[used++] = '\n';
	(void)!write(STDERR_FILENO, line, used);
	errno = saved;
}

#define DEFINE_LOG(name, level)           \
	void name(const char *fmt, ...)   \
	{                                 \
		va_list ap;               \
		va_start(ap, fmt);        \
		log_line(level, fmt, ap); \
		va_end(ap);               \
	}

DEFINE_LOG(log_err, LOG_LEVEL_ERR)
DEFINE_LOG(log_warn, LOG_LEVEL_WARN)
DEFINE_LOG(log_info, LOG_LEVEL_INFO)
DEFINE_LOG(log_debug, LOG_LEVEL_DEBUG)

bool log_allowed(struct log_limit *limit)
{
	struct timespec now;
	uint64_t ns;
	uint64_t start = __atomic_load_n(&limit->window_ns, __ATOMIC_RELAXED);

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (ns - start >= 1000000000u &&
	    __atomic_compare_exchange_n(&limit->window_ns, &start, ns, /* weak= */ false,
	                                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		__atomic_store_n(&limit->n, 0, __ATOMIC_RELAXED);
	return __atomic_fetch_add(&limit->n, 1, __ATOMIC_RELAXED) < LINES_PER_SECOND;
}
