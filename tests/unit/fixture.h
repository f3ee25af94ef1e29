/* SPDX-License-Identifier: Apache-2.0 */
/* What tests with a fill_fixture share. */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>

#include "fill_fixture.h"

#define REGION_SIZE ((uint64_t)64 << 20)

/* @r is what making a fixture has returned. */
static inline void expect_made(int r, const struct err *err)
{
	if (r == -EPERM)
		cr_skip_test("no region here: it needs root");
	cr_assert_eq(r, 0, "%s", err->msg);
}

static inline void make_sample(struct fill_fixture *f, uint64_t region_size)
{
	struct err err = ERR_INIT;

	expect_made(fill_fixture_init(f, region_size, &err), &err);
}

static inline void make_releases(struct fill_fixture *f, size_t used)
{
	struct err err = ERR_INIT;

	expect_made(fill_fixture_init_releases(f, REGION_SIZE, used, &err), &err);
}

static inline uint64_t count(const struct fill_fixture *f, enum stat_counter which)
{
	return stats_get(&f->stats, which);
}

/* @obj has all bytes of file @i. */
static inline void expect_bytes(struct fill_fixture *f, size_t i, struct object *obj)
{
	CLEANUP(free) uint8_t *bytes = malloc(f->file[i].size);

	cr_assert(object_complete(obj));
	cr_assert_eq(object_read(obj, bytes, f->file[i].size, 0), 0);
	cr_assert_arr_eq(bytes, f->bytes[i], f->file[i].size);
}
