/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <errno.h>
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

int progress_parse(const char *text, enum progress_kind *ret, struct err *err)
{
	if (strcmp(text, "auto") == 0)
		*ret = progress_auto();
	else if (strcmp(text, "tty") == 0)
		*ret = PROGRESS_TTY;
	else if (strcmp(text, "plain") == 0)
		*ret = PROGRESS_PLAIN;
	else if (strcmp(text, "json") == 0)
		*ret = PROGRESS_JSON;
	else if (strcmp(text, "none") == 0)
		*ret = PROGRESS_NONE;
	else
		return err_set(err, -EINVAL, "progress '%s' is not auto, tty, plain, json or none",
		               text);
	return 0;
}

/* "packed" is what happens to bytes in the phase "pack". */
static void print_json(const struct progress *p)
{
	static const struct {
		const char *done, *phase;
	} phases[] = {
		{ "hashed", "hash" }, { "compared", "compare" }, { "packed", "pack" },
		{ "pulled", "pull" }, { "pushed", "push" },
	};
	const char *phase = p->done;

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		if (strcmp(p->done, phases[i].done) == 0)
			phase = phases[i].phase;
	}
	note_event("progress", json_pack("{s:s, s:I, s:I}", "phase", phase, "done",
	                                 (json_int_t)p->known, "total", (json_int_t)p->total));
}

void progress_phase(enum progress_kind kind, const char *phase)
{
	if (kind == PROGRESS_JSON)
		note_event("progress", json_pack("{s:s}", "phase", phase));
}

/* How long to wait until something is printed again. */
static uint64_t interval(enum progress_kind kind)
{
	switch (kind) {
	case PROGRESS_TTY:
		return SECOND / 10;
	case PROGRESS_JSON:
		return SECOND;
	case PROGRESS_PLAIN:
	case PROGRESS_NONE:
		break;
	}
	return 5 * SECOND;
}

void progress_start(struct progress *p, enum progress_kind kind, const char *done, uint64_t total)
{
	*p = (struct progress){ .kind = kind, .done = done, .total = total, .start_ns = clock_ns() };
	p->shown_ns = p->start_ns;
	if (kind == PROGRESS_JSON)
		print_json(p);
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
	p->known = done;
	if (now - p->shown_ns < interval(p->kind))
		return;
	p->shown_ns = now;
	if (p->kind == PROGRESS_JSON) {
		print_json(p);
		return;
	}
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
	if (p->kind == PROGRESS_JSON)
		print_json(p);
	if (p->drawn)
		(void)fputs("\r\033[K", stderr);
	p->drawn = false;
}
