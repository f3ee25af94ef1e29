/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "region.h"

enum {
	OBJECT = 8192, /* bytes of each object here */
	ROOM = 4,      /* objects that the region has room for */
};

static struct stats stats;
static struct region *region;
static char dir[] = "/var/tmp/region-XXXXXX";

static void open_region(const char *directory)
{
	const struct region_config config = { .size = (uint64_t)OBJECT * ROOM,
		                              .directory = directory,
		                              .stats = &stats };
	struct err err = ERR_INIT;
	int r = region_open(&config, &region, &err);

	if (r == -EPERM)
		cr_skip_test("no region here: it needs root");
	cr_assert_eq(r, 0, "%s", err.msg);
}

static void set_up(void)
{
	open_region(NULL);
}

static void tear_down(void)
{
	region_close(region);
}

static void set_up_on_disk(void)
{
	cr_assert_not_null(mkdtemp(dir));
	open_region(dir);
}

/* The region's files stay. */
static void tear_down_on_disk(void)
{
	DIR *d;

	region_close(region);
	d = opendir(dir);
	cr_assert_not_null(d);
	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	(void)closedir(d);
	(void)rmdir(dir);
}

TestSuite(region, .init = set_up, .fini = tear_down);
TestSuite(region_on_disk, .init = set_up_on_disk, .fini = tear_down_on_disk);

/* The digest of the @n-th content. */
static struct digest digest_of(unsigned n)
{
	struct digest digest = { .bytes = { (uint8_t)n, (uint8_t)(n >> 8) } };

	return digest;
}

static int get(unsigned n, struct object **ret)
{
	const struct digest digest = digest_of(n);

	return region_get(region, &digest, OBJECT, ret);
}

/* Fill the @n-th object with bytes of its own and leave it. */
static void place(unsigned n)
{
	CLEANUP(object_unref) struct object *obj = NULL;
	char bytes[OBJECT];

	memset(bytes, (int)n, sizeof(bytes));
	cr_assert_eq(get(n, &obj), 0);
	cr_assert_eq(object_place(obj, bytes, sizeof(bytes), 0), 0);
}

/* Whether the @n-th object is in the region; one that is not is made anew, empty. */
static bool is_there(unsigned n)
{
	CLEANUP(object_unref) struct object *obj = NULL;

	return get(n, &obj) == 0 && object_complete(obj);
}

static void expect_evicted(uint64_t n)
{
	cr_assert_eq(stats_get(&stats, STAT_EVICTIONS), n);
	cr_assert_eq(stats_get(&stats, STAT_BYTES_EVICTED), n * OBJECT);
}

static void fill_up(void)
{
	for (unsigned n = 1; n <= ROOM; n++)
		place(n);
	expect_evicted(0);
}

static void check_oldest_goes(void)
{
	fill_up();
	place(ROOM + 1);
	expect_evicted(1);
	for (unsigned n = 2; n <= ROOM + 1; n++)
		cr_assert(is_there(n), "%u is gone", n);
}

Test(region, object_that_was_opened_longest_ago_goes)
{
	check_oldest_goes();
}

Test(region_on_disk, object_that_was_opened_longest_ago_goes)
{
	check_oldest_goes();
}

Test(region, opening_an_object_keeps_it_longest)
{
	struct object *obj;

	fill_up();
	cr_assert_eq(get(1, &obj), 0);
	object_touch(obj);
	object_unref(obj);
	place(ROOM + 1);
	cr_assert(is_there(1));
	cr_assert_not(is_there(2));
}

Test(region, referenced_object_stays)
{
	CLEANUP(object_unref) struct object *obj = NULL;

	fill_up();
	cr_assert_eq(get(1, &obj), 0);
	for (unsigned n = ROOM + 1; n < 3 * ROOM; n++)
		place(n);
	cr_assert(object_complete(obj));
	cr_assert(is_there(1));
}

Test(region, full_of_referenced_objects_says_so)
{
	struct object *obj[ROOM];
	struct object *more;

	for (unsigned n = 0; n < ROOM; n++)
		cr_assert_eq(get(n, &obj[n]), 0);
	cr_assert_eq(get(ROOM, &more), -ENOSPC);
	cr_assert_eq(stats_get(&stats, STAT_REGION_FULL), 1);
	object_unref(obj[2]);
	cr_assert_eq(get(ROOM, &more), 0, "room that was given back is not used");
	object_unref(more);
	for (unsigned n = 0; n < ROOM; n++) {
		if (n != 2)
			object_unref(obj[n]);
	}
}

