/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/multipart.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "base/text.h"

/* The number at *@at, which @end follows; *@at is moved behind that. */
static int take_number(const char **at, char end, uint64_t *ret)
{
	char digits[24];
	size_t len = strspn(*at, "0123456789");

	if (len == 0 || len >= sizeof(digits) || (*at)[len] != end)
		return -EINVAL;
	memcpy(digits, *at, len);
	digits[len] = '\0';
	*at += len + 1;
	return text_parse_uint(digits, INT64_MAX, ret);
}

int content_range_parse(const char *value, uint64_t *first, uint64_t *last)
{
	uint64_t a, b;

	if (strncasecmp(value, "bytes ", strlen("bytes ")) != 0)
		return -EINVAL;
	value += strlen("bytes ");
	if (take_number(&value, '-', &a) < 0 || take_number(&value, '/', &b) < 0 || b < a)
		return -EINVAL;
	*first = a;
	*last = b;
	return 0;
}

void multipart_init(struct multipart *m, multipart_take_fn take, void *arg)
{
	*m = (struct multipart){ .take = take, .arg = arg };
}

/* A line of a part's head. */
static int head_line(struct multipart *m, struct err *err)
{
	static const char name[] = "content-range:";
	const char *value = m->line + strlen(name);
	uint64_t last;

	if (m->line[0] == '\0') {
		if (!m->has_range)
			return err_set(err, -EPROTO, "part of an answer does not say of what");
		m->in_part = false;
		m->in_bytes = true;
		return 0;
	}
	if (strncasecmp(m->line, name, strlen(name)) != 0)
		return 0;
	value += strspn(value, " \t");
	if (content_range_parse(value, &m->off, &last) < 0)
		return err_set(err, -EPROTO, "part of an answer does not say of what");
	m->has_range = true;
	m->left = last - m->off + 1;
	return 0;
}

/* The line is complete. What stands before the first part, and behind the last, is nothing. */
static int end_line(struct multipart *m, struct err *err)
{
	while (m->line_len > 0 && strchr("\r \t", m->line[m->line_len - 1]))
		m->line_len--;
	m->line[m->line_len] = '\0';
	m->line_len = 0;
	if (m->in_part)
		return head_line(m, err);
	m->in_part = strncmp(m->line, "--", 2) == 0;
	m->has_range = false;
	return 0;
}

/* Take what @data has of the line. Returns how many bytes it was, or -errno. */
static ssize_t take_line(struct multipart *m, const char *data, size_t len, struct err *err)
{
	const char *end = memchr(data, '\n', len);
	size_t n = end ? (size_t)(end - data) : len;
	int r;

	if (n >= sizeof(m->line) - m->line_len)
		return err_set(err, -EPROTO, "a line between the parts of an answer is too long");
	memcpy(m->line + m->line_len, data, n);
	m->line_len += n;
	if (!end)
		return (ssize_t)n;
	r = end_line(m, err);
	return r < 0 ? r : (ssize_t)n + 1;
}

/* As take_line(), of the part's bytes. */
static ssize_t take_bytes(struct multipart *m, const char *data, size_t len, struct err *err)
{
	size_t n = len < m->left ? len : (size_t)m->left;
	int r = m->take(m->arg, m->off, data, n, err);

	if (r < 0)
		return r;
	m->off += n;
	m->left -= n;
	m->in_bytes = m->left > 0;
	return (ssize_t)n;
}

int multipart_feed(struct multipart *m, const void *data, size_t len, struct err *err)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = m->in_bytes ? take_bytes(m, at, len, err) : take_line(m, at, len, err);

		if (n < 0)
			return (int)n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}
