/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One content that two images have cut differently is filled by way of both at
 * once, so that flights of different chunks reach the same bytes of its object, while readers look
 * at everything that is placed: none may ever see another byte than the content's. Bytes lie on
 * huge pages where there are some, so that chunks are decompressed where they are read. In
 * every other round one image's chunks are damaged: what the other has placed stays as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fill_fixture.h"

enum {
	SIZE = 8 << 20,
	STEP = 64 << 10, /* bytes that a reader looks at */
	PARTS_MAX = 20,
	DAMAGE_EVERY = 512,
	ROUNDS = 6,
	EXIT_SKIP = 77,
};

static const size_t cut[2] = { 1 << 20, 700 << 10 };

struct cuts {
	struct fill_fixture f; /* its images are the two */
	uint8_t *bytes;        /* owned */
	struct object *obj;
	struct extent_map *map[2];
	bool damaged; /* the second image */
	bool ended;   /* atomic; nobody fills any more */
};

struct filler {
	struct cuts *c;
	int i;
	int r;
};

static int open_cut(struct cuts *c, int i, struct image **ret, struct err *err)
{
	struct flat_part part[PARTS_MAX];
	struct flat_file file = { "file", c->bytes, SIZE, part, 0 };
	char dir[sizeof(c->f.dir) + 4];
	struct content content;
	int r;

	for (size_t off = 0; off < SIZE; off += cut[i]) {
		size_t len = SIZE - off < cut[i] ? SIZE - off : cut[i];

		part[file.n_parts++] = (struct flat_part){ c->bytes + off, len, 0, len };
	}
	(void)snprintf(dir, sizeof(dir), "%s/%d", c->f.dir, i);
	if (mkdir(dir, 0700) < 0)
		return err_set_errno(err, "'%s'", dir);
	r = flat_image_open(dir, &file, 1, ret, err);
	if (r == 0)
		r = flat_image_content(*ret, "file", &content, err);
	if (r == 0)
		r = extent_map_load(*ret, &content, &c->map[i], err);
	if (r == 0 && !c->obj)
		r = region_get(c->f.region, &content.digest, content.size, &c->obj);
	return r;
}

/* Flip bytes of all frames of @img, number @i. */
static int damage(const struct cuts *c, int i, const struct image *img)
{
	const struct pack_info *pack = index_pack(image_index(img), 1);
	char hex[DIGEST_HEX_SIZE], path[256];
	CLEANUP(close) int fd = -1;
	uint8_t byte;

	(void)snprintf(path, sizeof(path), "%s/%d/layout/blobs/sha256/%s", c->f.dir, i,
	               digest_hex(&pack->digest, hex));
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t off = DAMAGE_EVERY; off < (off_t)pack->size; off += DAMAGE_EVERY) {
		if (pread(fd, &byte, 1, off) != 1)
			return -EIO;
		byte ^= 1;
		if (pwrite(fd, &byte, 1, off) != 1)
			return -EIO;
	}
	return fd < 0 ? -EIO : 0;
}

static void *run_filler(void *arg)
{
	struct filler *filler = arg;
	struct cuts *c = filler->c;
	struct err err = ERR_INIT;

	filler->r = fill_object(c->f.fill, c->map[filler->i], c->obj, &err);
	if (filler->r < 0 && filler->r != -EBADMSG)
		(void)fprintf(stderr, "fill: %s\n", err.msg);
	return NULL;
}

/* Returns the address of the struct cuts when it is well. */
static void *run_reader(void *arg)
{
	const struct cuts *c = arg;
	CLEANUP(free) uint8_t *got = malloc(STEP);
	bool last;

	do {
		last = __atomic_load_n(&c->ended, __ATOMIC_ACQUIRE);
		for (size_t off = 0; off < SIZE; off += STEP) {
			if (!object_covers(c->obj, off, STEP))
				continue;
			if (!got || object_read(c->obj, got, STEP, off) < 0 ||
			    memcmp(got, c->bytes + off, STEP) != 0) {
				(void)fprintf(stderr, "wrong bytes at %zu\n", off);
				return NULL;
			}
		}
	} while (!last);
	return arg;
}

static int fill_and_read(struct cuts *c)
{
	struct filler filler[2] = { { .c = c, .i = 0 }, { .c = c, .i = 1 } };
	pthread_t reader, thread[2];
	void *well;

	for (int i = 0; i < 2; i++) {
		if (pthread_create(&thread[i], NULL, run_filler, &filler[i]) != 0)
			abort();
	}
	if (pthread_create(&reader, NULL, run_reader, c) != 0)
		abort();
	for (int i = 0; i < 2; i++)
		(void)pthread_join(thread[i], NULL);
	__atomic_store_n(&c->ended, true, __ATOMIC_RELEASE);
	(void)pthread_join(reader, &well);
	return well && filler[0].r == 0 && (filler[1].r == 0 || c->damaged) &&
	                       object_complete(c->obj)
	               ? 0
	               : -EIO;
}

static int run_round(bool damaged)
{
	struct cuts c = { .f = { .dir = "/tmp/fill-XXXXXX" }, .damaged = damaged };
	const struct region_config config = { .size = (uint64_t)64 << 20, .stats = &c.f.stats };
	struct err err = ERR_INIT;
	int r;

	if (!mkdtemp(c.f.dir))
		return -errno;
	c.bytes = malloc(SIZE);
	for (size_t i = 0; c.bytes && i < SIZE; i++)
		c.bytes[i] = (uint8_t)(i / 90 * 7 + i / 10007);
	r = c.bytes ? region_open(&config, &c.f.region, &err) : -ENOMEM;
	if (r == 0)
		r = fill_new(c.f.region, &c.f.stats, 4, 2, &c.f.fill, &err);
	if (r == 0)
		r = open_cut(&c, 0, &c.f.img, &err);
	if (r == 0)
		r = open_cut(&c, 1, &c.f.later, &err);
	if (r == 0 && damaged)
		r = damage(&c, 1, c.f.later);
	if (r == 0)
		r = fill_and_read(&c);
	else
		(void)fprintf(stderr, "%s\n", err.msg);
	extent_map_unref(c.map[0]);
	extent_map_unref(c.map[1]);
	object_unref(c.obj);
	fill_fixture_release(&c.f);
	free(c.bytes);
	return r;
}

int main(void)
{
	int r = 0;

	for (int i = 0; i < ROUNDS && r == 0; i++)
		r = run_round(i % 2 > 0);
	if (r == -EPERM)
		return EXIT_SKIP;
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
