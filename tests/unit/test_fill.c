/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "fill_fixture.h"

#define REGION_SIZE ((uint64_t)64 << 20)

static void set_up(struct fill_fixture *f, uint64_t region_size)
{
	struct err err = ERR_INIT;
	int r = fill_fixture_init(f, region_size, &err);

	if (r == -EPERM)
		cr_skip_test("no region here: it needs root");
	cr_assert_eq(r, 0, "%s", err.msg);
}

static uint64_t count(const struct fill_fixture *f, enum stat_counter which)
{
	return stats_get(&f->stats, which);
}

static void expect_bytes(struct fill_fixture *f, size_t i, struct object *obj)
{
	CLEANUP(free) uint8_t *bytes = malloc(f->file[i].size);

	cr_assert(object_complete(obj));
	cr_assert_eq(object_read(obj, bytes, f->file[i].size, 0), 0);
	cr_assert_arr_eq(bytes, f->bytes[i], f->file[i].size);
}

Test(fill, object_gets_the_bytes_of_the_file)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct err err = ERR_INIT;

	set_up(&f, REGION_SIZE);
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

	set_up(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_range(f.fill, map, obj, chunk * 3 - 1, 2, &err), 0);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), 2);
	cr_assert(object_covers(obj, chunk * 2, chunk * 2));
	cr_assert_not(object_covers(obj, 0, 1));
	cr_assert_not(object_complete(obj));
	cr_assert_eq(object_placed_bytes(obj), chunk * 2);
}

Test(fill, small_files_of_one_chunk_are_placed_together)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct err err = ERR_INIT;

	set_up(&f, REGION_SIZE);
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

	set_up(&f, REGION_SIZE);
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

	set_up(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_later(f.fill, map, obj, fill_fixture_count_done, &f), 0);
	while (__atomic_load_n(&f.n_done, __ATOMIC_ACQUIRE) == 0)
		(void)sched_yield();
	expect_bytes(&f, 0, obj);
}

Test(fill, cancel_ends_background_work_and_calls_done)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct err err = ERR_INIT;
	enum { TASKS = 50 };

	set_up(&f, REGION_SIZE);
	for (size_t i = 0; i < TASKS; i++) {
		CLEANUP(extent_map_unref) struct extent_map *map = NULL;
		CLEANUP(object_unref) struct object *obj = NULL;

		cr_assert_eq(fill_fixture_open(&f, i % FIXTURE_FILES, &map, &obj, &err), 0);
		cr_assert_eq(fill_later(f.fill, map, obj, fill_fixture_count_done, &f), 0);
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

	set_up(&f, FIXTURE_BIG / 2);
	cr_assert_eq(flat_image_content(f.img, f.name[0], &content, &err), 0);
	cr_assert_eq(region_get(f.region, &content.digest, content.size, &obj), -ENOSPC);
	cr_assert_null(obj);
	cr_assert_eq(extent_map_load(f.img, &content, &map, &err), 0);
	cr_assert_eq(fill_read(f.fill, map, 1, FIXTURE_BIG - 2, bytes, &err), 0, "%s", err.msg);
	cr_assert_arr_eq(bytes, f.bytes[0] + 1, FIXTURE_BIG - 2);
}

/* Flip a byte in the middle of the only pack. */
static void damage_pack(struct fill_fixture *f)
{
	const struct pack_info *pack = index_pack(image_index(f->img), 1);
	char hex[DIGEST_HEX_SIZE];
	char path[256];
	uint8_t byte;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/layout/blobs/sha256/%s", f->dir,
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

	set_up(&f, REGION_SIZE);
	damage_pack(&f);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_object(f.fill, map, obj, &err), -EBADMSG);
	cr_assert_not(object_complete(obj));
	for (uint32_t i = 0; i < map->n; i++)
		n_bad += !object_covers(obj, map->extent[i].off, map->extent[i].len);
	cr_assert_eq(n_bad, 1);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), map->n - 1);
}
