/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "fixture.h"
#include "inodes.h"

/* The root has inode 1; files follow in order of their names. */
enum { BIG_INO = 2 };

static struct fill_fixture fixture;
static struct inodes *inodes;
static struct inode *inode;
static struct object *obj;
static int closed_backing;

static void note_closed(void *arg, int id)
{
	(void)arg;
	closed_backing = id;
}

static void set_up(void)
{
	struct err err = ERR_INIT;

	make_sample(&fixture, REGION_SIZE);
	inodes = inodes_new(fixture.img, fixture.region, note_closed, NULL);
	cr_assert_not_null(inodes);
	cr_assert_eq(inodes_get(inodes, BIG_INO, &inode, &err), 1, "%s", err.msg);
	obj = inode_object(inode);
	cr_assert_not_null(obj);
}

static void put_both(void)
{
	object_unref(obj);
	inode_put(inode);
}

static void tear_down(void)
{
	put_both();
	inodes_free(inodes);
	fill_fixture_release(&fixture);
}

TestSuite(inodes, .init = set_up, .fini = tear_down);

static void complete_object(void)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(extent_map_load(fixture.img, inode_content(inode), &map, &err), 0, "%s",
	             err.msg);
	cr_assert_eq(fill_object(fixture.fill, map, obj, &err), 0, "%s", err.msg);
}

static void expect_open(enum open_mode mode, int backing)
{
	int got;

	cr_assert_eq(inode_enter(inode, obj, /* seen= */ false, 0, &got), mode);
	cr_assert_eq(got, backing);
}

Test(inodes, an_inode_is_loaded_once)
{
	struct inode *again;

	cr_assert_eq(inodes_get(inodes, BIG_INO, &again, NULL), 1);
	cr_assert_eq(again, inode);
	inode_put(again);
	cr_assert_eq(inode_content(inode)->size, FIXTURE_BIG);
}

Test(inodes, what_is_no_file_is_not_found)
{
	struct inode *other;

	cr_assert_eq(inodes_get(inodes, 1, &other, NULL), -ENOENT);
	cr_assert_eq(inodes_get(inodes, 1000, &other, NULL), -ENOENT);
}

Test(inodes, without_backing_id_opens_are_cached)
{
	complete_object();
	expect_open(OPEN_CACHED, 0);
	cr_assert_eq(inodes_open_files(inodes), 1);
}

Test(inodes, with_backing_id_opens_pass_through)
{
	complete_object();
	cr_assert(inode_set_backing(inode, 7));
	expect_open(OPEN_PASSTHROUGH, 7);
	expect_open(OPEN_PASSTHROUGH, 7);
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
	cr_assert_eq(inodes_open_files(inodes), 0);
}

Test(inodes, stay_cached_while_a_cached_open_is_left)
{
	expect_open(OPEN_CACHED, 0);
	complete_object();
	cr_assert(inode_set_backing(inode, 7));
	expect_open(OPEN_CACHED, 0);
	cr_assert_not(inode_leave(inode, OPEN_CACHED, 0));
	cr_assert(inode_leave(inode, OPEN_CACHED, 0), "the last one may drop the pages");
	expect_open(OPEN_PASSTHROUGH, 7);
}

Test(inodes, give_up_backing_ids_beyond_the_limit_once_closed)
{
	complete_object();
	cr_assert(inode_set_backing(inode, 7));
	expect_open(OPEN_PASSTHROUGH, 7);
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
	cr_assert_eq(inodes_take_surplus_backing(inodes), 0, "one is far below the limit");
	inodes_limit_backings(inodes, 0);
	expect_open(OPEN_PASSTHROUGH, 7);
	cr_assert_eq(inodes_take_surplus_backing(inodes), 0, "it is open");
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
	cr_assert_eq(inodes_take_surplus_backing(inodes), 7);
	cr_assert_eq(inodes_take_surplus_backing(inodes), 0, "it is given up once");
	cr_assert_not(inode_backing(inode));
	cr_assert(inode_set_backing(inode, 8));
	expect_open(OPEN_PASSTHROUGH, 8);
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
}

