/* SPDX-License-Identifier: Apache-2.0 */
/* trace: what is a use, and one clear reason for what is none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "trace.h"

static int begin(struct trace_reader *t, const char *text, struct err *err)
{
	return trace_begin(t, text, strlen(text), err);
}

/* That the text "# assetfs trace 1\n" and @line is refused for @reason. */
static void expect_refused(const char *line, const char *reason)
{
	static struct trace_reader t;
	char text[TRACE_PATH_MAX + 100];
	struct trace_use use;
	struct err err = ERR_INIT;

	(void)snprintf(text, sizeof(text), "# assetfs trace 1\n%s", line);
	cr_assert_eq(begin(&t, text, &err), 0);
	cr_expect_eq(trace_next(&t, &use, &err), -EINVAL, "'%s' is taken", line);
	cr_expect_str_eq(err.msg, reason);
}

Test(trace, has_uses_and_comments)
{
	static struct trace_reader t;
	struct err err = ERR_INIT;
	struct trace_use use;

	cr_assert_eq(begin(&t, "# assetfs trace 1\n0 0 a\n# 1 1 x\n12 4096 dir/b c \n\n", &err), 0);
	cr_assert_eq(trace_next(&t, &use, &err), 1);
	cr_expect(use.off == 0 && use.len == 0);
	cr_expect_str_eq(use.path, "a");
	cr_assert_eq(trace_next(&t, &use, &err), 1);
	cr_expect(use.off == 12 && use.len == 4096);
	cr_expect_str_eq(use.path, "dir/b c ");
	cr_expect_eq(t.n_uses, 2);
	cr_expect_eq(trace_next(&t, &use, &err), -EINVAL);
	cr_expect_str_eq(err.msg, "line 5: not 'OFFSET LENGTH PATH'");
}

Test(trace, needs_no_last_newline)
{
	static struct trace_reader t;
	struct trace_use use;

	cr_assert_eq(begin(&t, "# assetfs trace 1", NULL), 0);
	cr_expect_eq(trace_next(&t, &use, NULL), 0);
	cr_assert_eq(begin(&t, "# assetfs trace 1\n1 2 \\134\\001\\377.x", NULL), 0);
	cr_expect_eq(trace_next(&t, &use, NULL), 1);
	cr_expect_str_eq(use.path, "\\\1\377.x");
	cr_expect_eq(trace_next(&t, &use, NULL), 0);
}

Test(trace, begins_with_its_version)
{
	static const char *const others[] = { "", "\n", "0 1 a\n", "# assetfs trace ",
		                              "# assetfs trace" };
	static struct trace_reader t;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		cr_expect_eq(begin(&t, others[i], &err), -EINVAL);
		cr_expect_str_eq(err.msg, "not a trace: the first line is not '# assetfs trace 1'");
	}
	cr_expect_eq(begin(&t, "# assetfs trace 12\n", &err), -EINVAL);
	cr_expect_str_eq(err.msg, "line 1: a newer version of traces; use a newer assetpack");
}

Test(trace, refuses_what_is_no_use)
{
	static const char *const lines[] = { "0",      "0 1",    "0 1\n",
		                             "a 1 x",  "-1 1 x", " 0 1 x",
		                             "0  1 x", "0\t1 x", "9223372036854775808 0 x" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		expect_refused(lines[i], "line 2: not 'OFFSET LENGTH PATH'");
	expect_refused("9223372036854775807 1 x", "line 2: the range ends too far out");
}

Test(trace, refuses_paths_that_are_none)
{
	static const char *const paths[] = { "",    "/a", "a/",   "a//b",  ".",
		                             "a/.", "..", "../a", "a/../b" };
	static const char *const bytes[] = { "a\tb", "a\r",  "\x7f",  "\\",
		                             "\\1",  "\\12", "\\400", "\\08x" };
	char line[TRACE_PATH_MAX + 10] = "0 1 ";

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		(void)snprintf(line, sizeof(line), "0 1 %s", paths[i]);
		expect_refused(line, "line 2: the path has an empty component, '.' or '..'");
	}
	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		(void)snprintf(line, sizeof(line), "0 1 %s", bytes[i]);
		expect_refused(line, "line 2: a byte of the path is neither plain text nor \\ooo");
	}
	expect_refused("0 1 a\\000", "line 2: the path has a NUL");
	memset(line + 4, 'a', TRACE_PATH_MAX + 1);
	line[4 + TRACE_PATH_MAX + 1] = '\0';
	expect_refused(line, "line 2: the path is too long");
}

Test(trace, escapes_what_is_no_text)
{
	static const struct {
		const char *path, *text;
	} cases[] = {
		{ "plain text", "plain text" },
		{ "a\\b", "a\\134b" },
		{ "\x01\n\x7f", "\\001\\012\\177" },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xae",
		  "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xae" },
		{ "\xe9", "\\351" },
		{ "\xc3", "\\303" },
		{ "\xe2\x82", "\\342\\202" },
		{ "\xc0\xaf", "\\300\\257" },
		{ "\xed\xa0\x80", "\\355\\240\\200" },
		{ "\xf4\x90\x80\x80", "\\364\\220\\200\\200" },
		{ "\x80\xff", "\\200\\377" },
	};
	static char escaped[TRACE_ESCAPED_MAX + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cr_expect_eq(trace_escape(cases[i].path, escaped), strlen(cases[i].text));
		cr_expect_str_eq(escaped, cases[i].text);
	}
}

Test(trace, is_checked_as_a_whole)
{
	struct err err = ERR_INIT;

	cr_expect_eq(trace_check("# assetfs trace 1\n0 1 a\n", 24, &err), 0);
	cr_expect_eq(trace_check("# assetfs trace 1\n0 1 a\n0", 25, &err), -EINVAL);
	cr_expect_str_eq(err.msg, "line 3: not 'OFFSET LENGTH PATH'");
	cr_expect_eq(trace_check("0 1 a\n", 6, &err), -EINVAL);
}
