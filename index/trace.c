/* SPDX-License-Identifier: Apache-2.0 */
#include "trace.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"

static const char magic[] = TRACE_MAGIC;

/* What is left of a line. */
struct line {
	const char *at, *end;
};

static size_t left(const struct line *l)
{
	return (size_t)(l->end - l->at);
}

static bool take_line(struct trace_reader *t, struct line *ret)
{
	const char *end;

	if (t->at == t->end)
		return false;
	end = memchr(t->at, '\n', (size_t)(t->end - t->at));
	*ret = (struct line){ t->at, end ? end : t->end };
	t->at = end ? end + 1 : t->end;
	t->line++;
	return true;
}

static int refuse(const struct trace_reader *t, const char *what, struct err *err)
{
	return err_set(err, -EINVAL, "line %zu: %s", t->line, what);
}

int trace_begin(struct trace_reader *t, const char *text, size_t len, struct err *err)
{
	size_t magic_len = sizeof(magic) - 1;
	struct line l;

	t->at = text;
	t->end = text + len;
	t->line = 0;
	t->n_uses = 0;
	if (!take_line(t, &l) || left(&l) <= magic_len || memcmp(l.at, magic, magic_len) != 0)
		return err_set(err, -EINVAL, "not a trace: the first line is not '%s1'", magic);
	if (left(&l) != magic_len + 1 || l.end[-1] != '1')
		return refuse(t, "a newer version of traces; use a newer assetpack", err);
	return 0;
}

/* A decimal number and the space behind it. Returns 0 or -EINVAL. */
static int take_number(struct line *l, uint64_t *ret)
{
	const char *start = l->at;
	uint64_t value = 0;

	for (; l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++) {
		uint64_t digit = (uint64_t)(*l->at - '0');

		if (value > (INT64_MAX - digit) / 10)
			return -EINVAL;
		value = value * 10 + digit;
	}
	if (l->at == start || l->at == l->end || *l->at != ' ')
		return -EINVAL;
	l->at++;
	*ret = value;
	return 0;
}

/* The byte that \ooo stands for, behind the backslash; -1 when it is none. */
static int take_escape(struct line *l)
{
	int value = 0;

	if (left(l) < 3)
		return -1;
	for (int i = 0; i < 3; i++) {
		char c = *l->at++;

		if (c < '0' || c > '7')
			return -1;
		value = value << 3 | (c - '0');
	}
	return value <= UINT8_MAX ? value : -1;
}

/* The next byte of a path, which is not at its end; -1 when it is none. */
static int take_byte(struct line *l)
{
	uint8_t byte = (uint8_t)*l->at++;

	if (byte == '\\')
		return take_escape(l);
	return byte < ' ' || byte == 0x7f ? -1 : byte;
}

/* Whether @path has components, none of which is "", "." or "..". */
static bool is_plain(const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");

		if (n == 0 || (path[0] == '.' && (n == 1 || (n == 2 && path[1] == '.'))))
			return false;
		if (path[n] == '\0')
			return true;
		path += n + 1;
	}
}

/* The rest of the line. Returns what is wrong with it, or NULL. */
static const char *take_path(struct trace_reader *t, struct line *l)
{
	size_t n = 0;

	while (l->at < l->end) {
		int byte = take_byte(l);

		if (byte < 0)
			return "a byte of the path is neither plain text nor \\ooo";
		if (byte == 0)
			return "the path has a NUL";
		if (n == TRACE_PATH_MAX)
			return "the path is too long";
		t->path[n++] = (char)byte;
	}
	t->path[n] = '\0';
	return is_plain(t->path) ? NULL : "the path has an empty component, '.' or '..'";
}

int trace_next(struct trace_reader *t, struct trace_use *ret, struct err *err)
{
	const char *wrong;
	struct line l;

	do {
		if (!take_line(t, &l))
			return 0;
	} while (left(&l) > 0 && *l.at == '#');
	if (take_number(&l, &ret->off) < 0 || take_number(&l, &ret->len) < 0)
		return refuse(t, "not 'OFFSET LENGTH PATH'", err);
	if (ret->len > INT64_MAX - ret->off)
		return refuse(t, "the range ends too far out", err);
	wrong = take_path(t, &l);
	if (wrong)
		return refuse(t, wrong, err);
	if (t->n_uses == TRACE_USES_MAX)
		return refuse(t, "a trace has at most 1048576 uses", err);
	t->n_uses++;
	ret->path = t->path;
	return 1;
}

int trace_check(const char *text, size_t len, struct err *err)
{
	CLEANUP(free) struct trace_reader *reader = calloc(1, sizeof(*reader));
	struct trace_use use;
	int r;

	if (!reader)
		return err_set(err, -ENOMEM, "out of memory");
	r = trace_begin(reader, text, len, err);
	while (r == 0 && (r = trace_next(reader, &use, err)) == 1)
		r = 0;
	return r;
}

/* Number of bytes of the UTF-8 character at @at; 0 when it is none, as a NUL is none. */
static size_t utf8_length(const uint8_t *at)
{
	static const uint32_t least[] = { 0, 1, 0x80, 0x800, 0x10000 };
	size_t n = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc0 ? 2 : 0;
	uint32_t value = n == 1 ? at[0] : at[0] & (0x7fu >> n);

	if (n == 0 || at[0] >= 0xf8)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (at[i] & 0x3f);
	}
	if (value < least[n] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	return n;
}

size_t trace_escape(const char *path, char ret[static TRACE_ESCAPED_MAX + 1])
{
	const uint8_t *at = (const uint8_t *)path;
	char *to = ret;

	while (*at) {
		size_t n = utf8_length(at);

		if (n == 0 || *at < ' ' || *at == 0x7f || *at == '\\') {
			*to++ = '\\';
			*to++ = (char)('0' + (*at >> 6));
			*to++ = (char)('0' + (*at >> 3 & 7));
			*to++ = (char)('0' + (*at & 7));
			at++;
			continue;
		}
		memcpy(to, at, n);
		to += n;
		at += n;
	}
	*to = '\0';
	return (size_t)(to - ret);
}
