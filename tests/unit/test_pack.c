/* SPDX-License-Identifier: Apache-2.0 */
/* pack: frames come back where they were put; every single-field lie in a seek table is refused. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include "format.h"
#include "pack.h"
#include "sample.h"

/* The end of a pack of two frames, and the pack that it belongs to. */
struct tail {
	uint8_t frames[30];
	struct seek_header header;
	struct seek_entry entry[2];
	struct seek_footer footer;
};
STATIC_SIZE(struct tail, 63);

static struct tail good_tail(void)
{
	return (struct tail){
		.header = { le32_put(FORMAT_SEEK_SKIPPABLE), le32_put(2 * 8 + 9) },
		.entry = { { le32_put(10), le32_put(100) }, { le32_put(20), le32_put(200) } },
		.footer = { .n_frames = le32_put(2), .magic = { 0xb1, 0xea, 0x92, 0x8f } },
	};
}

Test(pack, lists_the_frames_of_a_table)
{
	struct tail tail = good_tail();
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	struct err err = ERR_INIT;
	struct frame frame;

	cr_assert_eq(seek_table_parse(&tail, sizeof(tail), sizeof(tail), &table, &err), 0, "%s",
	             err.msg);
	cr_assert_eq(seek_table_count(table), 2);
	frame = seek_table_frame(table, 1);
	cr_expect_eq(frame.off, 10);
	cr_expect_eq(frame.size, 20);
	cr_expect_eq(frame.plain_size, 200);
}

Test(pack, needs_only_the_table_of_a_pack)
{
	struct tail tail = good_tail();
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	const size_t table_size = sizeof(tail) - sizeof(tail.frames);

	cr_expect_eq(seek_table_parse(&tail.header, table_size, sizeof(tail), &table, NULL), 0);
	cr_expect_not_null(table);
}

struct lie {
	char what[32];
	size_t at; /* byte of struct tail that is overwritten */
	uint8_t with;
};