static void check_mapped_stays(void)
{
	struct object *obj;
	const char *bytes;
	void *map;
	int fd;

	fill_up();
	cr_assert_eq(get(1, &obj), 0);
	fd = object_open(obj);
	cr_assert_geq(fd, 0);
	map = mmap(NULL, OBJECT, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq(map, MAP_FAILED);
	bytes = map;
	(void)close(fd);
	object_unref(obj);
	for (unsigned n = ROOM + 1; n < 3 * ROOM; n++)
		place(n);
	cr_assert(is_there(1), "a mapped object went");
	cr_assert_eq(bytes[OBJECT - 1], 1);
	cr_assert_eq(munmap(map, OBJECT), 0);
	for (unsigned n = 3 * ROOM; n < 4 * ROOM; n++)
		place(n);
	cr_assert_not(is_there(1), "an object stays although nothing maps it any more");
}

Test(region, mapped_object_stays)
{
	check_mapped_stays();
}

Test(region_on_disk, mapped_object_stays)
{
	check_mapped_stays();
}

/* A guard that keeps the object whose digest begins with *@arg. */
static bool keep(void *arg, const struct digest *digest, uint64_t size)
{
	const uint8_t *first = arg;

	cr_assert_eq(size, OBJECT);
	return digest->bytes[0] == *first;
}

Test(region, guarded_object_stays)
{
	uint8_t guarded = 1;

	region_set_guard(region, keep, &guarded);
	fill_up();
	for (unsigned n = ROOM + 1; n < 3 * ROOM; n++)
		place(n);
	cr_assert(is_there(1));
}

static unsigned n_let_go;

static void let_go(struct object_holder *holder)
{
	n_let_go++;
	object_let_go(holder);
}

Test(region, holders_let_go_before_the_object_goes)
{
	struct object_holder holder[2] = { { .let_go = let_go }, { .let_go = let_go } };
	struct object *obj;

	fill_up();
	cr_assert_eq(get(1, &obj), 0);
	object_hold(obj, &holder[0]);
	object_hold(obj, &holder[1]);
	object_unref(obj);
	cr_assert_eq(object_of_holder(region, &holder[0]), obj);
	object_unref(obj);
	place(ROOM + 1);
	cr_assert_eq(n_let_go, 2);
	cr_assert_null(object_of_holder(region, &holder[0]));
	cr_assert_null(object_of_holder(region, &holder[1]));
}

Test(region, holder_that_gave_up_is_not_asked)
{
	struct object_holder holder = { .let_go = let_go };
	struct object *obj;

	fill_up();
	cr_assert_eq(get(1, &obj), 0);
	object_hold(obj, &holder);
	object_unref(obj);
	object_unhold(region, &holder);
	object_unhold(region, &holder);
	place(ROOM + 1);
	cr_assert_eq(n_let_go, 0);
	expect_evicted(1);
}

static unsigned n_evicted;

static void count_evicted(void *arg, struct object *obj)
{
	(void)arg;
	cr_assert_eq(object_size(obj), OBJECT);
	n_evicted++;
}

Test(region, owner_is_told_of_what_went)
{
	region_set_evicted(region, count_evicted, NULL);
	fill_up();
	place(ROOM + 1);
	place(ROOM + 2);
	cr_assert_eq(n_evicted, 2);
	region_forget_all(region);
	cr_assert_eq(n_evicted, 2 + ROOM);
}

/* As get(), for what is fetched ahead. */
static int get_before(unsigned n, uint64_t since)
{
	const struct digest digest = digest_of(n);
	struct object *obj;
	int r = region_get_before(region, &digest, OBJECT, since, &obj);

	if (r == 0)
		object_unref(obj);
	return r;
}

Test(region, fetching_ahead_takes_only_the_room_of_what_was_opened_before)
{
	uint64_t since;

	fill_up();
	since = region_time(region);
	for (unsigned n = 1; n < ROOM; n++)
		place(ROOM + n);
	cr_assert_eq(get_before(2 * ROOM, since), 0, "one that is older is left");
	cr_assert_eq(get_before(2 * ROOM + 1, since), -ENOSPC);
	cr_assert_eq(stats_get(&stats, STAT_REGION_FULL), 0, "no alarm");
	for (unsigned n = 1; n < ROOM; n++)
		cr_assert(is_there(ROOM + n));
}

Test(region, spare_room_is_not_made)
{
	const struct digest digest = digest_of(ROOM + 1);
	struct object *obj;

	fill_up();
	cr_assert_eq(region_get_spare(region, &digest, OBJECT, &obj), -ENOSPC);
	expect_evicted(0);
}

Test(region, object_larger_than_the_region_lets_nothing_go)
{
	const struct digest digest = digest_of(ROOM + 1);
	struct object *obj;

	fill_up();
	cr_assert_eq(region_get(region, &digest, (uint64_t)OBJECT * ROOM + 1, &obj), -ENOSPC);
	expect_evicted(0);
}

/* Close the region but for its files, and go on with those as the next daemon does. */
static void adopt_region(const char *directory, uint64_t size)
{
	const struct region_config config = { .size = size,
		                              .directory = directory,
		                              .stats = &stats };
	int root = dup(region_root(region));
	struct err err = ERR_INIT;

	region_close(region);
	cr_assert_eq(region_adopt(&config, root, &region, &err), 0, "%s", err.msg);
}

static void check_adopted(const char *directory)
{
	static unsigned char bytes[OBJECT], got[OBJECT];
	struct digest whole = { { 1 } };
	struct digest half = { { 2 } };
	struct region_usage usage;
	struct object *obj;

	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(region_get(region, &whole, OBJECT, &obj), 0);
	cr_assert_eq(object_place(obj, bytes, OBJECT, 0), 0);
	object_unref(obj);
	cr_assert_eq(region_get(region, &half, OBJECT, &obj), 0);
	cr_assert_eq(object_place(obj, bytes, OBJECT / 2, 0), 0);
	object_unref(obj);
	adopt_region(directory, (uint64_t)OBJECT * ROOM);
	region_usage(region, &usage);
	cr_assert_eq(usage.objects, 1);
	obj = region_find(region, &half);
	cr_assert_not_null(obj);
	cr_assert(object_kept(obj));
	cr_assert_not(object_touches(obj, 0, OBJECT), "half-filled objects are not trusted");
	object_unref(obj);
	obj = region_find(region, &whole);
	cr_assert_not_null(obj);
	cr_assert(object_complete(obj));
	cr_assert_not(object_kept(obj));
	cr_assert_eq(object_read(obj, got, OBJECT, 0), 0);
	cr_assert_eq(memcmp(got, bytes, OBJECT), 0);
	object_unref(obj);
	/* What was there counts against the region's size. */
	for (int i = 0; i < ROOM; i++) {
		cr_assert_eq(region_get(region, &(struct digest){ { (unsigned char)(10 + i) } },
		                        OBJECT, &obj),
		             0);
		object_unref(obj);
	}
	cr_assert_null(region_find(region, &whole), "it is as old as any");
}

Test(region, complete_objects_outlive_a_daemon)
{
	check_adopted(NULL);
}

Test(region, another_size_holds_once_what_is_in_use_has_left)
{
	struct object *obj[ROOM];
	struct region_usage usage;

	for (int i = 0; i < ROOM; i++) {
		cr_assert_eq(region_get(region, &(struct digest){ { (unsigned char)(10 + i) } },
		                        OBJECT, &obj[i]),
		             0);
	}
	region_resize(region, (uint64_t)OBJECT * ROOM * 2);
	region_usage(region, &usage);
	cr_assert_eq(usage.size, (uint64_t)OBJECT * ROOM * 2);
	/* Of four, two are in use. */
	object_unref(obj[1]);
	object_unref(obj[2]);
	region_resize(region, OBJECT);
	region_usage(region, &usage);
	cr_assert_eq(usage.size, (uint64_t)OBJECT * 2);
	cr_assert_null(region_find(region, &(struct digest){ { 11 } }));
	object_unref(obj[0]);
	object_unref(obj[3]);
	region_resize(region, OBJECT);
	region_usage(region, &usage);
	cr_assert_eq(usage.size, OBJECT);
}

Test(region_on_disk, complete_objects_outlive_a_daemon)
{
	check_adopted(dir);
}

enum { WHOLE = 1, HALF = 2 };

/* A region with a whole object and half of one. */
static void fill_two(void)
{
	static unsigned char bytes[OBJECT];
	struct object *obj;

	cr_assert_eq(get(WHOLE, &obj), 0);
	cr_assert_eq(object_place(obj, bytes, OBJECT, 0), 0);
	object_unref(obj);
	cr_assert_eq(get(HALF, &obj), 0);
	cr_assert_eq(object_place(obj, bytes, OBJECT / 2, 0), 0);
	object_unref(obj);
}

/* Close the region and open it again, with @n bytes of @text written to the file @name in between. */
static void reopen(const char *name, const char *text, size_t n)
{
	char path[sizeof(dir) + DIGEST_HEX_SIZE];
	CLEANUP(close) int fd = -1;

	region_close(region);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_TRUNC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, n), (ssize_t)n);
	open_region(dir);
}

