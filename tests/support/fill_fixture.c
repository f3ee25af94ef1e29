/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TWIN_DIFFERS = 25000 }; /* bytes at the start of "twin" that are not those of "big" */

static size_t size_of(size_t i)
{
	return i < 2 ? FIXTURE_BIG : FIXTURE_SMALL + i;
}

/* Bytes that depend on nothing but @seed. */
static void make_bytes(uint8_t *bytes, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

static int make_files(struct fill_fixture *f)
{
	for (size_t i = 0; i < FIXTURE_FILES; i++) {
		f->bytes[i] = malloc(size_of(i));
		if (!f->bytes[i])
			return -ENOMEM;
		make_bytes(f->bytes[i], size_of(i), i == 1 ? 0 : i);
		if (i == 1)
			make_bytes(f->bytes[i], TWIN_DIFFERS, 1000);
		(void)snprintf(f->name[i], sizeof(f->name[i]), "%02zu", i);
		f->file[i] = (struct flat_file){ f->name[i], f->bytes[i], size_of(i) };
	}
	return 0;
}

int fill_fixture_init(struct fill_fixture *f, uint64_t region_size, struct err *err)
{
	int r;

	*f = (struct fill_fixture){ .dir = "/tmp/fill-XXXXXX" };
	if (!mkdtemp(f->dir))
		return err_set_errno(err, "mkdtemp");
	r = make_files(f);
	if (r == 0)
		r = region_open(region_size, &f->region, err);
	if (r == 0)
		r = fill_new(f->region, &f->stats, 2, &f->fill, err);
	if (r == 0)
		r = flat_image_open(f->dir, f->file, FIXTURE_FILES, &f->img, err);
	return r;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void fill_fixture_release(struct fill_fixture *f)
{
	fill_free(f->fill);
	region_close(f->region);
	image_close(f->img);
	for (size_t i = 0; i < FIXTURE_FILES; i++)
		free(f->bytes[i]);
	/* The threads have ended. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void fill_fixture_count_done(void *arg, struct object *obj)
{
	struct fill_fixture *f = arg;

	(void)obj;
	(void)__atomic_fetch_add(&f->n_done, 1, __ATOMIC_RELEASE);
}

int fill_fixture_open(struct fill_fixture *f, size_t i, struct extent_map **ret_map,
                      struct object **ret_obj, struct err *err)
{
	struct content content;
	int r = flat_image_content(f->img, f->name[i], &content, err);

	if (r == 0)
		r = region_get(f->region, &content.digest, content.size, ret_obj);
	if (r == 0)
		r = extent_map_load(f->img, &content, ret_map, err);
	return r;
}
