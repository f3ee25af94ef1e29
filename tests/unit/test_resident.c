/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fixture.h"
#include "resident.h"

enum {
	FILES = 64, /* so many that a few objects are asked for one by one */
	SIZE = FLAT_GROUPED + 1,
};

/* A second image: FILES files, of which the first is the sample's first. */
struct other {
	struct image *img; /* owned */
	char name[FILES][8];
	char data[FILES][SIZE];
	struct flat_file file[FILES];
};

static void open_other(const struct fill_fixture *f, struct other *other)
{
	struct err err = ERR_INIT;
	char dir[64];

	for (size_t i = 0; i < FILES; i++) {
		(void)snprintf(other->name[i], sizeof(other->name[i]), "%02zu", i);
		(void)snprintf(other->data[i], SIZE, "this is file %zu", i);
		other->file[i] = (struct flat_file){ .name = other->name[i],
			                             .data = other->data[i],
			                             .size = SIZE };
	}
	other->file[0].data = f->bytes[0];
	other->file[0].size = FIXTURE_BIG;
	(void)snprintf(dir, sizeof(dir), "%s/other", f->dir);
	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_assert_eq(flat_image_open(dir, other->file, FILES, &other->img, &err), 0, "%s", err.msg);
}

static void fill_file(struct fill_fixture *f, struct image *img, const char *name, uint64_t len)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;
	struct content content;

	cr_assert_eq(flat_image_content(img, name, &content, NULL), 0);
	cr_assert_eq(extent_map_load(img, &content, &map, NULL), 0);
	cr_assert_eq(region_get(f->region, &content.digest, content.size, &obj), 0);
	cr_assert_eq(fill_range(f->fill, map, obj, 0, len, NULL), 0);
}

static void expect(const struct fill_fixture *f, struct image *img, struct content_keys *keys,
                   uint64_t bytes)
{
	CLEANUP(resident_list_release) struct resident_list list = RESIDENT_LIST_INIT;

	cr_assert_eq(resident_list_load(f->region, &list), 0);
	cr_assert_eq(resident_bytes(&list, image_index(img), keys), bytes);
}

Test(resident, bytes_are_those_of_the_images_contents)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	static struct other other;
	struct content_keys keys = CONTENT_KEYS_INIT;
	struct content_keys other_keys = CONTENT_KEYS_INIT;

	make_sample(&f, REGION_SIZE);
	open_other(&f, &other);
	expect(&f, f.img, &keys, 0);
	expect(&f, other.img, &other_keys, 0);

	/* In part, and of both images. */
	fill_file(&f, f.img, f.name[0], FLAT_CHUNK);
	expect(&f, f.img, &keys, FLAT_CHUNK);
	expect(&f, other.img, &other_keys, FLAT_CHUNK);
	fill_file(&f, other.img, "01", SIZE);
	expect(&f, f.img, &keys, FLAT_CHUNK);
	expect(&f, other.img, &other_keys, FLAT_CHUNK + SIZE);
	cr_assert_null(other_keys.key, "two objects are asked for");

	for (size_t i = 2; i < FILES; i++)
		fill_file(&f, other.img, other.name[i], SIZE);
	expect(&f, f.img, &keys, FLAT_CHUNK);
	expect(&f, other.img, &other_keys, FLAT_CHUNK + (FILES - 1) * SIZE);
	cr_assert_not_null(other_keys.key, "many are looked up in memory");
	fill_file(&f, f.img, f.name[0], FIXTURE_BIG);
	expect(&f, f.img, &keys, FIXTURE_BIG);
	expect(&f, other.img, &other_keys, FIXTURE_BIG + (FILES - 1) * SIZE);

	content_keys_release(&keys);
	content_keys_release(&other_keys);
	image_close(other.img);
}
