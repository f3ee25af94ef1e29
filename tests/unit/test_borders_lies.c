/* SPDX-License-Identifier: Apache-2.0 */
/* borders: files that are damaged, or lie. */
#include "find_borders.h"
#include "prng.h"

Test(borders_lies, of_a_png_end_before_damage)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t start = start_png(&b), damaged;

	built_png_chunk(&b, "IDAT", 2000);
	damaged = b.len;
	built_png_chunk(&b, "IDAT", 2000);
	b.len--;
	EXPECT(&b, start, damaged);
	b.len++;
	built_set_le(&b, damaged, 0xff, 1); /* a length above 2^31 */
	EXPECT(&b, start, damaged);
	built_set_le(&b, damaged, 0, 1);
	built_set_le(&b, damaged + 4, '[', 1); /* no type */
	EXPECT(&b, start, damaged);
	built_set_le(&b, start - 13, '1', 1); /* not even before them */
	EXPECT_NONE(&b);
}

/* ---- zip ---- */

/* A zip of three members, to lie in; zip64 if asked for. */
struct victim {
	struct built b;
	struct built_member m[3];
	struct built_zip z;
};

static void victim_release_cleanup(struct victim *v)
{
	free(v->b.data);
}

static void victim_init(struct victim *v, bool zip64)
{
	*v = (struct victim){ .z = { .n = 3, .zip64 = zip64 } };
	for (size_t i = 0; i < 3; i++)
		v->m[i] = (struct built_member){ .name = "m", .size = 2000, .zip64 = zip64 };
	v->z.members = v->m;
	built_zip(&v->b, &v->z);
}

/* The second member has no borders, the others have theirs. */
static void expect_others(const struct victim *v)
{
	EXPECT(&v->b, v->m[0].at, v->m[0].at + 2000, v->m[2].at, v->m[2].at + 2000);
}

Test(borders_lies, members_that_are_not_where_a_zip_says_have_none)
{
	static const struct {
		size_t field; /* of the entry in the directory */
		uint64_t lie;
	} lies[] = {
		{ 20, 0x7fffffff },                     /* size */
		{ 20, 0xffffffff }, { 42, 0x7fffffff }, /* offset of the local header */
		{ 42, 0xffffffff }, { 42, 1 },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		CLEANUP(victim_release) struct victim v;

		victim_init(&v, false);
		built_set_le(&v.b, v.m[1].entry + lies[i].field, lies[i].lie, 4);
		expect_others(&v);
	}
}

Test(borders_lies, members_that_are_not_where_a_zip64_says_have_none)
{
	static const uint64_t lies[] = { UINT64_MAX, UINT64_MAX - 2000, INT64_MAX, 1ULL << 40 };

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		for (size_t field = 0; field < 3; field++) {
			CLEANUP(victim_release) struct victim v;

			victim_init(&v, true);
			built_set_le(&v.b, v.m[1].entry + 46 + 1 + 13 + 8 * field, lies[i], 8);
			if (field == 0) /* the plain size says nothing of places */
				EXPECT(&v.b, v.m[0].at, v.m[0].at + 2000, v.m[1].at,
				       v.m[1].at + 2000, v.m[2].at, v.m[2].at + 2000);
			else
				expect_others(&v);
		}
	}
}

Test(borders_lies, members_with_damaged_headers_have_none)
{
	CLEANUP(victim_release) struct victim v;

	victim_init(&v, false);
	built_set_le(&v.b, v.m[1].header, 0, 1);
	expect_others(&v);
	built_set_le(&v.b, v.m[1].header, 'P', 1);
	built_set_le(&v.b, v.m[1].header + 28, 0xffff, 2); /* data behind the directory */
	expect_others(&v);
}

