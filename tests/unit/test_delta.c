/* SPDX-License-Identifier: Apache-2.0 */
/* delta: frames come back by their chunk's digest; every single-field lie in a table is refused. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include "codec.h"
#include "delta.h"
#include "format.h"
#include "sample.h"

/* The table of a delta of two frames, of three references to two bases. */
struct plain {
	struct digest bases[2];
	struct digest chunks[2];
	struct delta_entry entries[2];
	le32 refs[3];
};
STATIC_SIZE(struct plain, 164);

enum { FRAMES = 30, TAIL_MAX = 1000 };

/* A delta of which only the size of the frames counts. */
struct blob {
	uint8_t bytes[FRAMES + TAIL_MAX];
	size_t size;
	size_t header; /* where it is */
	size_t footer;
};

static struct plain good_plain(void)
{
	struct plain plain = {
		.entries = { { le32_put(100), le32_put(10), le32_put(1) },
		             { le32_put(200), le32_put(20), le32_put(2) } },
		.refs = { le32_put(1), le32_put(0), le32_put(1) },
	};

	sha256("b", 1, &plain.bases[0]);
	sha256("a", 1, &plain.bases[1]);
	sha256("d", 1, &plain.chunks[0]);
	sha256("c", 1, &plain.chunks[1]);
	return plain;
}

static struct blob blob_of(const void *plain, size_t plain_size)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	struct blob blob = { .header = FRAMES };
	struct delta_header header = { .skippable = le32_put(FORMAT_DELTA_SKIPPABLE) };
	struct delta_footer footer = {
		.n_bases = le32_put(2),
		.n_frames = le32_put(2),
		.n_refs = le32_put(3),
		.magic = le32_put(FORMAT_DELTA_MAGIC),
	};
	size_t stored = 0;

	cr_assert_eq(codec_compress_table(codec, 1, plain, plain_size,
	                                  blob.bytes + FRAMES + sizeof(header),
	                                  codec_bound(plain_size), &stored),
	             0);
	footer.table_size = le32_put((uint32_t)stored);
	header.size = le32_put((uint32_t)(stored + sizeof(footer)));
	blob.footer = FRAMES + sizeof(header) + stored;
	memcpy(blob.bytes + blob.header, &header, sizeof(header));
	memcpy(blob.bytes + blob.footer, &footer, sizeof(footer));
	blob.size = blob.footer + sizeof(footer);
	return blob;
}

static struct blob good_blob(void)
{
	struct plain plain = good_plain();

	return blob_of(&plain, sizeof(plain));
}

/* Expect -EBADMSG with a message. */
static void expect_refused(const struct blob *blob, const char *what)
{
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	struct err err = ERR_INIT;

	cr_expect_eq(delta_table_parse(blob->bytes, blob->size, blob->size, &table, &err), -EBADMSG,
	             "%s", what);
	cr_expect_null(table);
	cr_expect_neq(err.msg[0], '\0');
}

Test(delta, lists_the_frames_of_a_table)
{
	struct blob blob = good_blob();
	struct plain plain = good_plain();
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	struct err err = ERR_INIT;
	struct delta_frame frame;
	uint32_t i = 77;

	cr_assert_eq(delta_table_parse(blob.bytes, blob.size, blob.size, &table, &err), 0, "%s",
	             err.msg);
	cr_assert_eq(delta_table_count(table), 2);
	cr_assert_eq(delta_table_n_bases(table), 2);
	frame = delta_table_frame(table, 1);
	cr_expect_eq(frame.off, 10);
	cr_expect_eq(frame.size, 20);
	cr_expect_eq(frame.plain_size, 200);
	cr_assert_eq(frame.n_bases, 2);
	cr_expect_eq(delta_table_base(table, frame.first_base), 0);
	cr_expect_eq(delta_table_base(table, frame.first_base + 1), 1);
	for (uint32_t k = 0; k < 2; k++) {
		cr_expect(delta_table_find(table, &plain.chunks[k], &i) && i == k);
		cr_expect(delta_table_find_base(table, &plain.bases[k], &i) && i == k);
		cr_expect(digest_equal(delta_table_chunk(table, k), &plain.chunks[k]));
		cr_expect(digest_equal(delta_table_base_digest(table, k), &plain.bases[k]));
		cr_expect_not(delta_table_find(table, &plain.bases[k], &i));
		cr_expect_not(delta_table_find_base(table, &plain.chunks[k], &i));
	}
}

Test(delta, needs_only_the_table_of_a_blob)
{
	struct blob blob = good_blob();
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	const uint8_t *end = blob.bytes + blob.size - DELTA_END;
	size_t needed = 0;

	cr_expect_eq(delta_tail_needed(end, blob.size, &needed, NULL), 0);
	cr_expect_eq(needed, blob.size - blob.header);
	cr_expect_eq(delta_tail_needed(end, needed / 2, &needed, NULL), -EBADMSG);
	cr_expect_eq(delta_tail_needed(end - 1, blob.size, &needed, NULL), -EBADMSG);

	cr_expect_eq(delta_table_parse(blob.bytes + blob.header, blob.size - blob.header, blob.size,
	                               &table, NULL),
	             0);
	cr_expect_not_null(table);
}

