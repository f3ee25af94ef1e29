/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "fill_internal.h"
#include "fixture.h"

Test(fill, object_gets_the_bytes_of_the_file)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0, "%s", err.msg);
	cr_assert_not(object_complete(obj));
	cr_assert_eq(fill_object(f.fill, map, obj, &err), 0, "%s", err.msg);
	expect_bytes(&f, 0, obj);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), map->n);
	cr_assert_eq(count(&f, STAT_BYTES_DECOMPRESSED), FIXTURE_BIG);
}

Test(fill, range_costs_only_its_chunks)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	const uint64_t chunk = FLAT_CHUNK;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_range(f.fill, map, obj, chunk * 3 - 1, 2, &err), 0);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), 2);
	cr_assert(object_covers(obj, chunk * 2, chunk * 2));
	cr_assert_not(object_covers(obj, 0, 1));
	cr_assert_not(object_complete(obj));
	cr_assert_eq(object_placed_bytes(obj), chunk * 2);
}

Test(fill, map_of_a_range_fills_no_more_than_the_range)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *whole = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	const uint64_t chunk = FLAT_CHUNK;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &whole, &obj, &err), 0);
	for (uint64_t off = 0; off < FIXTURE_BIG; off += chunk / 2) {
		CLEANUP(extent_map_unref) struct extent_map *map = NULL;
		const uint64_t end = off + chunk / 2 < FIXTURE_BIG ? off + chunk / 2 : FIXTURE_BIG;
		const uint64_t filled = (end + chunk - 1) / chunk * chunk;

		cr_assert_eq(extent_map_load_range(f.img, &whole->content, off, end - off, &map,
		                                   &err),
		             0, "%s", err.msg);
		cr_assert_leq(map->n, 2);
		cr_assert_eq(fill_range(f.fill, map, obj, off, end - off, &err), 0);
		cr_assert_eq(object_placed_bytes(obj), filled < FIXTURE_BIG ? filled : FIXTURE_BIG);
	}
	expect_bytes(&f, 0, obj);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), whole->n);
}

Test(fill, map_that_is_loaded_later_fills_all)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *whole = NULL;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &whole, &obj, &err), 0);
	cr_assert_eq(extent_map_later(f.img, &whole->content, &map), 0);
	cr_assert_eq(fill_later(f.fill, map, obj, FILL_OPEN, fill_fixture_count_done, &f), 0);
	while (__atomic_load_n(&f.n_done, __ATOMIC_ACQUIRE) == 0)
		(void)sched_yield();
	expect_bytes(&f, 0, obj);
}

Test(fill, small_files_of_one_chunk_are_placed_together)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	for (size_t i = 2; i < FIXTURE_FILES; i++) {
		CLEANUP(extent_map_unref) struct extent_map *map = NULL;
		CLEANUP(object_unref) struct object *obj = NULL;

		cr_assert_eq(fill_fixture_open(&f, i, &map, &obj, &err), 0);
		cr_assert_eq(object_complete(obj), i > 2);
		cr_assert_eq(fill_object(f.fill, map, obj, &err), 0, "%s", err.msg);
		expect_bytes(&f, i, obj);
	}
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), 1);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED_AGAIN), 0);
}

Test(fill, chunk_that_another_object_holds_is_copied)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *big_map = NULL;
	CLEANUP(object_unref) struct object *big = NULL;
	CLEANUP(extent_map_unref) struct extent_map *twin_map = NULL;
	CLEANUP(object_unref) struct object *twin = NULL;
	struct err err = ERR_INIT;
	uint64_t before;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &big_map, &big, &err), 0);
	cr_assert_eq(fill_fixture_open(&f, 1, &twin_map, &twin, &err), 0);
	cr_assert_eq(fill_object(f.fill, big_map, big, &err), 0);
	before = count(&f, STAT_CHUNKS_DECOMPRESSED);
	cr_assert_eq(fill_object(f.fill, twin_map, twin, &err), 0);
	expect_bytes(&f, 1, twin);
	/* The first three chunks differ: 25000 bytes. */
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED) - before, 3);
	cr_assert_eq(count(&f, STAT_CHUNKS_COPIED), twin_map->n - 3);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED_AGAIN), 0);
	cr_assert_eq(count(&f, STAT_CHUNK_REQUESTS),
	             count(&f, STAT_CHUNK_HITS) + count(&f, STAT_CHUNKS_DECOMPRESSED));
}