/* Open file @ino with backing id @id and close it. */
static void use(uint64_t ino, int id)
{
	CLEANUP(inode_put) struct inode *other = NULL;
	CLEANUP(object_unref) struct object *other_obj = NULL;
	int got;

	cr_assert_eq(inodes_get(inodes, ino, &other, NULL), 1);
	other_obj = inode_object(other);
	cr_assert_not_null(other_obj);
	if (!inode_backing(other))
		cr_assert(inode_set_backing(other, id));
	cr_assert_eq(inode_enter(other, other_obj, /* seen= */ false, 0, &got), OPEN_PASSTHROUGH);
	cr_assert_eq(got, id);
	(void)inode_leave(other, OPEN_PASSTHROUGH, 0);
}

Test(inodes, keep_the_backing_ids_of_files_that_were_used_last)
{
	use(BIG_INO, 7);
	use(BIG_INO + 1, 8);
	use(BIG_INO + 2, 9);
	use(BIG_INO, 7);
	inodes_limit_backings(inodes, 1);
	cr_assert_eq(inodes_take_surplus_backing(inodes), 8);
	/* What is open keeps its own. */
	cr_assert(inode_backing(inode));
	expect_open(OPEN_PASSTHROUGH, 7);
	cr_assert_eq(inodes_take_surplus_backing(inodes), 9);
	cr_assert_eq(inodes_take_surplus_backing(inodes), 0);
	use(BIG_INO + 1, 10);
	cr_assert_eq(inodes_take_surplus_backing(inodes), 10);
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
}

Test(inodes, keep_their_first_backing_id)
{
	cr_assert(inode_set_backing(inode, 7));
	cr_assert_not(inode_set_backing(inode, 8));
	expect_open(OPEN_PASSTHROUGH, 7);
}

Test(inodes, passthrough_needs_the_object)
{
	int got;

	/* Another open got room and a backing id after this one had found no room. */
	cr_assert(inode_set_backing(inode, 7));
	cr_assert_eq(inode_enter(inode, NULL, /* seen= */ false, 0, &got), OPEN_CACHED);
	cr_assert_eq(got, 0);
	cr_assert_not(inode_leave(inode, OPEN_CACHED, 0));
	expect_open(OPEN_PASSTHROUGH, 7);
	/* The first one has it. */
	cr_assert_eq(inode_enter(inode, NULL, /* seen= */ false, 0, &got), OPEN_PASSTHROUGH);
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
	cr_assert_not(inode_leave(inode, OPEN_PASSTHROUGH, 0));
}

Test(inodes, pages_stay_while_the_object_is_incomplete)
{
	expect_open(OPEN_CACHED, 0);
	cr_assert_not(inode_leave(inode, OPEN_CACHED, 0));
}

Test(inodes, background_fill_runs_once_at_a_time)
{
	cr_assert(inode_fill_begin(inode));
	cr_assert_not(inode_fill_begin(inode));
	cr_assert_not(inode_fill_end(inode, obj));
	cr_assert(inode_fill_begin(inode));
}

Test(inodes, end_of_background_fill_tells_whether_pages_are_in_use)
{
	expect_open(OPEN_CACHED, 0);
	cr_assert(inode_fill_begin(inode));
	complete_object();
	cr_assert_not(inode_fill_end(inode, obj));
	cr_assert(inode_leave(inode, OPEN_CACHED, 0));
	cr_assert(inode_fill_begin(inode));
	cr_assert(inode_fill_end(inode, obj));
}

Test(inodes, what_is_to_be_seen_is_cached_unless_it_is_passed_through_already)
{
	int got;

	cr_assert(inode_set_backing(inode, 7));
	cr_assert_eq(inode_enter(inode, obj, /* seen= */ true, 0, &got), OPEN_CACHED);
	cr_assert_eq(got, 0);
	expect_open(OPEN_CACHED, 0);
	(void)inode_leave(inode, OPEN_CACHED, 0);
	(void)inode_leave(inode, OPEN_CACHED, 0);
	expect_open(OPEN_PASSTHROUGH, 7);
	cr_assert_eq(inode_enter(inode, obj, /* seen= */ true, 0, &got), OPEN_PASSTHROUGH);
	cr_assert_eq(got, 7);
}