struct lie {
	char what[32];
	size_t at; /* byte that is overwritten */
	uint8_t with;
};

#define BASE(i)      offsetof(struct plain, bases[i])
#define CHUNK(i)     offsetof(struct plain, chunks[i])
#define ENTRY(i, of) offsetof(struct plain, entries[i].of)

ParameterizedTestParameters(delta, refuses_in_the_table)
{
	static struct lie lies[] = {
		{ "plain size zero", ENTRY(0, size), 0 },
		{ "plain size 5 MiB", ENTRY(1, size) + 2, 0x50 },
		{ "plain size huge", ENTRY(1, size) + 3, 0xff },
		{ "frame size plus one", ENTRY(0, frame_size), 11 },
		{ "frame size minus one", ENTRY(1, frame_size), 19 },
		{ "frame size zero", ENTRY(1, frame_size), 0 },
		{ "frame size huge", ENTRY(1, frame_size) + 3, 0xff },
		{ "no bases", ENTRY(0, n_bases), 0 },
		{ "a base more", ENTRY(0, n_bases), 2 },
		{ "a base less", ENTRY(1, n_bases), 1 },
		{ "65 bases", ENTRY(1, n_bases), 65 },
		{ "2^31 bases", ENTRY(1, n_bases) + 3, 0x80 },
		{ "a base that is none", offsetof(struct plain, refs[0]), 2 },
		{ "a base far off", offsetof(struct plain, refs[2]) + 3, 0x80 },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(const struct lie *lie, delta, refuses_in_the_table)
{
	struct plain plain = good_plain();
	struct blob blob;

	((uint8_t *)&plain)[lie->at] = lie->with;
	blob = blob_of(&plain, sizeof(plain));
	expect_refused(&blob, lie->what);
}

Test(delta, refuses_a_digest_twice)
{
	struct plain plain = good_plain();
	struct blob blob;

	plain.bases[1] = plain.bases[0];
	blob = blob_of(&plain, sizeof(plain));
	expect_refused(&blob, "bases");
	plain = good_plain();
	plain.chunks[0] = plain.chunks[1];
	blob = blob_of(&plain, sizeof(plain));
	expect_refused(&blob, "chunks");
}

Test(delta, refuses_a_table_of_another_size)
{
	struct plain plain[2] = { good_plain(), good_plain() };
	struct blob blob = blob_of(plain, sizeof(plain[0]) - 1);

	expect_refused(&blob, "a byte less");
	blob = blob_of(plain, sizeof(plain[0]) + 1);
	expect_refused(&blob, "a byte more");
}

#define FOOTER(of) offsetof(struct delta_footer, of)

ParameterizedTestParameters(delta, refuses_in_the_footer)
{
	static struct lie lies[] = {
		{ "magic", FOOTER(magic), 0x62 },
		{ "no bases", FOOTER(n_bases), 0 },
		{ "a base less", FOOTER(n_bases), 1 },
		{ "a base more", FOOTER(n_bases), 3 },
		{ "2^24 bases", FOOTER(n_bases) + 3, 1 },
		{ "no frames", FOOTER(n_frames), 0 },
		{ "a frame less", FOOTER(n_frames), 1 },
		{ "a frame more", FOOTER(n_frames), 3 },
		{ "2^31 frames", FOOTER(n_frames) + 3, 0x80 },
		{ "no references", FOOTER(n_refs), 0 },
		{ "references fewer than frames", FOOTER(n_refs), 1 },
		{ "a reference less", FOOTER(n_refs), 2 },
		{ "2^24 references", FOOTER(n_refs) + 3, 1 },
		{ "a table of nothing", FOOTER(table_size), 0 },
		{ "a small table", FOOTER(table_size), 5 },
		{ "a table of 2^31 bytes", FOOTER(table_size) + 3, 0x80 },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(const struct lie *lie, delta, refuses_in_the_footer)
{
	struct blob blob = good_blob();

	cr_assert_neq(blob.bytes[blob.footer + lie->at], lie->with, "%s", lie->what);
	blob.bytes[blob.footer + lie->at] = lie->with;
	expect_refused(&blob, lie->what);
}

/* Every byte from the skippable frame on: header, stored table and footer. */
Test(delta, refuses_every_flipped_byte)
{
	struct blob blob = good_blob();

	for (size_t i = blob.header; i < blob.size; i++) {
		blob.bytes[i] ^= 1;
		expect_refused(&blob, "flipped");
		blob.bytes[i] ^= 1;
	}
}

Test(delta, refuses_every_truncation)
{
	struct blob blob = good_blob();

	for (size_t cut = 1; cut <= blob.size; cut++) {
		CLEANUP(delta_table_free) struct delta_table *table = NULL;
		size_t size = blob.size - cut;

		cr_expect_eq(delta_table_parse(blob.bytes, size, size, &table, NULL), -EBADMSG,
		             "end cut by %zu", cut);
		cr_expect_eq(delta_table_parse(blob.bytes + cut, size, size, &table, NULL),
		             -EBADMSG, "start cut by %zu", cut);
	}
}

Test(delta, refuses_a_table_of_another_blob)
{
	struct blob blob = good_blob();
	CLEANUP(delta_table_free) struct delta_table *table = NULL;

	cr_expect_eq(delta_table_parse(blob.bytes, blob.size, blob.size + 1, &table, NULL),
	             -EBADMSG);
	cr_expect_eq(delta_table_parse(blob.bytes, blob.size, blob.size - 1, &table, NULL),
	             -EBADMSG);
}

/* What asks for much more memory than there are bytes is refused before it gets any. */
Test(delta, refuses_a_table_that_compresses_too_well)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(free) uint8_t *zeros = calloc(1, 1 << 20);
	struct blob blob = { .header = 0 };
	struct delta_footer footer = {
		.n_bases = le32_put(1),
		.n_frames = le32_put((1 << 20) / 48),
		.n_refs = le32_put((1 << 20) / 48),
		.magic = le32_put(FORMAT_DELTA_MAGIC),
	};
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	struct err err = ERR_INIT;
	size_t stored = 0;

	cr_assert_not_null(zeros);
	cr_assert_eq(codec_compress_table(codec, 1, zeros, 500000, zeros + 500000, 520000, &stored),
	             0);
	cr_assert_lt(stored, TAIL_MAX - 40);
	footer.table_size = le32_put((uint32_t)stored);
	memcpy(blob.bytes + 8, zeros + 500000, stored);
	memcpy(blob.bytes + 8 + stored, &footer, sizeof(footer));
	blob.size = 8 + stored + sizeof(footer);
	cr_expect_eq(delta_table_parse(blob.bytes, blob.size, 1 << 30, &table, &err), -EBADMSG);
	cr_expect_not_null(strstr(err.msg, "frames, in a blob"), "%s", err.msg);
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

TestSuite(delta_writer, .init = make_dir, .fini = remove_dir);

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

static struct digest digest_of(uint32_t i)
{
	struct digest digest;

	sha256(&i, sizeof(i), &digest);
	return digest;
}

Test(delta_writer, publishes_frames_under_the_digest_of_all_bytes)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(delta_writer_free) struct delta_writer *w = NULL;
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	CLEANUP(free) char *bytes = NULL;
	CLEANUP(close) int fd = -1;
	const struct digest one = digest_of(1), two = digest_of(2);
	const struct digest bases[] = { digest_of(10), digest_of(11), digest_of(10) };
	struct digest digest, expected;
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];
	struct delta_frame frame;
	uint64_t size = 0;
	struct stat st;
	size_t len;
	uint32_t i;

	cr_assert_eq(delta_writer_open(dirfd, &w, &err), 0, "%s", err.msg);
	cr_assert_eq(delta_writer_append(w, &one, 50, "first", 5, &bases[1], 1, &err), 0, "%s",
	             err.msg);
	cr_assert_eq(delta_writer_append(w, &two, 60, "second", 6, bases, 3, &err), 0, "%s",
	             err.msg);
	cr_expect_eq(delta_writer_size(w), 11);
	cr_expect_eq(delta_writer_count(w), 2);
	cr_assert_eq(delta_writer_publish(w, &digest, &size, &err), 0, "%s", err.msg);

	cr_assert_eq(io_read_file(dirfd, digest_hex(&digest, hex), 1000, &bytes, &len, &err), 0,
	             "%s", err.msg);
	cr_expect_eq(len, size);
	cr_expect_eq(memcmp(bytes, "firstsecond", 11), 0);
	sha256(bytes, len, &expected);
	cr_expect(digest_equal(&digest, &expected));
	fd = openat(dirfd, hex, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0444);
	cr_assert_eq(delta_table_load(fd, &table, &err), 0, "%s", err.msg);
	cr_assert_eq(delta_table_n_bases(table), 2, "a base that is used often is listed once");
	cr_assert(delta_table_find(table, &two, &i));
	frame = delta_table_frame(table, i);
	cr_expect_eq(frame.off, 5);
	cr_expect_eq(frame.plain_size, 60);
	cr_assert_eq(frame.n_bases, 3);
	for (uint32_t k = 0; k < 3; k++)
		cr_expect(
			digest_equal(delta_table_base_digest(
					     table, delta_table_base(table, frame.first_base + k)),
		                     &bases[k]));
}

Test(delta_writer, keeps_tables_of_many_frames)
{
	enum { N = 5000 };
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(delta_writer_free) struct delta_writer *w = NULL;
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	CLEANUP(close) int fd = -1;
	char hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;
	struct digest digest;
	uint64_t size;

	cr_assert_eq(delta_writer_open(dirfd, &w, &err), 0, "%s", err.msg);
	for (uint32_t i = 0; i < N; i++) {
		struct digest chunk = digest_of(i), bases[3];

		for (uint32_t k = 0; k < 3; k++)
			bases[k] = digest_of(N + i / 2 + k);
		cr_assert_eq(delta_writer_append(w, &chunk, 1 + i, "0123456789", 1 + i % 10, bases,
		                                 3, &err),
		             0, "%s", err.msg);
	}
	cr_assert_eq(delta_writer_publish(w, &digest, &size, &err), 0, "%s", err.msg);
	fd = openat(dirfd, digest_hex(&digest, hex), O_RDONLY | O_CLOEXEC);
	cr_assert_eq(delta_table_load(fd, &table, &err), 0, "%s", err.msg);
	cr_assert_eq(delta_table_count(table), N);
	cr_expect_eq(delta_table_n_bases(table), N / 2 + 2);
	for (uint32_t i = 0; i < N; i += 7) {
		struct digest chunk = digest_of(i), base = digest_of(N + i / 2 + 1);
		struct delta_frame frame;
		uint32_t k;

		cr_assert(delta_table_find(table, &chunk, &k));
		frame = delta_table_frame(table, k);
		cr_expect_eq(frame.plain_size, 1 + i);
		cr_expect(
			digest_equal(delta_table_base_digest(
					     table, delta_table_base(table, frame.first_base + 1)),
		                     &base));
	}
}

Test(delta_writer, refuses_what_a_table_cannot_say_and_deltas_of_nothing)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(delta_writer_free) struct delta_writer *w = NULL;
	struct digest bases[FORMAT_PREFIX_CHUNKS_MAX + 1] = { { { 0 } } };
	struct digest d = digest_of(1), digest;
	uint64_t size;

	cr_assert_eq(delta_writer_open(dirfd, &w, NULL), 0);
	cr_expect_eq(delta_writer_append(w, &d, 1, "", 0, bases, 1, NULL), -EINVAL);
	cr_expect_eq(delta_writer_append(w, &d, 0, "x", 1, bases, 1, NULL), -EINVAL);
	cr_expect_eq(delta_writer_append(w, &d, FORMAT_CHUNK_MAX + 1, "x", 1, bases, 1, NULL),
	             -EINVAL);
	cr_expect_eq(delta_writer_append(w, &d, 1, "x", FORMAT_FRAME_MAX + 1, bases, 1, NULL),
	             -EINVAL);
	cr_expect_eq(delta_writer_append(w, &d, 1, "x", 1, bases, 0, NULL), -EINVAL);
	cr_expect_eq(delta_writer_append(w, &d, 1, "x", 1, bases, FORMAT_PREFIX_CHUNKS_MAX + 1,
	                                 NULL),
	             -EINVAL);
	cr_expect_eq(delta_writer_publish(w, &digest, &size, NULL), -EINVAL);
	cr_expect_eq(delta_writer_append(w, &d, 1, "x", 1, bases, FORMAT_PREFIX_CHUNKS_MAX, NULL),
	             0);
	cr_expect_eq(delta_writer_append(w, &d, 1, "x", 1, bases, 1, NULL), -EINVAL, "twice");
	cr_expect_eq(delta_writer_publish(w, &digest, &size, NULL), 0);
}

Test(delta_writer, leaves_nothing_behind_unless_published)
{
	CLEANUP(close) int dirfd = open_dir();
	struct delta_writer *w = NULL;
	struct digest d = digest_of(1);

	cr_assert_eq(delta_writer_open(dirfd, &w, NULL), 0);
	cr_assert_eq(delta_writer_append(w, &d, 50, "frame", 5, &d, 1, NULL), 0);
	cr_expect_not(is_empty());
	delta_writer_free(w);
	cr_expect(is_empty());
}

Test(delta_writer, files_that_are_no_deltas_have_no_table)
{
	CLEANUP(close) int dirfd = open_dir();
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	CLEANUP(close) int empty = openat(dirfd, "empty", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CLEANUP(close) int text = openat(dirfd, "text", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert(empty >= 0 && text >= 0);
	cr_assert_eq(io_pwrite(text, "no delta at all, just some text", 31, 0), 0);
	cr_expect_eq(delta_table_load(empty, &table, NULL), -EBADMSG);
	cr_expect_eq(delta_table_load(text, &table, NULL), -EBADMSG);
	cr_expect_null(table);
}
