/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 1024, /* longer messages are cut: an error has at most 240 bytes */
	LINES_PER_SECOND = 10,
	TIME_MAX = 40,
};

static enum log_level max_level = LOG_LEVEL_INFO;

static bool show_time;

void log_set_level(enum log_level level)
{
	max_level = level;
}

static enum log_format format = LOG_FORMAT_TEXT;

void log_set_format(enum log_format wanted)
{
	format = wanted;
}

void log_show_time(void)
{
	show_time = true;
}

static const char *const level_names[] = { "err", "warn", "info", "debug" };

int log_level_parse(const char *name, enum log_level *ret)
{
	for (int i = LOG_LEVEL_ERR; i <= LOG_LEVEL_DEBUG; i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int log_format_parse(const char *name, enum log_format *ret)
{
	static const char *const names[] = { "text", "logfmt", "json" };

	for (int i = LOG_FORMAT_TEXT; i <= LOG_FORMAT_JSON; i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum log_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void write_time(char *text, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	n = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + n, size - n, ".%03ldZ", now.tv_nsec / 1000000);
}

/* syslog(3) priorities, as sd-daemon(3) wants them. */
static int priority(enum log_level level)
{
	static const int priorities[] = { 3, 4, 6, 7 };

	return priorities[level];
}

/* Whether standard error is the stream that systemd has told of: a program may be given another one. */
static bool is_journal(void)
{
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	(void)snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)st.st_dev,
	               (unsigned long long)st.st_ino);
	return strcmp(stream, own) == 0;
}

static void log_line(enum log_level level, const char *fmt, va_list ap) PRINTF_FMT(2, 0);

static void log_line(enum log_level level, const char *fmt, va_list ap)
{
	struct log_entry entry = { .level = level_names[level],
		                   .program = program_invocation_short_name };
	char msg[LINE_MAX_BYTES];
	char line[LINE_MAX_BYTES];
	char now[TIME_MAX];
	int saved = errno;
	size_t used = 0;

	if (level > max_level)
		return;
	if (is_journal())
		used = (size_t)snprintf(line, sizeof(line), "<%d>", priority(level));
	/* The journal has the time itself. */
	if (format != LOG_FORMAT_TEXT || (show_time && used == 0)) {
		write_time(now, sizeof(now));
		entry.time = now;
	}
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	entry.msg = msg;
	used += log_line_write(format, &entry, line + used, sizeof(line) - used);
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
