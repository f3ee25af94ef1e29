/* SPDX-License-Identifier: Apache-2.0 */
/* borders: where they are in sound PNG, zip and tar files. */
#include "find_borders.h"
#include "prng.h"

/* ---- PNG ---- */

Test(borders, of_a_png_enclose_its_image_data)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t start = start_png(&b), end;

	for (int i = 0; i < 40; i++)
		built_png_chunk(&b, "IDAT", 8192);
	end = b.len;
	built_png_chunk(&b, "tEXt", 2000);
	built_png_chunk(&b, "IDAT", 2000); /* not consecutive: damage, or another's */
	built_png_chunk(&b, "IEND", 0);
	EXPECT(&b, start, end);
}

Test(borders, of_a_png_need_enough_image_data)
{
	CLEANUP(built_release) struct built less = { NULL, 0, 0 };
	CLEANUP(built_release) struct built enough = { NULL, 0, 0 };
	size_t start = start_png(&less);

	built_png_chunk(&less, "IDAT", MIN_RUN - 12 - 1);
	built_png_chunk(&less, "IEND", 0);
	EXPECT_NONE(&less);
	(void)start_png(&enough);
	built_png_chunk(&enough, "IDAT", MIN_RUN - 12);
	EXPECT(&enough, start); /* the end of the file is none */
	built_png_chunk(&enough, "IEND", 0);
	EXPECT(&enough, start, start + MIN_RUN);
}

/* ---- zip ---- */

Test(borders, of_a_zip_enclose_members_stored_or_compressed)
{
	struct built_member m[] = {
		{ .name = "a.png", .size = 2000, .local_extra = 28 },
		{ .name = "small", .size = MIN_RUN - 1 },
		{ .name = "b.txt", .size = MIN_RUN, .method = 8, .flags = 8 },
		{ .name = "secret", .size = 2000, .flags = 1 },
		{ .name = "dir/", .size = 0 },
		{ .name = "last", .size = 200000 },
	};
	struct built_zip z = { .members = m, .n = 6 };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };

	built_zip(&b, &z);
	EXPECT(&b, m[0].at, m[0].at + 2000, m[2].at, m[2].at + MIN_RUN, m[5].at, m[5].at + 200000);
}

Test(borders, of_a_zip_are_found_before_any_comment)
{
	/* An end record that ends too early. */
	static const char fake[64] = "PK\5\6 is how an end record begins";
	struct built_member m[] = { { .name = "a", .size = 2000 }, { .name = "b", .size = 2000 } };
	struct built_zip z = { .members = m, .n = 2, .comment = fake, .comment_len = sizeof(fake) };
	struct built_zip longest = { .members = m, .n = 2, .comment_len = UINT16_MAX };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	CLEANUP(built_release) struct built c = { NULL, 0, 0 };

	built_zip(&b, &z);
	EXPECT(&b, m[0].at, m[0].at + 2000, m[1].at, m[1].at + 2000);
	built_zip(&c, &longest);
	EXPECT(&c, m[0].at, m[0].at + 2000, m[1].at, m[1].at + 2000);
	built_add(&c, NULL, 1); /* more than any comment */
	EXPECT_NONE(&c);
}

Test(borders, of_a_zip_behind_a_prefix_are_in_the_same_places)
{
	for (int i = 0; i < 4; i++) {
		struct built_member m[] = { { .name = "a", .size = 2000, .zip64 = i & 1 } };
		struct built_zip z = { .members = m, .n = 1, .zip64 = i & 1 };
		CLEANUP(built_release) struct built b = { NULL, 0, 0 };

		built_add(&b, NULL, 12345);
		z.base = i & 2 ? b.len : 0; /* whether offsets count the prefix */
		built_zip(&b, &z);
		EXPECT(&b, m[0].at, m[0].at + 2000);
	}
}

Test(borders, of_a_zip64_enclose_members)
{
	struct built_member m[] = {
		{ .name = "a", .size = 2000, .zip64 = true },
		{ .name = "b", .size = 3000 },
		{ .name = "c", .size = 2000, .zip64 = true, .local_extra = 20, .method = 8 },
	};
	struct built_zip z = { .members = m, .n = 3, .zip64 = true };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };

	built_zip(&b, &z);
	EXPECT(&b, m[0].at, m[0].at + 2000, m[1].at, m[1].at + 3000, m[2].at, m[2].at + 2000);
	built_set_le(&b, z.end - 20, 0, 1); /* no locator: the end record has no offset */
	EXPECT_NONE(&b);
}

Test(borders, of_a_zip64_are_found_where_the_locator_says)
{
	struct built_member m[] = { { .name = "a", .size = 2000 } };
	struct built_zip z = { .members = m, .n = 1, .zip64 = true };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	CLEANUP(built_release) struct built wide = { NULL, 0, 0 };

	built_zip(&b, &z);
	/* 8 more bytes in the record, which a later version may have. */
	built_add(&wide, b.data, z.end - 20);
	built_add(&wide, NULL, 8);
	built_add(&wide, b.data + z.end - 20, b.len - (z.end - 20));
	EXPECT(&wide, m[0].at, m[0].at + 2000);
}

Test(borders, of_a_zip_in_any_order_ascend_and_are_told_once)
{
	struct built_member m[] = {
		{ .name = "a", .size = 2000 },
		{ .name = "b", .size = 3000 },
		{ .name = "c", .size = 4000 },
	};
	struct built_zip z = { .members = m, .n = 3 };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };

	built_zip(&b, &z);
	/* The directory: third, second, third. */
	built_set_le(&b, m[0].entry + 42, m[2].header, 4);
	built_set_le(&b, m[0].entry + 20, m[2].size, 4);
	EXPECT(&b, m[1].at, m[1].at + 3000, m[2].at, m[2].at + 4000);
}