Test(borders_lies, of_a_zip_end_at_a_damaged_directory)
{
	CLEANUP(victim_release) struct victim v;

	victim_init(&v, false);
	built_set_le(&v.b, v.m[1].entry + 30, 0xffff, 2); /* extra fields beyond the file */
	EXPECT(&v.b, v.m[0].at, v.m[0].at + 2000, v.m[1].at, v.m[1].at + 2000);
	built_set_le(&v.b, v.m[1].entry, 0, 1);
	EXPECT(&v.b, v.m[0].at, v.m[0].at + 2000);
	built_set_le(&v.b, v.m[0].entry, 0, 1);
	EXPECT_NONE(&v.b);
}

Test(borders_lies, a_zip_whose_directory_is_elsewhere_has_none)
{
	static const uint64_t lies[] = { UINT64_MAX, INT64_MAX, 1ULL << 40, 0xffffffff, 7 };

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		CLEANUP(victim_release) struct victim v, w;

		victim_init(&v, false);
		built_set_le(&v.b, v.z.end + 12, lies[i], 4);
		EXPECT_NONE(&v.b);
		victim_init(&w, true);
		built_set_le(&w.b, w.z.end - 20 - 56 + 40, lies[i], 8);
		EXPECT_NONE(&w.b);
		built_set_le(&w.b, w.z.end - 20 - 56 + 48, lies[i], 8);
		EXPECT_NONE(&w.b);
		built_set_le(&w.b, w.z.end - 20 - 56, 0, 1); /* so that the locator is asked */
		built_set_le(&w.b, w.z.end - 20 + 8, lies[i], 8);
		EXPECT_NONE(&w.b);
	}
}

/* ---- tar ---- */

Test(borders_lies, of_a_tar_end_at_a_member_larger_than_the_file)
{
	static const char *const sizes[] = {
		"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x80\0\0\1\0\0\0\0\0\0\0\0",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"77777777777",
		"777777777777",
		"00000005671",
		"12x\0\0\0\0\0\0\0\0\0",
		"\0\0\0\0\0\0\0\0\0\0\0\0",
		"            ",
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CLEANUP(built_release) struct built b = { NULL, 0, 0 };
		size_t first = built_tar_member(&b, '0', "a", NULL, 3000);
		size_t lie = built_tar_header(&b, '0', "b", 0);

		built_add(&b, NULL, 3000);
		memcpy(b.data + lie + 124, sizes[i], 12);
		built_tar_sum(&b, lie);
		EXPECT(&b, first, first + 3000);
	}
}

Test(borders_lies, of_a_tar_survive_lies_in_extended_headers)
{
	static const char *const records[] = {
		"0 size=2000\n",
		"1 size=2000\n",
		"99999999999999999999 size=2000\n",
		"18446744073709551615 size=2000\n",
		"9223372036854775807 size=2000\n",
		" size=2000\n",
		"500 size=2000\n",
		"13size=2000\n",
		"13",
		"13 size=x000\n",
		"31 size=99999999999999999999999\n",
	};

	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		CLEANUP(built_release) struct built b = { NULL, 0, 0 };
		size_t at;

		(void)built_tar_member(&b, 'x', "lie", records[i], strlen(records[i]));
		at = built_tar_member(&b, '0', "as its header says", NULL, 3000);
		EXPECT(&b, at, at + 3000);
	}
}

/* ---- any file ---- */

static void build_each(struct built b[static 3])
{
	struct built_member m[] = {
		{ .name = "a", .size = 1500 },
		{ .name = "b", .size = 100, .method = 8 },
		{ .name = "c", .size = 2000, .zip64 = true },
	};
	struct built_zip z = { .members = m, .n = 3, .zip64 = true, .comment_len = 9 };

	(void)start_png(&b[0]);
	built_png_chunk(&b[0], "IDAT", 2000);
	built_png_chunk(&b[0], "IEND", 0);
	built_zip(&b[1], &z);
	(void)built_tar_member(&b[2], 'x', "x", "13 size=2000\n", 13);
	(void)built_tar_member(&b[2], '0', "a", NULL, 2000);
	built_tar_end(&b[2]);
}

