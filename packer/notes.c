/* SPDX-License-Identifier: Apache-2.0 */
#include "notes.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "github.h"
#include "names.h"

enum {
	WARNINGS_SHOWN = 10,
	LINE_MAX_SIZE = 1024,
	TIME_SIZE = 32,
};

static unsigned n_warnings; /* atomic */
static bool use_json;       /* constant once threads run */

void notes_use_json(void)
{
	use_json = true;
}

/* Now, as in RFC 3339, with milliseconds. */
static void now_text(char buf[static TIME_SIZE])
{
	struct timespec now;
	struct tm tm;
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	n = strftime(buf, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
	(void)snprintf(buf + n, TIME_SIZE - n, ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000);
}

DEFINE_CLEANUP(json_t *, json_decref)

void note_event(const char *event, json_t *members)
{
	CLEANUP(json_decref) json_t *owned = members;
	CLEANUP(json_decref) json_t *line = NULL;
	CLEANUP(free) char *text = NULL;
	char now[TIME_SIZE];

	if (!use_json || !members)
		return;
	now_text(now);
	line = json_pack("{s:s, s:s}", "ts", now, "event", event);
	if (line && json_object_update(line, owned) == 0)
		text = json_dumps(line, JSON_COMPACT);
	if (text)
		(void)fprintf(stderr, "%s\n", text);
}

/* Messages may quote names, and JSON is UTF-8. */
static json_t *text_json(char *text)
{
	json_t *json = json_string(text);

	for (char *p = text; !json && *p != '\0'; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	return json ? json : json_string(text);
}

/* @annotation: how GitHub calls it, or NULL. */
static void say(const char *event, const char *annotation, char *text)
{
	if (use_json) {
		note_event(event, json_pack("{s:o}", "message", text_json(text)));
		return;
	}
	(void)fprintf(stderr, "assetpack: %s\n", text);
	if (annotation)
		github_annotate(annotation, text);
}

void note(const char *fmt, ...)
{
	char line[LINE_MAX_SIZE];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	say("info", NULL, line);
}

void note_error(const char *fmt, ...)
{
	char line[LINE_MAX_SIZE];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	say("error", "error", line);
}

static void warn(const char *fmt, ...) PRINTF_FMT(1, 2);

static void warn(const char *fmt, ...)
{
	static const char prefix[] = "warning: ";
	char line[LINE_MAX_SIZE] = "warning: ";
	size_t skip = strlen(prefix);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line + skip, sizeof(line) - skip, fmt, ap);
	va_end(ap);
	if (use_json) {
		say("warning", NULL, line + skip);
		return;
	}
	say("warning", NULL, line);
	github_annotate("warning", line + skip);
}

void warn_file(const char *path, const char *what)
{
	char shown[NAME_SHOWN_MAX];

	if (__atomic_fetch_add(&n_warnings, 1, __ATOMIC_RELAXED) < WARNINGS_SHOWN)
		warn("'%s' %s", name_shown(path, shown), what);
}

void warnings_end(void)
{
	unsigned n = __atomic_load_n(&n_warnings, __ATOMIC_RELAXED);

	if (n > WARNINGS_SHOWN)
		warn("and %u more like these", n - WARNINGS_SHOWN);
}
