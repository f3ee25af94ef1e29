/* SPDX-License-Identifier: Apache-2.0 */
/* --watch: what happens now, drawn again and again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "client.h"
#include "fsstat.h"
#include "fsstat_term.h"

enum {
	HISTORY = 240, /* samples that a sparkline can show */
	BAR = 20,
	TIMES_MAX = 16,
	NUMBERS_WIDTH = 48, /* before an image's name */
};

/* A line of history: one value a sample, in order; below 0: nothing was counted. */
struct history {
	double value[HISTORY];
	unsigned n;
};

struct column {
	char key;
	const char *name; /* of the number, NULL: the image's name */
	const char *label;
};

static const struct column columns[] = {
	{ 'o', "opens_total", "opens" }, { 'r', "resident_bytes", "resident" },
	{ 'b', "bytes", "size" },        { 'e', "errors_total", "errors" },
	{ 'n', NULL, "name" },
};

static const struct column *column_of(char key)
{
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		if (columns[i].key == key)
			return &columns[i];
	}
	return NULL;
}

struct watch {
	const struct fsstat_source *source;
	struct term term;
	double seconds;            /* between samples */
	const struct column *sort; /* what images are sorted by */
	json_t *now;               /* owned */
	json_t *before;            /* owned, or NULL */
	double elapsed;            /* seconds from one to the other */
	uint64_t sampled;
	char note[sizeof(((struct err *)0)->msg)]; /* what is wrong */
	struct history hits;
	struct history bytes;
};

static void watch_release(struct watch *w)
{
	json_decref(w->now);
	json_decref(w->before);
	term_close(&w->term);
}

static inline void watch_release_cleanup(struct watch *w)
{
	watch_release(w);
}

static void add(struct history *h, double value)
{
	if (h->n == HISTORY)
		memmove(h->value, h->value + 1, --h->n * sizeof(h->value[0]));
	h->value[h->n++] = value;
}

static uint64_t cache_number(const json_t *report, const char *key)
{
	return fsstat_number(json_object_get(report, "cache"), key);
}

/* What counter @key of the cache has gained since the sample before. */
static uint64_t gained(const struct watch *w, const char *key)
{
	uint64_t now = cache_number(w->now, key);
	uint64_t before = w->before ? cache_number(w->before, key) : now;

	return now > before ? now - before : 0;
}

static double rate(const struct watch *w, uint64_t n)
{
	return w->elapsed > 0 ? (double)n / w->elapsed : 0;
}

static uint64_t milliseconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A daemon that is gone may come back: what was last known stays, with a note. */
static void sample(struct watch *w)
{
	struct err err = ERR_INIT;
	uint64_t now = milliseconds();
	json_t *report = NULL;
	uint64_t opens;
	int r = fsstat_load(w->source, &report, &err);

	(void)snprintf(w->note, sizeof(w->note), "%s", r == 0 ? "" : err.msg);
	if (r < 0)
		return;
	json_decref(w->before);
	w->before = w->now;
	w->now = report;
	w->elapsed = (double)(now - w->sampled) / 1000;
	w->sampled = now;
	if (!w->before)
		return;
	opens = gained(w, "opens_total");
	add(&w->hits, opens > 0 ? (double)gained(w, "open_hits_total") / (double)opens : -1);
	add(&w->bytes, rate(w, gained(w, "bytes_decompressed_total")));
}

static double largest(const struct history *h, unsigned first)
{
	double max = 0;

	for (unsigned i = first; i < h->n; i++)
		max = h->value[i] > max ? h->value[i] : max;
	return max;
}

/* Draw the last @width values of @h, as parts of @max or, when it is 0, of the largest. */
static void draw_history(const struct watch *w, const struct history *h, unsigned width, double max,
                         FILE *out)
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char ascii[] = "_.-:=+*#";
	unsigned first = h->n > width ? h->n - width : 0;

	if (max <= 0)
		max = largest(h, first);
	for (unsigned i = first; i < h->n; i++) {
		unsigned level =
			max > 0 && h->value[i] > 0 ? (unsigned)(h->value[i] / max * 7.0 + 0.5) : 0;

		level = level > 7 ? 7 : level;
		if (h->value[i] < 0)
			(void)fputc(' ', out);
		else if (w->term.utf8)
			(void)fputs(blocks[level], out);
		else
			(void)fputc(ascii[level], out);
	}
	(void)fputc('\n', out);
}

