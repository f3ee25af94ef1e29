/* SPDX-License-Identifier: Apache-2.0 */
/* What an earlier daemon has left in the region, whole or by halves, right or wrong. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "fixture.h"

/* Another daemon goes on with the fixture's region. */
static void take_over(struct fill_fixture *f)
{
	const struct region_config config = { .size = REGION_SIZE, .stats = &f->stats };
	int root = dup(region_root(f->region));
	struct err err = ERR_INIT;

	fill_free(f->fill);
	f->fill = NULL;
	region_close(f->region);
	f->region = NULL;
	cr_assert_eq(region_adopt(&config, root, &f->region, &err), 0, "%s", err.msg);
	cr_assert_eq(fill_new(f->region, &f->stats, FIXTURE_THREADS, 2, &f->fill, &err), 0);
}

Test(fill_kept, what_a_daemon_has_left_is_verified_not_decompressed)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	const uint64_t chunk = FLAT_CHUNK;
	struct err err = ERR_INIT;
	uint64_t before;

	make_sample(&f, REGION_SIZE);
	for (int daemon = 0; daemon < 3; daemon++) {
		CLEANUP(extent_map_unref) struct extent_map *map = NULL;
		CLEANUP(object_unref) struct object *obj = NULL;

		cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
		cr_assert_eq(object_kept(obj), daemon > 0);
		before = count(&f, STAT_CHUNKS_DECOMPRESSED);
		cr_assert_eq(fill_range(f.fill, map, obj, 0, chunk * 4, &err), 0);
		cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED) - before, daemon == 0 ? 4 : 0);
		if (daemon == 2) {
			cr_assert_eq(fill_object(f.fill, map, obj, &err), 0);
			cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), map->n);
			cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED_AGAIN), 0);
			expect_bytes(&f, 0, obj);
		} else {
			object_unref(TAKE_PTR(obj));
			take_over(&f);
		}
	}
}

Test(fill_kept, what_a_daemon_has_left_wrong_is_made_anew)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	const uint64_t chunk = FLAT_CHUNK;
	struct err err = ERR_INIT;
	int fd;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_range(f.fill, map, obj, 0, chunk * 4, &err), 0);
	/* What a daemon that was killed while it decompressed may leave. */
	fd = object_open_to_fill(obj);
	cr_assert_eq(pwrite(fd, "wrong", 5, (off_t)chunk * 2), 5);
	cr_assert_eq(pwrite(fd, "wrong", 5, (off_t)chunk * 6), 5);
	(void)close(fd);
	object_unref(TAKE_PTR(obj));
	take_over(&f);
	extent_map_unref(TAKE_PTR(map));
	cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
	cr_assert_eq(fill_object(f.fill, map, obj, &err), 0);
	expect_bytes(&f, 0, obj);
	cr_assert_eq(count(&f, STAT_CHUNKS_DECOMPRESSED), map->n + 1);
}

Test(fill_kept, holes_are_holes)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(free) uint8_t *junk = NULL;
	struct err err = ERR_INIT;

	make_releases(&f, RELEASE_CHUNK);
	for (int daemon = 0; daemon < 2; daemon++) {
		CLEANUP(extent_map_unref) struct extent_map *map = NULL;
		CLEANUP(object_unref) struct object *obj = NULL;

		cr_assert_eq(fill_fixture_open(&f, 0, &map, &obj, &err), 0);
		if (daemon == 0) {
			CLEANUP(close) int fd = object_open_to_fill(obj);

			junk = malloc(f.file[0].size);
			memset(junk, 7, f.file[0].size);
			cr_assert_eq(io_pwrite(fd, junk, f.file[0].size, 0), 0);
			object_unref(TAKE_PTR(obj));
			take_over(&f);
		} else {
			cr_assert(object_kept(obj));
			cr_assert_eq(fill_object(f.fill, map, obj, &err), 0, "%s", err.msg);
			expect_bytes(&f, 0, obj);
		}
	}
}