Test(fill, background_completes_an_object)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_later(f.fill, map, obj, FILL_OPEN, fill_fixture_count_done, &f), 0);
	while (__atomic_load_n(&f.n_done, __ATOMIC_ACQUIRE) == 0)
		(void)sched_yield();
	expect_bytes(&f, 0, obj);
}

Test(fill, cancel_ends_background_work_and_calls_done)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct err err = ERR_INIT;
	enum { TASKS = 50 };

	make_sample(&f, REGION_SIZE);
	for (size_t i = 0; i < TASKS; i++) {
		CLEANUP(extent_map_unref) struct extent_map *map = NULL;
		CLEANUP(object_unref) struct object *obj = NULL;

		cr_assert_eq(fill_fixture_open(&f, i % FIXTURE_FILES, &map, &obj, &err), 0);
		cr_assert_eq(fill_later(f.fill, map, obj, (enum fill_priority)(i % 3),
		                        fill_fixture_count_done, &f),
		             0);
	}
	fill_cancel(f.fill, f.img);
	cr_assert_eq(__atomic_load_n(&f.n_done, __ATOMIC_ACQUIRE), TASKS);
}

Test(fill, full_region_says_so_and_reading_past_it_works)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(free) uint8_t *bytes = malloc(FIXTURE_BIG);
	struct object *obj = NULL;
	struct content content;
	struct err err = ERR_INIT;

	make_sample(&f, FIXTURE_BIG / 2);
	cr_assert_eq(flat_image_content(f.img, f.name[0], &content, &err), 0);
	cr_assert_eq(region_get(f.region, &content.digest, content.size, &obj), -ENOSPC);
	cr_assert_null(obj);
	cr_assert_eq(extent_map_load(f.img, &content, &map, &err), 0);
	cr_assert_eq(fill_read(f.fill, map, 1, FIXTURE_BIG - 2, bytes, &err), 0, "%s", err.msg);
	cr_assert_arr_eq(bytes, f.bytes[0] + 1, FIXTURE_BIG - 2);
}

/* Fill file @i and compare its bytes. */
static void fill_file(struct fill_fixture *f, size_t i)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(fill_fixture_open(f, i, &map, &obj, &err), 0, "%s", err.msg);
	cr_assert_eq(fill_object(f->fill, map, obj, &err), 0, "%s", err.msg);
	expect_bytes(f, i, obj);
}

static void expect_counts(const struct fill_fixture *f, uint64_t decompressed, uint64_t again)
{
	cr_assert_eq(count(f, STAT_CHUNKS_DECOMPRESSED), decompressed);
	cr_assert_eq(count(f, STAT_CHUNKS_DECOMPRESSED_AGAIN), again);
	cr_assert_eq(count(f, STAT_CHUNK_REQUESTS), count(f, STAT_CHUNK_HITS) + decompressed);
}

Test(fill, files_of_many_parts_cost_each_chunk_once)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	uint64_t copied;

	make_releases(&f, RELEASE_CHUNK);
	for (size_t i = 0; i < RELEASE_FILES; i++)
		fill_file(&f, i);
	expect_counts(&f, RELEASE_CHUNKS, 0);
	copied = count(&f, STAT_CHUNKS_COPIED);
	cr_assert_leq(copied, 1, "what has one place only is placed, not copied");
	/* The later release wants runs that lie in several objects each. */
	for (size_t i = f.n_files; i-- > RELEASE_FILES;)
		fill_file(&f, i);
	expect_counts(&f, RELEASE_CHUNKS, 0);
	cr_assert_gt(count(&f, STAT_CHUNKS_COPIED), copied);
}