static void expect_kept(unsigned n, bool complete, bool kept)
{
	const struct digest digest = digest_of(n);
	struct object *obj = region_find(region, &digest);

	cr_assert_not_null(obj);
	cr_assert_eq(object_size(obj), OBJECT);
	cr_assert_eq(object_complete(obj), complete);
	cr_assert_eq(object_kept(obj), kept);
	cr_assert_eq(object_touches(obj, 0, OBJECT), complete);
	object_unref(obj);
}

Test(region_on_disk, what_was_closed_is_trusted)
{
	fill_two();
	region_close(region);
	open_region(dir);
	expect_kept(WHOLE, true, false);
	expect_kept(HALF, false, true);
	/* The same once more: it is open now. */
	region_close(region);
	open_region(dir);
	expect_kept(WHOLE, true, false);
}

Test(region_on_disk, after_a_boot_nothing_is_trusted)
{
	fill_two();
	reopen("clean", "another boot", 12);
	expect_kept(WHOLE, false, true);
	expect_kept(HALF, false, true);
}

Test(region_on_disk, what_was_not_closed_is_not_trusted)
{
	char path[sizeof(dir) + 16];

	fill_two();
	region_close(region);
	(void)snprintf(path, sizeof(path), "%s/clean", dir);
	cr_assert_eq(unlink(path), 0);
	open_region(dir);
	expect_kept(WHOLE, false, true);
	expect_kept(HALF, false, true);
}