ParameterizedTestParameters(pack, refuses)
{
	static struct lie lies[] = {
		{ "skippable magic", offsetof(struct tail, header.skippable), 0x5f },
		{ "table size", offsetof(struct tail, header.size), 24 },
		{ "table size, high byte", offsetof(struct tail, header.size) + 3, 1 },
		{ "frame size plus one", offsetof(struct tail, entry[0].frame_size), 11 },
		{ "frame size zero", offsetof(struct tail, entry[1].frame_size), 0 },
		{ "frame size huge", offsetof(struct tail, entry[1].frame_size) + 3, 0xff },
		{ "plain size zero", offsetof(struct tail, entry[0].size), 0 },
		{ "plain size 5 MiB", offsetof(struct tail, entry[0].size) + 2, 0x50 },
		{ "plain size huge", offsetof(struct tail, entry[0].size) + 3, 0xff },
		{ "one frame", offsetof(struct tail, footer.n_frames), 1 },
		{ "three frames", offsetof(struct tail, footer.n_frames), 3 },
		{ "no frames", offsetof(struct tail, footer.n_frames), 0 },
		{ "2^31 frames", offsetof(struct tail, footer.n_frames) + 3, 0x80 },
		{ "checksums", offsetof(struct tail, footer.descriptor), 0x80 },
		{ "reserved bits", offsetof(struct tail, footer.descriptor), 0x04 },
		{ "seekable magic", offsetof(struct tail, footer.magic), 0xb2 },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(const struct lie *lie, pack, refuses)
{
	struct tail tail = good_tail();
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	struct err err = ERR_INIT;

	((uint8_t *)&tail)[lie->at] = lie->with;
	cr_expect_eq(seek_table_parse(&tail, sizeof(tail), sizeof(tail), &table, &err), -EBADMSG,
	             "%s", lie->what);
	cr_expect_null(table);
	cr_expect_neq(err.msg[0], '\0');
}

Test(pack, refuses_every_truncation)
{
	struct tail tail = good_tail();

	for (size_t cut = 1; cut <= sizeof(tail); cut++) {
		CLEANUP(seek_table_free) struct seek_table *table = NULL;
		size_t size = sizeof(tail) - cut;

		cr_expect_eq(seek_table_parse(&tail, size, size, &table, NULL), -EBADMSG,
		             "end cut by %zu", cut);
		cr_expect_eq(seek_table_parse((const uint8_t *)&tail + cut, size, size, &table,
		                              NULL),
		             -EBADMSG, "start cut by %zu", cut);
	}
}

Test(pack, refuses_a_table_of_another_pack)
{
	struct tail tail = good_tail();
	CLEANUP(seek_table_free) struct seek_table *table = NULL;

	cr_expect_eq(seek_table_parse(&tail, sizeof(tail), sizeof(tail) + 1, &table, NULL),
	             -EBADMSG);
	cr_expect_eq(seek_table_parse(&tail, sizeof(tail), sizeof(tail) - 1, &table, NULL),
	             -EBADMSG);
}

static char dir[SAMPLE_PATH_MAX];

static void make_dir(void)
{
	sample_dir(dir);
}

static void remove_dir(void)
{
	sample_dir_remove(dir);
}

TestSuite(pack_writer, .init = make_dir, .fini = remove_dir);

static int open_dir(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static bool is_empty(void)
{
	return rmdir(dir) == 0 && mkdir(dir, 0700) == 0;
}

Test(pack_writer, publishes_frames_under_the_digest_of_all_bytes)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(pack_writer_free) struct pack_writer *w = NULL;
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	CLEANUP(free) char *bytes = NULL;
	CLEANUP(close) int fd = -1;
	struct digest digest, expected;
	struct err err = ERR_INIT;
	uint64_t off = 0, size = 0;
	char hex[DIGEST_HEX_SIZE];
	struct stat st;
	size_t len;

	cr_assert_eq(pack_writer_open(dirfd, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(pack_writer_append(w, "first", 5, 50, &off, &err), 0, "%s", err.msg);
	cr_expect_eq(off, 0);
	cr_assert_eq(pack_writer_append(w, "second", 6, 60, &off, &err), 0, "%s", err.msg);
	cr_expect_eq(off, 5);
	cr_expect_eq(pack_writer_size(w), 11);
	cr_assert_eq(pack_writer_publish(w, &digest, &size, &err), 0, "%s", err.msg);

	cr_assert_eq(io_read_file(dirfd, digest_hex(&digest, hex), 1000, &bytes, &len, &err), 0,
	             "%s", err.msg);
	cr_expect_eq(len, size);
	cr_expect_eq(memcmp(bytes, "firstsecond", 11), 0);
	sha256(bytes, len, &expected);
	cr_expect(digest_equal(&digest, &expected));
	fd = openat(dirfd, hex, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0444);
	cr_assert_eq(seek_table_load(fd, &table, &err), 0, "%s", err.msg);
	cr_assert_eq(seek_table_count(table), 2);
	cr_expect_eq(seek_table_frame(table, 1).off, 5);
	cr_expect_eq(seek_table_frame(table, 1).plain_size, 60);
}

Test(pack_writer, keeps_tables_of_many_frames)
{
	enum { N = 5000 };
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(pack_writer_free) struct pack_writer *w = NULL;
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	CLEANUP(close) int fd = -1;
	char hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;
	struct digest digest;
	uint64_t off, size;

	cr_assert_eq(pack_writer_open(dirfd, &w, &err), 0, "%s", err.msg);
	for (uint32_t i = 0; i < N; i++)
		cr_assert_eq(pack_writer_append(w, "0123456789", 1 + i % 10, 1 + i, &off, NULL), 0);
	cr_assert_eq(pack_writer_publish(w, &digest, &size, &err), 0, "%s", err.msg);
	fd = openat(dirfd, digest_hex(&digest, hex), O_RDONLY | O_CLOEXEC);
	cr_assert_eq(seek_table_load(fd, &table, &err), 0, "%s", err.msg);
	cr_assert_eq(seek_table_count(table), N);
	cr_expect_eq(seek_table_frame(table, N - 1).plain_size, N);
	cr_expect_eq(seek_table_frame(table, N - 1).off, off);
}

Test(pack_writer, refuses_what_a_table_cannot_say_and_packs_of_nothing)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(pack_writer_free) struct pack_writer *w = NULL;
	struct digest digest;
	uint64_t off, size;

	cr_assert_eq(pack_writer_open(dirfd, &w, NULL), 0);
	cr_expect_eq(pack_writer_append(w, "", 0, 1, &off, NULL), -EINVAL);
	cr_expect_eq(pack_writer_append(w, "x", 1, 0, &off, NULL), -EINVAL);
	cr_expect_eq(pack_writer_append(w, "x", 1, FORMAT_CHUNK_MAX + 1, &off, NULL), -EINVAL);
	cr_expect_eq(pack_writer_append(w, "x", FORMAT_FRAME_MAX + 1, 1, &off, NULL), -EINVAL);
	cr_expect_eq(pack_writer_publish(w, &digest, &size, NULL), -EINVAL);
}

/* A writer with a frame of @byte. */
static struct pack_writer *one_frame(int dirfd, const char *byte)
{
	struct pack_writer *w = NULL;
	uint64_t off;

	cr_assert_eq(pack_writer_open(dirfd, &w, NULL), 0);
	cr_assert_eq(pack_writer_append(w, byte, 1, 50, &off, NULL), 0);
	return w;
}

Test(pack_writer, publishes_under_a_digest_only_what_has_it)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(pack_writer_free) struct pack_writer *first = one_frame(dirfd, "a");
	struct pack_writer *other = one_frame(dirfd, "b");
	CLEANUP(pack_writer_free) struct pack_writer *again = one_frame(dirfd, "a");
	char hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;
	struct digest digest;
	uint64_t size;

	cr_assert_eq(pack_writer_publish(first, &digest, &size, NULL), 0);
	cr_expect_eq(size, 1 + pack_overhead(1));
	cr_assert_eq(unlinkat(dirfd, digest_hex(&digest, hex), 0), 0);
	cr_expect_eq(pack_writer_publish_as(other, &digest, &err), -EBADMSG);
	cr_expect_neq(err.msg[0], '\0');
	pack_writer_free(other);
	cr_expect_eq(pack_writer_publish_as(again, &digest, &err), 0, "%s", err.msg);
	cr_expect_eq(faccessat(dirfd, hex, F_OK, 0), 0);
	cr_assert_eq(unlinkat(dirfd, hex, 0), 0);
	cr_expect(is_empty(), "the other one is not there");
}

Test(pack_writer, leaves_nothing_behind_unless_published)
{
	CLEANUP(close) int dirfd = open_dir();
	struct pack_writer *w = NULL;
	uint64_t off;

	cr_assert_eq(pack_writer_open(dirfd, &w, NULL), 0);
	cr_assert_eq(pack_writer_append(w, "frame", 5, 50, &off, NULL), 0);
	cr_expect_not(is_empty());
	pack_writer_free(w);
	cr_expect(is_empty());
}

Test(pack_writer, files_that_are_no_packs_have_no_table)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	CLEANUP(close) int empty = openat(dirfd, "empty", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CLEANUP(close) int text = openat(dirfd, "text", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert(empty >= 0 && text >= 0);
	cr_assert_eq(io_pwrite(text, "no pack at all, just some text", 30, 0), 0);
	cr_expect_eq(seek_table_load(empty, &table, NULL), -EBADMSG);
	cr_expect_eq(seek_table_load(text, &table, NULL), -EBADMSG);
	cr_expect_null(table);
}