Test(fill, parts_of_one_chunk_are_placed_in_all_files_that_have_them)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;
	uint64_t chunk;

	make_releases(&f, RELEASE_CHUNK);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0, "%s", err.msg);
	cr_assert_eq(fill_range(f.fill, map, obj, 0, 1, &err), 0, "%s", err.msg);
	chunk = map->extent[0].chunk.id;
	for (size_t i = 0; i < RELEASE_FILES; i++) {
		CLEANUP(extent_map_unref) struct extent_map *other_map = NULL;
		CLEANUP(object_unref) struct object *other = NULL;

		cr_assert_eq(fill_fixture_open(&f, i, &other_map, &other, &err), 0);
		for (uint32_t k = 0; k < other_map->n; k++) {
			const struct extent *x = &other_map->extent[k];
			bool twice = i == 1 && k + 1 == other_map->n;

			cr_assert_eq(object_covers(other, x->off, x->len),
			             x->chunk.id == chunk && !twice, "file %zu, extent %u", i, k);
		}
	}
	expect_counts(&f, 1, 0);
}

Test(fill, later_release_may_come_first)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;

	make_releases(&f, RELEASE_CHUNK);
	for (size_t i = f.n_files; i-- > 0;)
		fill_file(&f, i);
	expect_counts(&f, RELEASE_CHUNKS, 0);
}

/* Nobody has placed what the first release does not use: the second decompression is counted. */
Test(fill, parts_that_only_a_later_release_uses_cost_their_chunk_again)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;

	make_releases(&f, RELEASE_CHUNK / 2);
	for (size_t i = 0; i < f.n_files; i++)
		fill_file(&f, i);
	expect_counts(&f, (uint64_t)2 * RELEASE_CHUNKS, RELEASE_CHUNKS);
}

/* Read file @i past the region in steps that begin and end within parts. */
static void read_file(struct fill_fixture *f, size_t i, size_t step)
{
	struct image *img = i < RELEASE_FILES ? f->img : f->later;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(free) uint8_t *bytes = malloc(f->file[i].size);
	struct content content;
	struct err err = ERR_INIT;

	cr_assert_eq(flat_image_content(img, f->name[i], &content, &err), 0);
	cr_assert_eq(extent_map_load(img, &content, &map, &err), 0);
	for (size_t off = 0; off < f->file[i].size; off += step) {
		size_t left = f->file[i].size - off;

		cr_assert_eq(fill_read(f->fill, map, off, left < step ? left : step, bytes + off,
		                       &err),
		             0, "%s", err.msg);
	}
	cr_assert_arr_eq(bytes, f->bytes[i], f->file[i].size);
}

Test(fill, reading_past_the_region_decompresses_a_chunk_once_for_all_its_parts)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;

	make_releases(&f, RELEASE_CHUNK);
	read_file(&f, 0, f.file[0].size);
	expect_counts(&f, 2, 0);
	for (size_t i = 0; i < f.n_files; i++)
		read_file(&f, i, 211);
}

Test(fill, reading_past_the_region_copies_what_lies_there)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;

	make_releases(&f, RELEASE_CHUNK);
	for (size_t i = 0; i < RELEASE_FILES; i++)
		fill_file(&f, i);
	for (size_t i = 0; i < f.n_files; i++)
		read_file(&f, i, 1000);
	expect_counts(&f, RELEASE_CHUNKS, 0);
}

enum {
	MIB = 1 << 20,
	LARGE = 5 * MIB, /* more than one chunk can have */
	SMALL = 10,
};

/* Open one more image, made of @file. */
static void open_more(const struct fill_fixture *f, const struct flat_file *file, size_t n,
                      struct image **ret)
{
	char dir[sizeof(f->dir) + 16];
	struct err err = ERR_INIT;

	(void)snprintf(dir, sizeof(dir), "%s/more", f->dir);
	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_assert_eq(flat_image_open(dir, file, n, ret, &err), 0, "%s", err.msg);
}

/* Fill file @name of @img. Returns a reference to its object. */
static struct object *fill_more(struct fill_fixture *f, struct image *img, const char *name)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	struct object *obj = NULL;
	struct content content;
	struct err err = ERR_INIT;

	cr_assert_eq(flat_image_content(img, name, &content, &err), 0);
	cr_assert_eq(region_get(f->region, &content.digest, content.size, &obj), 0);
	cr_assert_eq(extent_map_load(img, &content, &map, &err), 0);
	cr_assert_eq(fill_object(f->fill, map, obj, &err), 0, "%s", err.msg);
	cr_assert(object_complete(obj));
	return obj;
}