Test(region_on_disk, cut_file_is_made_anew)
{
	const struct digest digest = digest_of(WHOLE);
	char name[DIGEST_HEX_SIZE];
	struct object *obj;

	fill_two();
	reopen(digest_hex(&digest, name), "short", 5);
	cr_assert_eq(get(WHOLE, &obj), 0);
	cr_assert_eq(object_size(obj), OBJECT);
	cr_assert_not(object_complete(obj));
	cr_assert_not(object_kept(obj));
	object_unref(obj);
}

Test(region_on_disk, smaller_region_lets_objects_go)
{
	const struct region_config config = { .size = OBJECT, .directory = dir, .stats = &stats };
	struct region_usage usage;

	fill_two();
	region_close(region);
	cr_assert_eq(region_open(&config, &region, NULL), 0);
	region_usage(region, &usage);
	cr_assert_eq(usage.used, OBJECT);
}

Test(region_on_disk, another_region_is_refused)
{
	const struct region_config config = { .size = OBJECT, .directory = dir, .stats = &stats };
	struct region *other;

	cr_assert_eq(region_open(&config, &other, NULL), -EBUSY);
}

Test(region_on_disk, directory_with_other_files_is_refused)
{
	char path[sizeof(dir) + 16];
	struct region *other;
	struct region_config config = { .size = OBJECT, .stats = &stats };
	struct err err = ERR_INIT;

	(void)snprintf(path, sizeof(path), "%s/other", dir);
	cr_assert_eq(mkdir(path, 0700), 0);
	config.directory = dir;
	region_close(region);
	cr_assert_eq(region_open(&config, &other, &err), -ENOTEMPTY);
	cr_assert_not_null(strstr(err.msg, "'other'"), "%s", err.msg);
	cr_assert_eq(rmdir(path), 0);
	open_region(dir);
}
