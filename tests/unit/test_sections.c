/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "prng.h"
#include "unpacker.h"

enum { LAST = 12345, N = 4, SIZE = (N - 1) * (1 << 20) + LAST };

/* A file in sections, of bytes that look back at earlier ones wherever they may. */
struct fixture {
	uint8_t *plain;
	int packed; /* owned */
	struct sections sections;
	struct descriptor index;
};

static void make(struct fixture *f)
{
	CLEANUP(codec_sections_release) struct codec_sections codec = CODEC_SECTIONS_INIT;
	const struct codec_cut cut = { .level = 3, .jobs = 2, .each = CODEC_SECTION };
	CLEANUP(close) int in = memfd_create("plain", MFD_CLOEXEC);
	struct prng prng = PRNG_INIT(1);
	struct err err = ERR_INIT;

	*f = (struct fixture){ .plain = malloc(SIZE),
		               .packed = memfd_create("packed", MFD_CLOEXEC) };
	cr_assert(f->plain && in >= 0 && f->packed >= 0);
	for (size_t i = 0; i < SIZE; i++)
		f->plain[i] = i < 4096 || i % 7 == 0 ? (uint8_t)prng_next(&prng)
		                                     : f->plain[i - 4096];
	cr_assert_eq(io_pwrite(in, f->plain, SIZE, 0), 0);
	cr_assert_eq(codec_compress_parts(in, f->packed, &cut, &codec, &err), 0, "%s", err.msg);
	cr_assert_eq(codec.n, N);
	cr_assert_eq(sections_describe(f->packed, &codec, SIZE, &f->sections, &err), 0, "%s",
	             err.msg);
	f->index.size = (uint64_t)lseek(f->packed, 0, SEEK_END);
}

static void release(struct fixture *f)
{
	free(f->plain);
	(void)close(f->packed);
	sections_release(&f->sections);
}

/* A copy, as what takes sections is given. */
static struct sections copy_of(const struct sections *s)
{
	struct sections copy = *s;

	copy.list = calloc(s->n, sizeof(*copy.list));
	cr_assert_not_null(copy.list);
	memcpy(copy.list, s->list, s->n * sizeof(*copy.list));
	return copy;
}

static struct unpacker *unpack(const struct fixture *f, int out)
{
	struct sections sections = copy_of(&f->sections);
	struct unpacker *u = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(unpacker_new(fcntl(f->packed, F_DUPFD_CLOEXEC, 0),
	                          fcntl(out, F_DUPFD_CLOEXEC, 0), &sections, &u, &err),
	             0, "%s", err.msg);
	cr_assert_null(sections.list);
	return u;
}

/* Whether section @i of @out is as it should be. */
static bool is_there(const struct fixture *f, int out, uint32_t i)
{
	CLEANUP(free) uint8_t *got = malloc(CODEC_SECTION);
	uint32_t size = section_plain_size(&f->sections, i);

	cr_assert_not_null(got);
	cr_assert_eq(io_pread(out, got, size, (uint64_t)i * CODEC_SECTION), 0);
	return memcmp(got, f->plain + (size_t)i * CODEC_SECTION, size) == 0;
}

