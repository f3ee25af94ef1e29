/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "notes.h"

#define SECOND ((uint64_t)1000000000)

enum {
	BAR_MAX = 40,
	TEXT_WIDTH = 66, /* of what stands beside the bar */
};

uint64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

enum progress_kind progress_auto(void)
{
	/* Nothing sets the environment while assetpack runs. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0 ? PROGRESS_TTY
	                                                                  : PROGRESS_PLAIN;
}

void progress_start(struct progress *p, enum progress_kind kind, const char *done, uint64_t total)
{
	*p = (struct progress){ .kind = kind, .done = done, .total = total, .start_ns = clock_ns() };
	p->shown_ns = p->start_ns;
}

/* "12.3 MiB of 700.0 MiB packed, 350.0 MiB/s, 2 s left" */
static void describe(const struct progress *p, uint64_t done, uint64_t now, char *buf, size_t size)
{
	char have[TEXT_SIZE_MAX], total[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX];
	double seconds = (double)(now - p->start_ns) / (double)SECOND;
	double per_second = seconds > 0 ? (double)done / seconds : 0;
	double left = per_second > 0 ? (double)(p->total - done) / per_second : 0;

	(void)snprintf(buf, size, "%s of %s %s, %s/s, %.0f s left", text_size(done, have),
	               text_size(p->total, total), p->done, text_size((uint64_t)per_second, rate),
	               left);
}

/* Characters of the bar: what the terminal leaves room for. */
static int bar_width(void)
{
	struct winsize window;
	int columns = 80;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
		columns = window.ws_col;
	columns -= TEXT_WIDTH;
	return columns > BAR_MAX ? BAR_MAX : columns;
}

static void draw(unsigned percent, const char *text)
{
	int width = bar_width();
	char bar[BAR_MAX + 1];

	(void)fprintf(stderr, "\r\033[K%3u%% ", percent);
	if (width >= 10) {
		int full = (int)percent * width / 100;

		memset(bar, '#', (size_t)full);
		memset(bar + full, '.', (size_t)(width - full));
		bar[width] = '\0';
		(void)fprintf(stderr, "[%s] ", bar);
	}
	(void)fputs(text, stderr);
	(void)fflush(stderr);
}

void progress_update(struct progress *p, uint64_t done)
{
	uint64_t now;
	unsigned percent;
	char text[100];

	if (p->kind == PROGRESS_NONE)
		return;
	now = clock_ns();
	if (now - p->shown_ns < (p->kind == PROGRESS_TTY ? SECOND / 10 : 5 * SECOND))
		return;
	p->shown_ns = now;
	percent = p->total > 0 ? (unsigned)(done * 100 / p->total) : 100;
	describe(p, done, now, text, sizeof(text));
	if (p->kind == PROGRESS_TTY) {
		draw(percent, text);
		p->drawn = true;
	} else {
		note("%u%%, %s", percent, text);
	}
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fputs("\r\033[K", stderr);
	p->drawn = false;
}
