/* SPDX-License-Identifier: Apache-2.0 */
/* index/base: sizes as text, digests, hash tables, publication of files. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/table.h"
#include "base/text.h"
#include "sample.h"

Test(bytes, lie_little_end_first)
{
	le32 v32 = le32_put(0x01020304);
	le64 v64 = le64_put(0x0102030405060708);

	cr_expect_eq(memcmp(&v32, "\4\3\2\1", 4), 0);
	cr_expect_eq(memcmp(&v64, "\10\7\6\5\4\3\2\1", 8), 0);
	cr_expect_eq(le32_get(v32), 0x01020304);
	cr_expect_eq(le64_get(v64), 0x0102030405060708);
}

struct size_case {
	char text[32];
	int expect;
	uint64_t value;
};

ParameterizedTestParameters(text, parses_size)
{
	static struct size_case cases[] = {
		{ "0", 0, 0 },
		{ "17", 0, 17 },
		{ "1K", 0, 1024 },
		{ "1k", 0, 1024 },
		{ "64Ki", 0, 65536 },
		{ "64KiB", 0, 65536 },
		{ "64KB", 0, 65536 },
		{ "3M", 0, 3145728 },
		{ "2G", 0, 2147483648 },
		{ "1T", 0, 1099511627776 },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "9223372036854775808", -EINVAL, 0 },
		{ "8388607T", 0, 8388607ull << 40 },
		{ "8388608T", -EINVAL, 0 },
		{ "99999999999999999999", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "K", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 K", -EINVAL, 0 },
		{ "1Kx", -EINVAL, 0 },
		{ "1KiBs", -EINVAL, 0 },
		{ "1X", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1.5K", -EINVAL, 0 },
	};

	return cr_make_param_array(struct size_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(const struct size_case *c, text, parses_size)
{
	uint64_t value = 42;

	cr_expect_eq(text_parse_size(c->text, &value), c->expect, "'%s'", c->text);
	cr_expect_eq(value, c->expect == 0 ? c->value : 42, "'%s' gave %llu", c->text,
	             (unsigned long long)value);
}

Test(text, parses_numbers_up_to_their_limit)
{
	uint64_t value = 42;

	cr_expect_eq(text_parse_uint("100", 100, &value), 0);
	cr_expect_eq(value, 100);
	cr_expect_eq(text_parse_uint("18446744073709551615", UINT64_MAX, &value), 0);
	cr_expect_eq(value, UINT64_MAX);
	cr_expect_eq(text_parse_uint("101", 100, &value), -EINVAL);
	cr_expect_eq(text_parse_uint("18446744073709551616", UINT64_MAX, &value), -EINVAL);
	cr_expect_eq(text_parse_uint("7", 5, &value), -EINVAL);
	cr_expect_eq(text_parse_uint("", 5, &value), -EINVAL);
	cr_expect_eq(text_parse_uint("1 ", 5, &value), -EINVAL);
	cr_expect_eq(value, UINT64_MAX, "outputs are left alone on failure");
}

Test(text, shows_sizes_with_one_unit)
{
	char buf[TEXT_SIZE_MAX];

	cr_expect_str_eq(text_size(0, buf), "0 B");
	cr_expect_str_eq(text_size(1023, buf), "1023 B");
	cr_expect_str_eq(text_size(1024, buf), "1.0 KiB");
	cr_expect_str_eq(text_size(1536, buf), "1.5 KiB");
	cr_expect_str_eq(text_size(1048575, buf), "1.0 MiB");
	cr_expect_str_eq(text_size(753821123, buf), "718.9 MiB");
	cr_expect_str_eq(text_size(UINT64_MAX, buf), "16.0 EiB");
}

Test(digest, is_sha256)
{
	struct digest d, parts;
	CLEANUP(sha256_free) struct sha256 *ctx = sha256_new();
	char hex[DIGEST_HEX_SIZE];

	/* FIPS 180-4's examples. */
	sha256("abc", 3, &d);
	cr_expect_str_eq(digest_hex(&d, hex),
	                 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	cr_assert_not_null(ctx);
	for (int round = 0; round < 2; round++) {
		sha256_update(ctx, "a", 1);
		sha256_update(ctx, "bc", 2);
		sha256_final(ctx, &parts);
		cr_expect(digest_equal(&d, &parts), "round %d", round);
	}
	sha256("", 0, &d);
	cr_expect_str_eq(digest_hex(&d, hex),
	                 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

Test(digest, parses_what_it_wrote_and_nothing_else)
{
	struct digest d, back;
	char hex[DIGEST_HEX_SIZE];

	sha256("x", 1, &d);
	(void)digest_hex(&d, hex);
	cr_expect_eq(digest_parse(hex, 64, &back), 0);
	cr_expect(digest_equal(&d, &back));
	cr_expect_eq(digest_parse(hex, 63, &back), -EINVAL);
	cr_expect_eq(digest_parse(hex, 65, &back), -EINVAL);
	hex[10] = 'A';
	cr_expect_eq(digest_parse(hex, 64, &back), -EINVAL);
	hex[10] = 'g';
	cr_expect_eq(digest_parse(hex, 64, &back), -EINVAL);
	cr_expect(digest_equal(&d, &back), "outputs are left alone on failure");
}

struct item {
	struct table_node node;
	uint64_t key;
	int n_seen;
};

static struct item *find(const struct table *t, uint64_t key)
{
	for (struct table_node *n = table_first(t, key / 2); n; n = table_next(n)) {
		struct item *item = TABLE_ENTRY(n, struct item, node);

		if (item->key == key)
			return item;
	}
	return NULL;
}

/* Keys 2k and 2k + 1 have the same hash, so every look-up has to tell two apart. */
Test(table, finds_all_while_it_grows_and_shrinks)
{
	enum { N = 10000 };
	CLEANUP(free) struct item *items = calloc(N, sizeof(*items));
	struct table t = TABLE_INIT;
	size_t n_walked = 0;

	cr_assert_not_null(items);
	cr_expect_null(find(&t, 0), "an empty table finds nothing");
	cr_expect_null(table_walk(&t, NULL));
	for (uint64_t i = 0; i < N; i++) {
		items[i].key = i;
		cr_assert_eq(table_insert(&t, &items[i].node, i / 2), 0);
	}
	for (uint64_t i = 0; i < N; i++)
		cr_assert_eq(find(&t, i), &items[i], "key %llu", (unsigned long long)i);
	for (uint64_t i = 0; i < N; i += 3)
		table_remove(&t, &items[i].node);
	for (struct table_node *n = table_walk(&t, NULL); n; n = table_walk(&t, n)) {
		TABLE_ENTRY(n, struct item, node)->n_seen++;
		n_walked++;
	}
	cr_expect_eq(n_walked, t.n);
	for (uint64_t i = 0; i < N; i++) {
		cr_assert_eq(items[i].n_seen, i % 3 == 0 ? 0 : 1);
		cr_assert_eq(find(&t, i) != NULL, i % 3 != 0);
	}
	table_release(&t);
	cr_expect_eq(t.n, 0);
}

static char dir[SAMPLE_PATH_MAX];
static int dirfd = -1;

static void make_dir(void)
{
	sample_dir(dir);
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dirfd, 0);
}

static void remove_dir(void)
{
	(void)close(dirfd);
	sample_dir_remove(dir);
}

TestSuite(io, .init = make_dir, .fini = remove_dir);

Test(io, unfinished_files_have_no_name_and_leave_none)
{
	struct io_temp tmp = IO_TEMP_INIT;

	cr_assert_eq(io_temp_open(&tmp, dirfd, NULL), 0);
	cr_assert_eq(io_write(tmp.fd, "half", 4), 0);
	cr_expect_eq(faccessat(dirfd, "file", F_OK, 0), -1);
	io_temp_release(&tmp);
	cr_expect_eq(rmdir(dir), 0, "the directory is empty again");
}

Test(io, sweeping_removes_unfinished_files_and_no_others)
{
	static const char *const others[] = { ".tmp-", ".tmp-precious", ".tmp-0123456789abcdeg",
		                              ".tmp-0123456789abcdef0" };
	struct err err = ERR_INIT;

	cr_expect_eq(io_is_unused(dirfd, &err), 1);
	cr_assert_eq(io_publish_bytes(dirfd, ".tmp-0123456789abcdef", "", 0, 0644, NULL), 0);
	cr_expect_eq(io_is_unused(dirfd, &err), 1);
	cr_expect_eq(faccessat(dirfd, ".tmp-0123456789abcdef", F_OK, 0), 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		cr_assert_eq(io_publish_bytes(dirfd, others[i], "", 0, 0644, NULL), 0);
		cr_expect_eq(io_is_unused(dirfd, &err), 0, "%s", others[i]);
		cr_expect_eq(io_sweep(dirfd, &err), 0, "%s", err.msg);
		cr_expect_eq(faccessat(dirfd, ".tmp-0123456789abcdef", F_OK, 0), -1);
		cr_expect_eq(unlinkat(dirfd, others[i], 0), 0, "%s", others[i]);
	}
}

Test(io, publishing_replaces_in_one_step)
{
	CLEANUP(free) char *bytes = NULL;
	struct err err = ERR_INIT;
	struct stat st;
	size_t len = 0;

	cr_assert_eq(io_publish_bytes(dirfd, "file", "old", 3, 0444, &err), 0, "%s", err.msg);
	cr_assert_eq(io_publish_bytes(dirfd, "file", "newer", 5, 0440, &err), 0, "%s", err.msg);
	cr_assert_eq(io_read_file(dirfd, "file", 5, &bytes, &len, &err), 0, "%s", err.msg);
	cr_expect_eq(len, 5);
	cr_expect_str_eq(bytes, "newer", "a NUL follows the bytes");
	cr_assert_eq(fstatat(dirfd, "file", &st, 0), 0);
	cr_expect_eq(st.st_mode & 07777, 0440);
	cr_expect_eq(unlinkat(dirfd, "file", 0), 0);
	cr_expect_eq(rmdir(dir), 0, "nothing else was left");
}

Test(io, reading_a_file_says_why_it_cannot)
{
	CLEANUP(free) char *bytes = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;

	cr_assert_eq(io_publish_bytes(dirfd, "file", "12345", 5, 0444, NULL), 0);
	cr_expect_eq(io_read_file(dirfd, "file", 4, &bytes, &len, &err), -EFBIG);
	cr_expect_not_null(strstr(err.msg, "'file'"));
	cr_expect_eq(io_read_file(dirfd, "none", 4, &bytes, &len, &err), -ENOENT);
	cr_expect_eq(io_read_file(dirfd, ".", 4, &bytes, &len, &err), -EINVAL);
	cr_expect_null(bytes);
}

Test(io, pread_tells_a_short_file_from_an_error)
{
	CLEANUP(close) int fd = openat(dirfd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char buf[8];

	cr_assert_eq(io_pwrite(fd, "01234567", 8, 2), 0);
	cr_expect_eq(io_pread(fd, buf, 8, 2), 0);
	cr_expect_eq(memcmp(buf, "01234567", 8), 0);
	cr_expect_eq(io_pread(fd, buf, 8, 3), -ENODATA);
	cr_expect_eq(io_pread(fd, buf, 0, 100), 0);
	cr_expect_eq(io_pread(-1, buf, 1, 0), -EBADF);
}

Test(io, makes_all_missing_directories)
{
	char path[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%.400s/a/b//c/", dir);
	cr_expect_eq(io_make_dirs(path, &err), 0, "%s", err.msg);
	cr_expect_eq(io_make_dirs(path, &err), 0, "%s", err.msg);
	cr_expect_eq(stat(path, &st), 0);
	cr_assert_eq(io_publish_bytes(dirfd, "file", "", 0, 0444, NULL), 0);
	(void)snprintf(path, sizeof(path), "%.400s/file/sub", dir);
	cr_expect_eq(io_make_dirs(path, &err), -ENOTDIR);
}

Test(err, says_what_and_where_in_one_line)
{
	struct err err = ERR_INIT;

	cr_expect_eq(err_set(&err, -EBADMSG, "chunk %d", 7), -EBADMSG);
	cr_expect_eq(err_wrap(&err, -EBADMSG, "pack '%s'", "x"), -EBADMSG);
	cr_expect_eq(err.code, -EBADMSG);
	cr_expect_str_eq(err.msg, "pack 'x': chunk 7");
	errno = ENOENT;
	cr_expect_eq(err_set_errno(&err, "'f'"), -ENOENT);
	cr_expect_str_eq(err.msg, "'f': No such file or directory");
	cr_expect_eq(err_set(NULL, -EIO, "nobody listens"), -EIO);
}

Test(err, long_messages_are_cut_not_overrun)
{
	struct err err = ERR_INIT;
	char text[1000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void)err_set(&err, -EIO, "%s", text);
	(void)err_wrap(&err, -EIO, "%s", text);
	cr_expect_eq(strlen(err.msg), sizeof(err.msg) - 1);
	cr_expect(strstr(err.msg, "xxx...: xxx"), "%s", err.msg);
	errno = ENOENT;
	(void)err_set_errno(&err, "'%s'", text);
	cr_expect_eq(strlen(err.msg), sizeof(err.msg) - 1);
	cr_expect(strstr(err.msg, "xxx...: No such file or directory"), "%s", err.msg);
}