/* An image of a file of LARGE bytes that begins in the chunk of a small one. */
static void open_with_large(struct fill_fixture *f, uint8_t *bytes, struct image **ret)
{
	struct flat_part small = { .chunk = bytes, .chunk_size = MIB, .len = SMALL };
	struct flat_part large[LARGE / MIB];
	struct flat_file file[] = {
		{ "large", bytes + SMALL, LARGE - SMALL, large, LARGE / MIB },
		{ "small", bytes, SMALL, &small, 1 },
	};

	for (size_t i = 0; i < LARGE; i++)
		bytes[i] = (uint8_t)(i / 100 * 7 + i / MIB);
	for (size_t i = 0; i < LARGE / MIB; i++)
		large[i] = (struct flat_part){ bytes + i * MIB, MIB, 0, MIB };
	large[0].off = SMALL;
	large[0].len -= SMALL;
	open_more(f, file, 2, ret);
}

/* Fill that small file in a region of @region_size. Returns the number of objects that get bytes. */
static uint64_t objects_after_small(uint64_t region_size)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(free) uint8_t *bytes = malloc(LARGE);
	CLEANUP(image_close) struct image *img = NULL;
	struct region_usage usage;

	make_sample(&f, region_size);
	open_with_large(&f, bytes, &img);
	object_unref(fill_more(&f, img, "small"));
	region_usage(f.region, &usage);
	return usage.objects;
}

Test(fill, large_file_that_nobody_opened_leaves_half_of_the_region_to_others)
{
	cr_assert_eq(objects_after_small((uint64_t)3 * LARGE), 2);
	cr_assert_eq(objects_after_small((uint64_t)3 * LARGE / 2), 1);
}

/*
 * An image says that the start of its chunk is a content which is complete, and
 * has other bytes. That is not where a file gets the chunk's bytes from.
 */
Test(fill, only_bytes_that_come_from_a_chunk_are_copied_as_its_bytes)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(image_close) struct image *img = NULL;
	CLEANUP(object_unref) struct object *start = NULL;
	uint8_t chunk[3000], bytes[1000];
	const struct flat_part part[] = {
		{ .chunk = chunk, .chunk_size = sizeof(chunk), .off = 0, .len = FIXTURE_SMALL + 2 },
		{ .chunk = chunk, .chunk_size = sizeof(chunk), .off = 0, .len = 500 },
		{ .chunk = chunk, .chunk_size = sizeof(chunk), .off = 1500, .len = 1500 },
	};
	struct flat_file file[] = {
		{ "lie", NULL, FIXTURE_SMALL + 2, &part[0], 1 },
		{ "start", chunk, 500, &part[1], 1 },
		{ "the rest", chunk + 1500, 1500, &part[2], 1 },
	};

	make_sample(&f, REGION_SIZE);
	memset(chunk, 'x', sizeof(chunk));
	file[0].data = f.bytes[2];
	cr_assert_eq(f.file[2].size, file[0].size);
	fill_file(&f, 2);
	open_more(&f, file, 3, &img);
	object_unref(fill_more(&f, img, "the rest"));
	start = fill_more(&f, img, "start");
	cr_assert_eq(object_read(start, bytes, 500, 0), 0);
	cr_assert_arr_eq(bytes, chunk, 500);
}

/* Make of @bytes an image of one file of LARGE bytes, cut every @chunk_size. */
static void open_large(struct fill_fixture *f, uint8_t *bytes, size_t chunk_size,
                       struct image **ret)
{
	struct flat_part part[LARGE / (MIB / 4) + 1];
	struct flat_file file = { "large", bytes, LARGE, part, 0 };

	for (size_t i = 0; i < LARGE; i++)
		bytes[i] = (uint8_t)(i / 100 * 7 + i / MIB);
	for (size_t off = 0; off < LARGE; off += chunk_size) {
		size_t len = LARGE - off < chunk_size ? LARGE - off : chunk_size;

		part[file.n_parts++] = (struct flat_part){ bytes + off, len, 0, len };
	}
	open_more(f, &file, 1, ret);
}

/* Map and object of it. */
static void get_large(struct fill_fixture *f, struct image *img, struct extent_map **ret_map,
                      struct object **ret_obj)
{
	struct content content;
	struct err err = ERR_INIT;