static void draw_region(const struct watch *w, FILE *out)
{
	const json_t *region = json_object_get(w->now, "region");
	uint64_t used = fsstat_number(region, "used_bytes");
	uint64_t size = fsstat_number(region, "size_bytes");
	char text[3][TEXT_SIZE_MAX];
	char bar[BAR + 1];

	for (unsigned i = 0; i < BAR; i++)
		bar[i] = size > 0 && used > size / BAR * i ? '#' : '.';
	bar[BAR] = '\0';
	(void)fprintf(out, "region   [%s] %s of %s, huge pages %s\n", bar, text_size(used, text[0]),
	              text_size(size, text[1]),
	              text_size(fsstat_number(region, "huge_bytes"), text[2]));
}

static void draw_rates(const struct watch *w, unsigned width, FILE *out)
{
	uint64_t opens = gained(w, "opens_total");
	uint64_t hits = gained(w, "open_hits_total");
	char hit_text[TIMES_MAX] = "-";
	char bytes[TEXT_SIZE_MAX];

	if (opens > 0)
		(void)snprintf(hit_text, sizeof(hit_text), "%.1f %%",
		               100 * (double)hits / (double)opens);
	(void)fprintf(out, "opens    %10.1f /s   hits %7s   ", rate(w, opens), hit_text);
	draw_history(w, &w->hits, width, 1, out);
	(void)fprintf(out, "fill     %10s /s   chunks %5.1f   ",
	              text_size((uint64_t)rate(w, gained(w, "bytes_decompressed_total")), bytes),
	              rate(w, gained(w, "chunks_decompressed_total")));
	draw_history(w, &w->bytes, width, 0, out);
	(void)fprintf(out, "copied   %10.1f /s   again %6.1f   errors %.1f\n",
	              rate(w, gained(w, "chunks_copied_total")),
	              rate(w, gained(w, "chunks_decompressed_again_total")),
	              rate(w, gained(w, "errors_total")));
}

/* The image of the sample before that @image is, or NULL. */
static const json_t *image_before(const struct watch *w, const json_t *image)
{
	const json_t *other;
	size_t i;

	json_array_foreach(json_object_get(w->before, "images"), i, other) {
		if (strcmp(client_text(other, "digest"), client_text(image, "digest")) == 0 &&
		    strcmp(client_text(other, "image"), client_text(image, "image")) == 0)
			return other;
	}
	return NULL;
}

/* Largest number first; names in order. */
static int compare_images(const void *a, const void *b, void *arg)
{
	const json_t *x = *(json_t *const *)a;
	const json_t *y = *(json_t *const *)b;
	const struct column *column = arg;
	uint64_t m = column->name ? fsstat_number(x, column->name) : 0;
	uint64_t n = column->name ? fsstat_number(y, column->name) : 0;

	if (m != n)
		return m < n ? 1 : -1;
	return strcmp(client_text(x, "image"), client_text(y, "image"));
}

/* The name of an image in @width characters: its end is what tells it from others. */
static void draw_name(const json_t *image, size_t width, FILE *out)
{
	const char *name = client_text(image, "image");
	const char *platform = client_text(image, "platform");
	size_t len = strlen(name);
	size_t rest = strlen(platform) + strlen(" ()...");
	bool fits = len + rest <= width + strlen("...") || width < 2 * rest;

	(void)fprintf(out, "%s%s (%s)\n", fits ? "" : "...",
	              fits ? name : name + len + rest - width, platform);
}

