/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_line.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ESCAPED_MAX = 8 }; /* bytes of an escaped character, with NUL */

/* Bytes that go on with a character begun by @c, or -1 when @c begins none. */
static int more_bytes(uint8_t c)
{
	if (c < 0x80)
		return 0;
	if (c >= 0xc2 && c <= 0xdf)
		return 1;
	if (c >= 0xe0 && c <= 0xef)
		return 2;
	return c >= 0xf0 && c <= 0xf4 ? 3 : -1;
}

/* Length of the character of UTF-8 at @s, or 0 when it is none (surrogates and long forms are none). */
static size_t character(const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	int more = more_bytes(p[0]);

	if (more < 0 || (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return (size_t)more + 1;
}

/* Put the character at *@s, as @format wants it, into @out, and step over it. Returns its length. */
static size_t escape(enum log_format format, const char **s, char out[static ESCAPED_MAX])
{
	uint8_t c = (uint8_t) * *s;
	size_t len = character(*s);

	if (len > 1 || (len == 0 && format != LOG_FORMAT_JSON)) {
		len = len > 1 ? len : 1;
		memcpy(out, *s, len);
		*s += len;
		return len;
	}
	(*s)++;
	if (len == 0 || ((c < ' ' || c == 0x7f) && format == LOG_FORMAT_TEXT))
		out[0] = '?';
	else if (c < ' ' || c == 0x7f)
		return (size_t)snprintf(out, ESCAPED_MAX, "\\u%04x", (unsigned)c);
	else if ((c == '"' || c == '\\') && format != LOG_FORMAT_TEXT)
		return (size_t)snprintf(out, ESCAPED_MAX, "\\%c", c);
	else
		out[0] = (char)c;
	return 1;
}

static size_t write_head(enum log_format format, const struct log_entry *e, char *line, size_t size)
{
	static const char *const timed[] = {
		[LOG_FORMAT_TEXT] = "%s %.0s%.64s: ",
		[LOG_FORMAT_LOGFMT] = "time=%s level=%s program=%.64s msg=\"",
		[LOG_FORMAT_JSON] =
			"{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%.64s\",\"msg\":\"",
	};
	static const char *const untimed[] = {
		[LOG_FORMAT_TEXT] = "%.0s%.64s: ",
		[LOG_FORMAT_LOGFMT] = "level=%s program=%.64s msg=\"",
		[LOG_FORMAT_JSON] = "{\"level\":\"%s\",\"program\":\"%.64s\",\"msg\":\"",
	};
	int n;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (e->time)
		n = snprintf(line, size, timed[format], e->time, e->level, e->program);
	else
		n = snprintf(line, size, untimed[format], e->level, e->program);
#pragma GCC diagnostic pop
	return n > 0 ? (size_t)n : 0;
}

size_t log_line_write(enum log_format format, const struct log_entry *entry, char *line,
                      size_t size)
{
	static const char *const tails[] = {
		[LOG_FORMAT_TEXT] = "\n",
		[LOG_FORMAT_LOGFMT] = "\"\n",
		[LOG_FORMAT_JSON] = "\"}\n",
	};
	size_t tail = strlen(tails[format]);
	size_t used = write_head(format, entry, line, size);
	const char *s = entry->msg;

	while (*s != '\0') {
		char out[ESCAPED_MAX];
		size_t n = escape(format, &s, out);

		if (used + n + tail > size)
			break;
		memcpy(line + used, out, n);
		used += n;
	}
	memcpy(line + used, tails[format], tail);
	return used + tail;
}