	cr_assert_eq(flat_image_content(img, "large", &content, &err), 0);
	cr_assert_eq(extent_map_load(img, &content, ret_map, &err), 0);
	cr_assert_eq(region_get(f->region, &content.digest, content.size, ret_obj), 0);
}

Test(fill, whole_chunk_is_decompressed_where_nothing_is_placed)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(free) uint8_t *bytes = malloc(LARGE), *got = malloc(LARGE);
	CLEANUP(image_close) struct image *img = NULL;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	struct err err = ERR_INIT;
	struct target t;

	make_sample(&f, REGION_SIZE);
	open_large(&f, bytes, MIB, &img);
	get_large(&f, img, &map, &obj);
	target_open(&t, obj);
	if (!t.base)
		cr_skip_test("no huge pages here");
	cr_assert_eq(t.mapped, (size_t)4 * MIB);
	cr_assert_eq(place_direct(f.fill, img, reader, &t, &map->extent[1], &err), 1, "%s",
	             err.msg);
	cr_assert(object_covers(obj, MIB, MIB));
	cr_assert_eq(object_placed_bytes(obj), MIB);
	cr_assert_eq(object_read(obj, got, MIB, MIB), 0);
	cr_assert_arr_eq(got, bytes + MIB, MIB);
	/* One byte of the next can be read already; the last lies on small pages. */
	cr_assert_eq(object_place(obj, bytes + (size_t)3 * MIB - 1, 1, (uint64_t)3 * MIB - 1), 0);
	cr_assert_eq(place_direct(f.fill, img, reader, &t, &map->extent[2], &err), 0);
	cr_assert_eq(place_direct(f.fill, img, reader, &t, &map->extent[4], &err), 0);
	target_close(&t);
	cr_assert_eq(fill_object(f.fill, map, obj, &err), 0, "%s", err.msg);
	cr_assert_eq(object_read(obj, got, LARGE, 0), 0);
	cr_assert_arr_eq(got, bytes, LARGE);
}

/* Flip a byte in the middle of the only pack of the image in @dir. */
static void damage_pack(const char *dir, const struct image *img)
{
	const struct pack_info *pack = index_pack(image_index(img), 1);
	char hex[DIGEST_HEX_SIZE];
	char path[256];
	uint8_t byte;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/layout/blobs/sha256/%s", dir,
	               digest_hex(&pack->digest, hex));
	fd = open(path, O_RDWR);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pread(fd, &byte, 1, (off_t)(pack->size / 2)), 1);
	byte ^= 1;
	cr_assert_eq(pwrite(fd, &byte, 1, (off_t)(pack->size / 2)), 1);
	(void)close(fd);
}

Test(fill, damaged_chunk_fails_alone)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;
	uint32_t n_bad = 0;

	make_sample(&f, REGION_SIZE);
	damage_pack(f.dir, f.img);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_object(f.fill, map, obj, &err), -EBADMSG);
	cr_assert_not(object_complete(obj));
	for (uint32_t i = 0; i < map->n; i++)
		n_bad += !object_covers(obj, map->extent[i].off, map->extent[i].len);
	cr_assert_eq(n_bad, 1);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), map->n - 1);
}

/* What was decompressed in place and is not what it should be does not stay. */
Test(fill, damaged_chunk_leaves_no_bytes)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(free) uint8_t *bytes = malloc(LARGE), *got = malloc(LARGE);
	CLEANUP(image_close) struct image *img = NULL;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	char dir[sizeof(f.dir) + 16];
	struct err err = ERR_INIT;
	uint32_t n_bad = 0;

	make_sample(&f, REGION_SIZE);
	open_large(&f, bytes, MIB, &img);
	(void)snprintf(dir, sizeof(dir), "%s/more", f.dir);
	damage_pack(dir, img);
	get_large(&f, img, &map, &obj);
	cr_assert_eq(fill_object(f.fill, map, obj, &err), -EBADMSG);
	cr_assert_eq(object_read(obj, got, LARGE, 0), 0);
	for (uint32_t i = 0; i < map->n; i++) {
		const struct extent *x = &map->extent[i];
		bool placed = object_covers(obj, x->off, x->len);

		n_bad += !placed;
		for (size_t k = x->off; k < x->off + x->len; k++)
			cr_assert_eq(got[k], placed ? bytes[k] : 0);
	}
	cr_assert_eq(n_bad, 1);
}