static void draw_image(const struct watch *w, const json_t *image, size_t width, FILE *out)
{
	const json_t *before = image_before(w, image);
	uint64_t opens = fsstat_number(image, "opens_total");
	uint64_t old = before ? fsstat_number(before, "opens_total") : opens;
	char text[2][TEXT_SIZE_MAX];

	(void)fprintf(out, "%10s %10s %8llu %8.1f %6llu  ",
	              text_size(fsstat_number(image, "bytes"), text[0]),
	              text_size(fsstat_number(image, "resident_bytes"), text[1]),
	              (unsigned long long)opens, rate(w, opens > old ? opens - old : 0),
	              (unsigned long long)fsstat_number(image, "errors_total"));
	draw_name(image, width > NUMBERS_WIDTH ? width - NUMBERS_WIDTH : 0, out);
}

static void draw_images(const struct watch *w, size_t width, FILE *out)
{
	const json_t *images = json_object_get(w->now, "images");
	struct column column = *w->sort;
	size_t n = json_array_size(images);
	CLEANUP(free) json_t **sorted = calloc(n + 1, sizeof(json_t *));

	if (!sorted)
		return;
	for (size_t i = 0; i < n; i++)
		sorted[i] = json_array_get(images, i);
	qsort_r(sorted, n, sizeof(json_t *), compare_images, &column);
	(void)fprintf(out, "\n%10s %10s %8s %8s %6s  %s\n", "SIZE", "RESIDENT", "OPENS", "OPENS/S",
	              "ERRORS", "IMAGE");
	for (size_t i = 0; i < n; i++)
		draw_image(w, sorted[i], width, out);
}

static void draw_head(const struct watch *w, FILE *out)
{
	char uptime[DURATION_MAX];
	char clock_text[TIMES_MAX];
	time_t now = time(NULL);
	struct tm tm;

	(void)localtime_r(&now, &tm);
	(void)strftime(clock_text, sizeof(clock_text), "%H:%M:%S", &tm);
	(void)fprintf(out, "assetfs  %s   up %s   every %.3g s", clock_text,
	              client_duration(fsstat_number(w->now, "uptime_seconds"), uptime), w->seconds);
	if (w->term.keys)
		(void)fprintf(out, "   q: end; by %s: o r b e n", w->sort->label);
	(void)fputc('\n', out);
	if (w->note[0] != '\0')
		(void)fprintf(out, "! %s\n", w->note);
}

static int draw(const struct watch *w)
{
	CLEANUP(free) char *text = NULL;
	unsigned width;
	unsigned history;
	unsigned rows;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	term_size(&width, &rows);
	history = width > 60 ? width - 42 : 18;
	draw_head(w, out);
	if (w->now) {
		draw_rates(w, history, out);
		if (json_object_get(w->now, "images")) {
			draw_region(w, out);
			fsstat_print_sharing(w->now, out);
		}
		fsstat_print_latency(w->now, out);
		draw_images(w, width, out);
	}
	if (!w->term.full)
		(void)fputc('\n', out);
	return fclose(out) == 0 ? term_draw(&w->term, text) : -ENOMEM;
}

/* Wait until the next sample is due. Returns false to end. */
static bool wait_for_next(struct watch *w, uint64_t due)
{
	for (;;) {
		uint64_t now = milliseconds();
		char key = '\0';
		enum term_event event = term_wait(&w->term, due > now ? (int)(due - now) : 0, &key);

		if (event == TERM_END || (event == TERM_KEY && key == 'q'))
			return false;
		if (event == TERM_TIMEOUT)
			return true;
		if (event == TERM_KEY && column_of(key))
			w->sort = column_of(key);
		if (draw(w) < 0)
			return false;
	}
}

int fsstat_watch(const struct fsstat_source *source, double seconds, struct err *err)
{
	CLEANUP(watch_release)
	struct watch w = { .source = source,
		           .seconds = seconds,
		           .sort = &columns[0],
		           .term = TERM_INIT };
	int r;

	sample(&w);
	if (!w.now)
		return err_set(err, -ENOTCONN, "%s", w.note);
	r = term_open(&w.term, err);
	if (r < 0)
		return r;
	for (;;) {
		uint64_t due = milliseconds() + (uint64_t)(seconds * 1000);

		r = draw(&w);
		if (r < 0)
			return err_set(err, r, "standard output: %s", strerrordesc_np(-r));
		if (!wait_for_next(&w, due))
			return 0;
		sample(&w);
	}
}