Test(borders, a_png_in_a_zip_has_none_of_its_own)
{
	struct built_member m[] = { { .name = "a.png", .size = 5000 } };
	struct built_zip z = { .members = m, .n = 1 };
	CLEANUP(built_release) struct built png = { NULL, 0, 0 };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };

	(void)start_png(&png);
	built_png_chunk(&png, "IDAT", 3000);
	built_png_chunk(&png, "IEND", 0);
	built_zip(&b, &z);
	memcpy(b.data + m[0].at, png.data, png.len);
	EXPECT(&b, m[0].at, m[0].at + 5000);
}

/* ---- tar ---- */

Test(borders, of_a_tar_enclose_regular_members)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t first = built_tar_member(&b, '0', "a", NULL, 1500);
	size_t old, contiguous;

	(void)built_tar_member(&b, '5', "dir/", NULL, 0);
	(void)built_tar_member(&b, '0', "small", NULL, MIN_RUN - 1);
	(void)built_tar_header(&b, '1', "link whose target has a size", 5000);
	old = built_tar_member(&b, '\0', "old", NULL, 200000);
	(void)built_tar_member(&b, 'D', "names of a directory", NULL, 3000);
	contiguous = built_tar_member(&b, '7', "contiguous", NULL, MIN_RUN);
	built_tar_end(&b);
	(void)built_tar_member(&b, '0', "behind the end", NULL, 5000);
	EXPECT(&b, first, first + 1500, old, old + 200000, contiguous, contiguous + MIN_RUN);
}

Test(borders, of_a_tar_are_not_derailed_by_long_names_and_maps)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	static uint8_t map[1024];
	size_t sparse, first, last;

	(void)built_tar_member(&b, 'L', "././@LongLink", NULL, 2000);
	(void)built_tar_member(&b, 'K', "././@LongLink", NULL, 600);
	first = built_tar_member(&b, '0', "name cut off", NULL, 3000);
	sparse = built_tar_header(&b, 'S', "sparse", 3000);
	b.data[sparse + 482] = 1;
	built_tar_sum(&b, sparse);
	map[504] = 1;
	built_add(&b, map, sizeof(map));
	built_add(&b, NULL, 3072);
	last = built_tar_member(&b, '0', "last", NULL, 3000);
	EXPECT(&b, first, first + 3000, last, last + 3000);
}

Test(borders, of_a_tar_obey_sizes_in_extended_headers)
{
	static const char records[] =
		"19 comment= size=7\n30 mtime=1700000000.123456789\n13 size=5000\n";
	static const char global[] = "13 size=4000\n";
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t first, second;

	(void)built_tar_member(&b, 'g', "global", global, sizeof(global) - 1);
	(void)built_tar_member(&b, 'x', "extended", records, sizeof(records) - 1);
	(void)built_tar_member(&b, 'L', "././@LongLink", NULL, 2000);
	first = built_tar_header(&b, '0', "too large for the header", 0) + 512;
	built_add(&b, NULL, 5120);
	second = built_tar_member(&b, '0', "as its header says", NULL, 3000);
	EXPECT(&b, first, first + 5000, second, second + 3000);
}

Test(borders, of_a_tar_obey_binary_sizes)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t first = built_tar_header(&b, '0', "a", 0), second;

	memcpy(b.data + first + 124, "\x80\0\0\0\0\0\0\0\0\0\x0b\xb8", 12);
	built_tar_sum(&b, first);
	built_add(&b, NULL, 3072);
	second = built_tar_member(&b, '0', "b", NULL, 3000);
	EXPECT(&b, first + 512, first + 512 + 3000, second, second + 3000);
}

Test(borders, of_a_tar_end_at_a_wrong_checksum)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t first = built_tar_member(&b, '0', "a", NULL, 3000);
	size_t second = built_tar_member(&b, '0', "b", NULL, 3000);

	EXPECT(&b, first, first + 3000, second, second + 3000);
	b.data[second - 512]++;
	EXPECT(&b, first, first + 3000);
	b.data[0]++;
	EXPECT_NONE(&b);
}

/* ---- any file ---- */

Test(borders, other_files_have_none)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	struct prng prng = PRNG_INIT(1);
	struct borders none = find((const uint8_t *)"", 0, 0, NULL);

	cr_expect(none.n == 0 && !none.at);
	built_add(&b, NULL, 200000);
	EXPECT_NONE(&b);
	for (size_t i = 0; i < b.len; i++)
		b.data[i] = (uint8_t)prng_next(&prng);
	EXPECT_NONE(&b);
	b.len = 1;
	EXPECT_NONE(&b);
}

Test(borders, a_large_directory_needs_few_reads)
{
	enum { N = 100000 };
	CLEANUP(free) struct built_member *m = calloc(N, sizeof(*m));
	struct built_zip z = { .members = m, .n = N };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	CLEANUP(borders_release) struct borders found = { NULL, 0 };
	size_t n_reads;

	cr_assert_not_null(m);
	for (size_t i = 0; i < N; i++)
		m[i] = (struct built_member){ .name = "art/units/hero.dds", .size = 10 };
	m[N / 2].size = 2000;
	built_zip(&b, &z);
	found = find(b.data, b.len, MIN_RUN, &n_reads);
	cr_expect_eq(found.n, 2);
	cr_expect(n_reads < 130, "%zu reads for %zu bytes", n_reads, b.len - z.directory);
}