Test(borders_lies, of_cut_and_changed_files_are_inside_them)
{
	CLEANUP(built_release) struct built a = { NULL, 0, 0 };
	struct built b[3] = { { NULL, 0, 0 } };
	struct prng prng = PRNG_INIT(2);
	struct borders found;

	build_each(b);
	for (size_t i = 0; i < 3; i++) {
		for (size_t len = 0; len < b[i].len; len++) {
			found = find(b[i].data, len, 0, NULL);
			borders_release(&found);
		}
		for (int round = 0; round < 5000; round++) {
			a.len = 0;
			built_add(&a, b[i].data, b[i].len);
			for (int n = 0; n < 3; n++)
				a.data[prng_below(&prng, a.len)] = (uint8_t)prng_next(&prng);
			found = find(a.data, a.len, 0, NULL);
			borders_release(&found);
		}
		free(b[i].data);
	}
}

Test(borders_lies, whatever_read_fails_its_error_is_returned)
{
	struct built b[3] = { { NULL, 0, 0 } };

	build_each(b);
	/* Data that no window spans, so that there is more than one read. */
	built_add(&b[0], NULL, 100000);
	b[2].len -= 1024;
	(void)built_tar_member(&b[2], '0', "b", NULL, 100000);
	(void)built_tar_member(&b[2], '0', "c", NULL, 100000);
	for (size_t i = 0; i < 3; i++) {
		struct memory m = { .data = b[i].data, .size = b[i].len };
		struct borders found;
		size_t n;

		cr_assert_eq(borders_find(memory_read, &m, m.size, 1, &found), 0);
		cr_expect_gt(found.n, 0);
		borders_release(&found);
		cr_expect(!found.at && found.n == 0);
		n = m.n_reads;
		for (m.fail_at = 1; m.fail_at <= n; m.fail_at++) {
			m.n_reads = 0;
			cr_expect_eq(borders_find(memory_read, &m, m.size, 1, &found), -EIO);
			cr_expect(!found.at && found.n == 0);
		}
		free(b[i].data);
	}
}

/* A zip with more members than there may be borders, each over the one before. */
enum { MANY = (1 << 21) + 1000, LOCAL_SIZE = 30, ENTRY_SIZE = 46 };

static int many_read(void *arg, void *buf, size_t len, uint64_t off)
{
	static const uint8_t local[LOCAL_SIZE] = "PK\3\4";
	const uint64_t directory = (uint64_t)MANY * LOCAL_SIZE,
		       end = directory + (uint64_t)MANY * ENTRY_SIZE;
	struct built *last = arg;

	for (size_t i = 0; i < len; i++, off++) {
		uint64_t at = (off - directory) % ENTRY_SIZE;
		uint64_t header = (off - directory) / ENTRY_SIZE * LOCAL_SIZE;
		uint8_t byte = 0;

		if (off < directory)
			byte = local[off % LOCAL_SIZE];
		else if (off >= end)
			byte = last->data[off - end];
		else if (at < 4)
			byte = (uint8_t) "PK\1\2"[at];
		else if (at == 20)
			byte = 7; /* size */
		else if (at >= 42)
			byte = (uint8_t)(header >> 8 * (at - 42));
		((uint8_t *)buf)[i] = byte;
	}
	return 0;
}

Test(borders_lies, are_never_more_than_four_million)
{
	const uint64_t directory = (uint64_t)MANY * LOCAL_SIZE, size = (uint64_t)MANY * ENTRY_SIZE;
	CLEANUP(built_release) struct built last = { NULL, 0, 0 };
	struct built_zip z = { .n = 0 };
	struct borders found;

	built_zip(&last, &z);
	built_set_le(&last, 12, size, 4);
	built_set_le(&last, 16, directory, 4);
	cr_assert_eq(borders_find(many_read, &last, directory + size + last.len, 1, &found), 0);
	cr_expect_eq(found.n, 1 << 22);
	cr_expect_eq(found.at[found.n - 1], (1 << 21) * (uint64_t)LOCAL_SIZE + 7);
	borders_release(&found);
}
