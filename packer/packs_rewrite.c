/* SPDX-License-Identifier: Apache-2.0 */
/* What images use of packs, and moving it out of those that are hardly used any more. */
#include <errno.h>
#include <fcntl.h>

#include "base/grow.h"
#include "base/io.h"
#include "codec.h"
#include "packs_internal.h"

enum { USED_MIN = 4 }; /* a pack of which less than 1/USED_MIN is used is rewritten */

static void count_runs(const struct new_content *c)
{
	for (uint32_t i = 0; i < c->n_runs; i++) {
		struct run run = content_run(c, i);
		uint32_t left = run.chunk->size - run.chunk->used;

		run.chunk->used += run.len < left ? run.len : left;
		packs_entry(run.chunk)->users |= c->platforms;
	}
}

void packs_count_use(struct packs *packs, const struct new_content *list, size_t n)
{
	for (size_t i = 0; i < packs->n_records; i++)
		packs->records[i].used = 0;
	for (size_t i = 0; i < packs->n_chunks; i++) {
		packs->chunks[i]->used = 0;
		packs_entry(packs->chunks[i])->users = 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (!list[i].is_twin)
			count_runs(&list[i]);
	}
	for (size_t i = 0; i < packs->n_chunks; i++) {
		const struct stored_chunk *c = packs->chunks[i];

		packs->records[c->pack].used += (uint64_t)c->frame_size * c->used / c->size;
	}
}

static bool is_wasteful(const struct pack_record *pack)
{
	return pack->old && pack->used > 0 && pack->used < pack->size / USED_MIN;
}

/* What is damaged must not get into a pack whose digest says that all is well. */
static int check_frame(struct codec *codec, const void *frame, const struct stored_chunk *c,
                       struct err *err)
{
	CLEANUP(free) void *plain = malloc(c->size);
	struct digest digest;

	if (!plain)
		return err_set(err, -ENOMEM, "out of memory");
	if (codec_decompress(codec, frame, c->frame_size, plain, c->size, NULL) == 0) {
		sha256(plain, c->size, &digest);
		if (digest_equal(&digest, &c->digest))
			return 0;
	}
	return err_set(err, -EBADMSG,
	               "a pack of the earlier image is damaged; use '--from none' to do without");
}

/* Store chunk @c, whose pack is open at @fd, once more, and forget where it was. */
static int move_chunk(struct packs *packs, struct codec *codec, int fd, struct stored_chunk *c,
                      struct err *err)
{
	CLEANUP(free) void *frame = malloc(c->frame_size);
	struct stored_chunk *moved = NULL;
	const struct new_chunk chunk = {
		.digest = c->digest,
		.size = c->size,
		.frame = frame,
		.frame_size = c->frame_size,
		.platforms = packs_entry(c)->users,
	};
	int r;

	if (!frame)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_pread(fd, frame, c->frame_size, c->frame_off);
	if (r < 0)
		return err_set(err, r, "an earlier pack could not be read: %s",
		               strerrordesc_np(-r));
	r = check_frame(codec, frame, c, err);
	if (r == 0)
		r = packs_add(packs, &chunk, &moved, err);
	if (r < 0 || !moved)
		return r;
	c->pack = moved->pack;
	c->frame_off = moved->frame_off;
	return 0;
}

static int compare_users(const void *a, const void *b)
{
	const struct entry *x = packs_entry(*(struct stored_chunk *const *)a);
	const struct entry *y = packs_entry(*(struct stored_chunk *const *)b);

	if (x->users != y->users)
		return x->users < y->users ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Used chunks of wasteful packs, those of one set of platforms together. The caller frees *@ret. */
static int list_moving(const struct packs *packs, struct stored_chunk ***ret, size_t *ret_n)
{
	struct stored_chunk **list = calloc(packs->n_chunks + 1, sizeof(struct stored_chunk *));
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < packs->n_chunks; i++) {
		if (packs->chunks[i]->used > 0 &&
		    is_wasteful(&packs->records[packs->chunks[i]->pack]))
			list[n++] = packs->chunks[i];
	}
	if (n > 1)
		qsort(list, n, sizeof(struct stored_chunk *), compare_users);
	*ret = list;
	*ret_n = n;
	return 0;
}

int packs_rewrite(struct packs *packs, const struct new_content *list, size_t n, struct err *err)
{
	CLEANUP(free) struct stored_chunk **moving = NULL;
	CLEANUP(codec_free) struct codec *codec = codec_new();
	size_t n_moving = 0;
	int r = codec ? list_moving(packs, &moving, &n_moving) : -ENOMEM;

	if (r < 0)
		return err_set(err, r, "out of memory");
	for (size_t i = 0; r == 0 && i < n_moving; i++) {
		const struct pack_record *pack = &packs->records[moving[i]->pack];
		char hex[DIGEST_HEX_SIZE];
		CLEANUP(close)
		int fd = openat(packs->dirfd, digest_hex(&pack->digest, hex), O_RDONLY | O_CLOEXEC);

		r = fd < 0 ? err_set_errno(err, "'%s': pack '%.12s'", packs->path, hex)
		           : move_chunk(packs, codec, fd, moving[i], err);
	}
	if (r < 0 || n_moving == 0)
		return r;
	r = packs_finish(packs, err);
	packs_count_use(packs, list, n);
	return r;
}