Test(sections, are_one_frame_for_who_knows_nothing_of_them)
{
	CLEANUP(close) int out = memfd_create("out", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct fixture f;

	make(&f);
	cr_assert_lt(f.index.size, SIZE / 2);
	cr_assert_eq(codec_decompress_file(f.packed, out, SIZE, NULL, NULL, &err), 0, "%s",
	             err.msg);
	for (uint32_t i = 0; i < N; i++)
		cr_expect(is_there(&f, out, i), "section %u", i);
	release(&f);
}

Test(sections, are_unpacked_when_they_are_needed)
{
	CLEANUP(close) int out = memfd_create("out", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct fixture f;
	struct unpacker *u;

	make(&f);
	u = unpack(&f, out);
	cr_assert_eq(lseek(out, 0, SEEK_END), SIZE);
	cr_expect_eq(unpacker_need(u, 2 * CODEC_SECTION + 5, 10, &err), 0, "%s", err.msg);
	cr_expect(is_there(&f, out, 2) && !is_there(&f, out, 1) && !is_there(&f, out, 3));
	/* Across a border, and beyond the end. */
	cr_expect_eq(unpacker_need(u, 3 * CODEC_SECTION - 1, UINT64_MAX, &err), 0, "%s", err.msg);
	cr_expect(is_there(&f, out, 3) && !is_there(&f, out, 0));
	cr_expect_eq(unpacker_need(u, SIZE, 1, &err), 0);
	cr_expect_eq(unpacker_finish(u, &err), 0, "%s", err.msg);
	for (uint32_t i = 0; i < N; i++)
		cr_expect(is_there(&f, out, i), "section %u", i);
	unpacker_unref(u);
	release(&f);
}

Test(sections, that_are_damaged_fail_alone_and_may_heal)
{
	CLEANUP(close) int out = memfd_create("out", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct fixture f;
	struct unpacker *u;
	uint64_t at;
	uint8_t byte;

	make(&f);
	u = unpack(&f, out);
	at = f.sections.list[1].off + f.sections.list[1].size / 2;
	cr_assert_eq(io_pread(f.packed, &byte, 1, at), 0);
	byte ^= 1;
	cr_assert_eq(io_pwrite(f.packed, &byte, 1, at), 0);
	cr_expect_eq(unpacker_need(u, CODEC_SECTION, 1, &err), -EBADMSG);
	cr_expect_str_eq(err.msg, "section 1: damaged: its digest is another");
	cr_expect_eq(unpacker_finish(u, &err), -EBADMSG);
	for (uint32_t i = 0; i < N; i++)
		cr_expect_eq(is_there(&f, out, i), i != 1, "section %u", i);
	byte ^= 1;
	cr_assert_eq(io_pwrite(f.packed, &byte, 1, at), 0);
	cr_expect_eq(unpacker_need(u, CODEC_SECTION, 1, &err), 0, "%s", err.msg);
	cr_expect(is_there(&f, out, 1));
	/* The file ends before the last one does. */
	unpacker_unref(u);
	cr_assert_eq(ftruncate(f.packed, (off_t)f.sections.list[N - 1].off + 1), 0);
	cr_assert_eq(ftruncate(out, 0), 0);
	u = unpack(&f, out);
	cr_expect_eq(unpacker_need(u, SIZE - 1, 1, &err), -EBADMSG);
	unpacker_unref(u);
	release(&f);
}

Test(sections, are_not_waited_for_when_nobody_wants_them)
{
	CLEANUP(close) int out = memfd_create("out", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct fixture f;
	struct unpacker *u;

	make(&f);
	u = unpacker_ref(unpack(&f, out));
	unpacker_unref(u);
	unpacker_cancel(u);
	cr_expect_eq(unpacker_finish(u, &err), -ECANCELED);
	cr_expect(!is_there(&f, out, 0));
	cr_expect_eq(unpacker_need(u, 0, 1, &err), 0, "%s", err.msg);
	cr_expect(is_there(&f, out, 0));
	unpacker_unref(u);
	release(&f);
}

/* A config with the sections of @f, changed in one place. */
static json_t *config_of(const struct fixture *f)
{
	json_t *config = json_pack("{s:o}", "indexSections", sections_json(&f->sections));

	cr_assert_not_null(config);
	return config;
}

static int parse(json_t *config, const struct fixture *f, struct sections *ret)
{
	struct err err = ERR_INIT;
	int r = sections_parse(config, &f->index, ret, &err);

	cr_expect(r >= 0 || strncmp(err.msg, "config: ", 8) == 0, "%s", err.msg);
	return r;
}

Test(sections, are_what_the_config_says)
{
	CLEANUP(sections_release) struct sections got = SECTIONS_INIT;
	json_t *config, *none = json_object();
	struct fixture f;

	make(&f);
	config = config_of(&f);
	cr_expect_eq(parse(none, &f, &got), 0);
	cr_assert_eq(parse(config, &f, &got), 1);
	cr_expect_eq(got.plain_size, SIZE);
	cr_assert_eq(got.n, N);
	for (uint32_t i = 0; i < N; i++)
		cr_expect(got.list[i].off == f.sections.list[i].off &&
		          got.list[i].size == f.sections.list[i].size &&
		          digest_equal(&got.list[i].digest, &f.sections.list[i].digest));
	json_decref(config);
	json_decref(none);
	release(&f);
}

Test(sections, of_a_config_that_lies_are_refused)
{
	static const struct {
		const char *key;
		json_int_t value;
		int expected;
	} lies[] = {
		{ "plainSize", 0, -EBADMSG },
		{ "plainSize", SIZE + CODEC_SECTION, -EBADMSG }, /* one section more */
		{ "plainSize", INT64_MAX, -EBADMSG },
		{ "sectionSize", -1, -EBADMSG },
		{ "sectionSize", CODEC_SECTION / 2, 0 }, /* of somebody else */
		{ "offset", -5, -EBADMSG },
		{ "offset", 1 << 30, -EBADMSG },
		{ "sections", 1, -EBADMSG },
	};
	struct sections got = SECTIONS_INIT;
	struct fixture f;

	make(&f);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		json_t *config = config_of(&f);

		cr_assert_eq(json_object_set_new(json_object_get(config, "indexSections"),
		                                 lies[i].key, json_integer(lies[i].value)),
		             0);
		cr_expect_eq(parse(config, &f, &got), lies[i].expected, "%s %lld", lies[i].key,
		             (long long)lies[i].value);
		cr_expect_null(got.list);
		json_decref(config);
	}
	for (json_int_t size = 0; size <= SECTION_PACKED_MAX + 1; size += SECTION_PACKED_MAX + 1) {
		json_t *config = config_of(&f);
		json_t *list =
			json_object_get(json_object_get(config, "indexSections"), "sections");

		cr_assert_eq(json_object_set_new(json_array_get(list, N - 1), "size",
		                                 json_integer(size)),
		             0);
		cr_expect_eq(parse(config, &f, &got), -EBADMSG);
		json_decref(config);
	}
	/* All of them together are longer than the blob. */
	f.index.size = f.sections.list[N - 1].off + f.sections.list[N - 1].size - 1;
	json_t *config = config_of(&f);
	cr_expect_eq(parse(config, &f, &got), -EBADMSG);
	json_decref(config);
	release(&f);
}

/* Compress the fixture's bytes in parts. */
static int compress_parts(const struct fixture *f, const struct codec_cut *cut, uint32_t *ret_n)
{
	CLEANUP(codec_sections_release) struct codec_sections parts = CODEC_SECTIONS_INIT;
	CLEANUP(close) int in = memfd_create("plain", MFD_CLOEXEC);
	int out = memfd_create("parts", MFD_CLOEXEC);
	struct err err = ERR_INIT;

	cr_assert(in >= 0 && out >= 0);
	cr_assert_eq(io_pwrite(in, f->plain, SIZE, 0), 0);
	cr_assert_eq(codec_compress_parts(in, out, cut, &parts, &err), 0, "%s", err.msg);
	*ret_n = parts.n;
	return out;
}

static void ignore(void *arg, const void *data, size_t len)
{
	(void)arg;
	(void)data;
	(void)len;
}

static void expect_plain(const struct fixture *f, int packed)
{
	CLEANUP(close) int out = memfd_create("out", MFD_CLOEXEC);
	CLEANUP(free) uint8_t *plain = malloc(SIZE);
	struct err err = ERR_INIT;

	cr_assert(out >= 0 && plain);
	cr_assert_eq(codec_decompress_file(packed, out, SIZE, ignore, NULL, &err), 0, "%s",
	             err.msg);
	cr_assert_eq(lseek(out, 0, SEEK_END), SIZE);
	cr_assert_eq(io_pread(out, plain, SIZE, 0), 0);
	cr_expect_eq(memcmp(plain, f->plain, SIZE), 0);
}

static void expect_same_bytes(int a, int b)
{
	off_t size = lseek(a, 0, SEEK_END);
	CLEANUP(free) uint8_t *x = malloc((size_t)size);
	CLEANUP(free) uint8_t *y = malloc((size_t)size);

	cr_assert_eq(lseek(b, 0, SEEK_END), size);
	cr_assert(x && y);
	cr_assert_eq(io_pread(a, x, (size_t)size, 0), 0);
	cr_assert_eq(io_pread(b, y, (size_t)size, 0), 0);
	cr_expect_eq(memcmp(x, y, (size_t)size), 0, "bytes depend on the number of threads");
}

Test(sections, parts_of_any_size_are_one_frame)
{
	static const struct {
		uint64_t first, each;
		uint32_t n;
	} cuts[] = {
		{ 0, SIZE, 1 },           { 0, (uint64_t)SIZE * 2, 1 },
		{ SIZE - 1, 1 << 20, 2 }, { SIZE, 1000, 1 },
		{ 1, SIZE, 2 },           { 3000000, 300, 528 },
		{ 0, 200000, 16 },        { 1234567, 700000, 4 },
	};
	struct fixture f;

	make(&f);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct codec_cut cut = { .level = 5,
			                 .jobs = 1,
			                 .first = cuts[i].first,
			                 .each = cuts[i].each };
		uint32_t n;
		CLEANUP(close) int one = compress_parts(&f, &cut, &n);
		CLEANUP(close) int more = -1;

		cr_expect_eq(n, cuts[i].n, "%u parts instead of %u", n, cuts[i].n);
		expect_plain(&f, one);
		cut.jobs = 3;
		more = compress_parts(&f, &cut, &n);
		expect_same_bytes(one, more);
	}
	release(&f);
}

/* The bytes that @cut asks for, once what is begun before has been. */
static int compress_begun(const struct fixture *f, struct codec_cut cut)
{
	CLEANUP(codec_ahead_free) struct codec_ahead *ahead = NULL;
	CLEANUP(codec_sections_release) struct codec_sections parts = CODEC_SECTIONS_INIT;
	CLEANUP(close) int in = memfd_create("plain", MFD_CLOEXEC);
	int out = memfd_create("parts", MFD_CLOEXEC);
	const uint64_t end = cut.front + cut.first;
	struct err err = ERR_INIT;

	cr_assert(in >= 0 && out >= 0);
	/* Nothing else is there yet. */
	cr_assert_eq(io_pwrite(in, f->plain + cut.front, cut.first, cut.front), 0);
	ahead = codec_ahead_begin(in, &cut);
	cr_assert_not_null(ahead);
	cr_assert_eq(io_pwrite(in, f->plain, cut.front, 0), 0);
	cr_assert_eq(io_pwrite(in, f->plain + end, SIZE - end, end), 0);
	cut.ahead = ahead;
	cr_assert_eq(codec_compress_parts(in, out, &cut, &parts, &err), 0, "%s", err.msg);
	return out;
}

Test(sections, a_part_that_was_begun_before_is_the_same)
{
	static const uint64_t cuts[][3] = {
		{ 4096, 1000000, SIZE }, { 0, 1000000, 700000 }, { 300000, SIZE - 300000, 1 << 20 },
		{ 1, 1, 500000 },        { 900000, 2, 300000 },
	};
	struct fixture f;

	make(&f);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		for (unsigned jobs = 1; jobs < 4; jobs++) {
			const struct codec_cut cut = { .level = 4,
				                       .jobs = jobs,
				                       .front = cuts[i][0],
				                       .first = cuts[i][1],
				                       .each = cuts[i][2] };
			uint32_t n;
			CLEANUP(close) int now = compress_parts(&f, &cut, &n);
			CLEANUP(close) int begun = compress_begun(&f, cut);

			expect_plain(&f, begun);
			expect_same_bytes(now, begun);
		}
	}
	release(&f);
}
