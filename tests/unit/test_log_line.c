/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/log_line.h"

static void check(enum log_format format, const char *msg, const char *want)
{
	const struct log_entry entry = { .time = "T",
		                         .level = "info",
		                         .program = "assetfs",
		                         .msg = msg };
	char line[512];
	size_t n = log_line_write(format, &entry, line, sizeof(line));

	cr_assert_lt(n, sizeof(line));
	line[n] = '\0';
	cr_assert_str_eq(line, want);
}

Test(log_line, formats)
{
	check(LOG_FORMAT_TEXT, "a \"b\" \\", "T assetfs: a \"b\" \\\n");
	check(LOG_FORMAT_LOGFMT, "a \"b\" \\",
	      "time=T level=info program=assetfs msg=\"a \\\"b\\\" \\\\\"\n");
	check(LOG_FORMAT_JSON, "a \"b\" \\",
	      "{\"time\":\"T\",\"level\":\"info\",\"program\":\"assetfs\",\"msg\":\"a \\\"b\\\" \\\\\"}\n");
}

Test(log_line, stays_one_line)
{
	check(LOG_FORMAT_TEXT, "a\nb\033[1m\x7f", "T assetfs: a?b?[1m?\n");
	check(LOG_FORMAT_LOGFMT, "a\nb", "time=T level=info program=assetfs msg=\"a\\u000ab\"\n");
}

#define JSON_OF(msg) \
	"{\"time\":\"T\",\"level\":\"info\",\"program\":\"assetfs\",\"msg\":\"" msg "\"}\n"

Test(log_line, json_is_utf8_whatever_the_message)
{
	check(LOG_FORMAT_JSON, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xae",
	      JSON_OF("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xae"));
	check(LOG_FORMAT_JSON, "\xfc\n\x01", JSON_OF("?\\u000a\\u0001"));
	/* Cut short, too long, a surrogate, beyond the last. */
	check(LOG_FORMAT_JSON, "\xe2\x82", JSON_OF("??"));
	check(LOG_FORMAT_JSON, "\xc0\xaf \xe0\x80\xaf", JSON_OF("?? ???"));
	check(LOG_FORMAT_JSON, "\xed\xa0\x80 \xf4\x90\x80\x80 \xc3", JSON_OF("??? ???? ?"));
	check(LOG_FORMAT_TEXT, "\xfc", "T assetfs: \xfc\n");
}

Test(log_line, long_messages_are_cut_between_characters)
{
	struct log_entry entry = { .level = "err", .program = "p" };
	char msg[1024];
	char line[256];

	for (size_t shift = 0; shift < 8; shift++) {
		size_t n;

		memset(msg, 'x', shift);
		for (size_t i = shift; i + 1 < sizeof(msg); i++)
			msg[i] = (i - shift) % 2 == 0 ? '\xc3' : '\xbc';
		msg[sizeof(msg) - 1] = '\0';
		entry.msg = msg;
		n = log_line_write(LOG_FORMAT_JSON, &entry, line, sizeof(line));
		cr_assert(n == sizeof(line) || n == sizeof(line) - 1);
		cr_assert_eq(memcmp(line + n - 5, "\xc3\xbc\"}\n", 5), 0);
	}
}
