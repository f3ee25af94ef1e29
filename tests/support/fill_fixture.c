/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	TWIN_DIFFERS = 25000, /* bytes at the start of "twin" that are not those of "big" */
	PART = 300,           /* bytes of most parts in the first release */
	LATER_PART = 437,     /* and in the later one */
	HOLE = 100,
};

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
		f->file[i] = (struct flat_file){ .name = f->name[i],
			                         .data = f->bytes[i],
			                         .size = size_of(i) };
	}
	f->n_files = FIXTURE_FILES;
	return 0;
}

static int make_daemon(struct fill_fixture *f, uint64_t region_size, struct err *err)
{
	const struct region_config config = { .size = region_size, .stats = &f->stats };
	int r;

	*f = (struct fill_fixture){ .dir = "/tmp/fill-XXXXXX" };
	if (!mkdtemp(f->dir))
		return err_set_errno(err, "mkdtemp");
	r = region_open(&config, &f->region, err);
	return r < 0 ? r : fill_new(f->region, &f->stats, FIXTURE_THREADS, 2, &f->fill, err);
}

int fill_fixture_init(struct fill_fixture *f, uint64_t region_size, struct err *err)
{
	int r = make_daemon(f, region_size, err);

	if (r == 0)
		r = make_files(f);
	if (r == 0)
		r = flat_image_open(f->dir, f->file, FIXTURE_FILES, &f->img, err);
	return r;
}

/* Let file @i go on with @part, and with a hole after its third. */
static void add_part(struct fill_fixture *f, size_t i, const struct flat_part *part)
{
	struct flat_file *file = &f->file[i];

	if (file->n_parts + 2 > RELEASE_PARTS)
		abort();
	f->part[i][file->n_parts++] = *part;
	file->size += part->len;
	if (file->n_parts == 3) {
		f->part[i][file->n_parts++] = (struct flat_part){ .len = HOLE };
		file->size += HOLE;
	}
}

static struct flat_part part_of(const struct fill_fixture *f, size_t chunk, size_t off, size_t len)
{
	return (struct flat_part){ .chunk = f->chunk[chunk],
		                   .chunk_size = RELEASE_CHUNK,
		                   .off = off,
		                   .len = off + len <= RELEASE_CHUNK ? len : RELEASE_CHUNK - off };
}

/* Deal the chunks' parts to the files of the first release; one has a part twice. */
static void deal_first(struct fill_fixture *f, size_t used)
{
	size_t turn = 0;

	for (size_t off = 0; off < used; off += PART) {
		for (size_t chunk = 0; chunk < RELEASE_CHUNKS; chunk++, turn++) {
			struct flat_part part = part_of(f, chunk, off, PART);

			add_part(f, turn % RELEASE_FILES, &part);
		}
	}
	add_part(f, 1, &f->part[1][0]);
}

/* And, from the chunks' ends, to those of the later release; but its first file is that of the first. */
static void deal_later(struct fill_fixture *f)
{
	const size_t first = RELEASE_FILES;
	struct flat_part whole = part_of(f, 1, 0, RELEASE_CHUNK);
	size_t turn = 0;

	for (size_t i = 0; i < f->file[0].n_parts; i++)
		f->part[first][i] = f->part[0][i];
	f->file[first].n_parts = f->file[0].n_parts;
	f->file[first].size = f->file[0].size;
	for (size_t n = RELEASE_CHUNK / LATER_PART + 1; n-- > 0;) {
		for (size_t chunk = 0; chunk < RELEASE_CHUNKS; chunk++, turn++) {
			struct flat_part part = part_of(f, chunk, n * LATER_PART, LATER_PART);

			add_part(f, first + 1 + turn % (RELEASE_FILES - 1), &part);
		}
	}
	add_part(f, first + 3, &whole);
}

/* Put the bytes of the parts of file @i together. */
static int join_parts(struct fill_fixture *f, size_t i)
{
	uint8_t *to = calloc(1, f->file[i].size);

	f->bytes[i] = to;
	for (size_t k = 0; to && k < f->file[i].n_parts; k++) {
		const struct flat_part *part = &f->part[i][k];

		if (part->chunk)
			memcpy(to, (const uint8_t *)part->chunk + part->off, part->len);
		to += part->len;
	}
	(void)snprintf(f->name[i], sizeof(f->name[i]), "%02zu", i);
	f->file[i].name = f->name[i];
	f->file[i].data = f->bytes[i];
	f->file[i].part = f->part[i];
	return to ? 0 : -ENOMEM;
}

static int open_release(struct fill_fixture *f, const char *name, size_t first, struct image **ret,
                        struct err *err)
{
	char dir[sizeof(f->dir) + 16];

	(void)snprintf(dir, sizeof(dir), "%s/%s", f->dir, name);
	if (mkdir(dir, 0700) < 0)
		return err_set_errno(err, "'%s'", dir);
	return flat_image_open(dir, &f->file[first], RELEASE_FILES, ret, err);
}

int fill_fixture_init_releases(struct fill_fixture *f, uint64_t region_size, size_t used,
                               struct err *err)
{
	int r = make_daemon(f, region_size, err);

	for (size_t i = 0; i < RELEASE_CHUNKS; i++)
		make_bytes(f->chunk[i], RELEASE_CHUNK, 50 + i);
	deal_first(f, used);
	deal_later(f);
	f->n_files = (size_t)2 * RELEASE_FILES;
	for (size_t i = 0; i < f->n_files && r == 0; i++)
		r = join_parts(f, i);
	if (r == 0)
		r = open_release(f, "first", 0, &f->img, err);
	if (r == 0)
		r = open_release(f, "later", RELEASE_FILES, &f->later, err);
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
	image_close(f->later);
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
	struct image *img = f->later && i >= RELEASE_FILES ? f->later : f->img;
	struct content content;
	int r = flat_image_content(img, f->name[i], &content, err);

	if (r == 0)
		r = extent_map_load(img, &content, ret_map, err);
	if (r == 0)
		r = region_get(f->region, &content.digest, content.size, ret_obj);
	return r;
}
