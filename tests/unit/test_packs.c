/* SPDX-License-Identifier: Apache-2.0 */
/* packs: where chunks go, who may use them, and what becomes of packs that are hardly used. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "codec.h"
#include "packs.h"
#include "sample.h"

enum { CHUNK = 3000, N_OLD = 10 };

struct fixture {
	char dir[SAMPLE_PATH_MAX];
	int dirfd;
	struct codec *codec;
	struct packs *packs;
};

static struct fixture make(void)
{
	struct fixture f;

	sample_dir(f.dir);
	f.dirfd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f.codec = codec_new();
	f.packs = packs_new(f.dirfd, f.dir);
	cr_assert(f.dirfd >= 0 && f.codec && f.packs);
	return f;
}

static void fixture_release_cleanup(struct fixture *f)
{
	packs_free(f->packs);
	codec_free(f->codec);
	(void)close(f->dirfd);
	sample_dir_remove(f->dir);
}

static void plain(unsigned seed, uint8_t ret[static CHUNK])
{
	for (unsigned i = 0; i < CHUNK; i++)
		ret[i] = (uint8_t)((i * 2654435761u >> 7) * (seed + 1) >> 3);
}

static struct digest digest_of(unsigned seed)
{
	uint8_t bytes[CHUNK];
	struct digest digest;

	plain(seed, bytes);
	sha256(bytes, CHUNK, &digest);
	return digest;
}

/* Store chunk @seed; with a delta on chunk 0 if @delta. */
static struct stored_chunk *add(struct fixture *f, struct packs *packs, unsigned seed,
                                uint32_t platforms, bool delta)
{
	uint8_t bytes[CHUNK], base[CHUNK], frame[2 * CHUNK], delta_frame[2 * CHUNK];
	const struct digest base_digest = digest_of(0);
	struct new_chunk chunk = {
		.digest = digest_of(seed),
		.size = CHUNK,
		.frame = frame,
		.platforms = platforms,
	};
	struct stored_chunk *stored = NULL;
	size_t size, delta_size;

	plain(seed, bytes);
	plain(0, base);
	cr_assert_eq(codec_compress(f->codec, 3, bytes, CHUNK, frame, sizeof(frame), &size), 0);
	chunk.frame_size = (uint32_t)size;
	if (delta) {
		cr_assert_eq(codec_compress_delta(f->codec, 3, base, CHUNK, bytes, CHUNK,
		                                  delta_frame, sizeof(delta_frame), &delta_size),
		             0);
		chunk.delta = delta_frame;
		chunk.delta_size = (uint32_t)delta_size;
		chunk.bases = &base_digest;
		chunk.n_bases = 1;
	}
	cr_assert_eq(packs_add(packs, &chunk, &stored, NULL), 0);
	return stored;
}

/* Chunk @seed is where it is said to be. */
static void expect_stored(const struct fixture *f, const struct packs *packs,
                          const struct stored_chunk *c, unsigned seed)
{
	uint8_t wanted[CHUNK], got[CHUNK], frame[2 * CHUNK];
	char hex[DIGEST_HEX_SIZE];
	uint32_t n;
	const struct pack_record *records = packs_records(packs, &n);
	const struct digest digest = digest_of(seed);
	CLEANUP(close) int fd = -1;

	cr_assert(c->pack < n && c->size == CHUNK && c->frame_size <= sizeof(frame));
	cr_expect(digest_equal(&c->digest, &digest));
	fd = openat(f->dirfd, digest_hex(&records[c->pack].digest, hex), O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "pack %u is not there", c->pack);
	cr_assert_eq(io_pread(fd, frame, c->frame_size, c->frame_off), 0);
	cr_assert_eq(codec_decompress(f->codec, frame, c->frame_size, got, CHUNK, NULL), 0);
	plain(seed, wanted);
	cr_expect_arr_eq(got, wanted, CHUNK);
}

Test(packs, are_found_by_those_who_may_name_them)
{
	CLEANUP(fixture_release) struct fixture f = make();
	struct stored_chunk *one = add(&f, f.packs, 1, 1, false);
	struct stored_chunk *both = add(&f, f.packs, 2, 3, false);
	struct stored_chunk *again = add(&f, f.packs, 1, 3, false);
	const struct digest a = digest_of(1), b = digest_of(2), c = digest_of(3);

	cr_expect_neq(one->pack, both->pack, "a set of platforms has packs of its own");
	cr_expect_eq(packs_find(f.packs, &a, 1), one, "the first is found");
	cr_expect_eq(packs_find(f.packs, &a, 2), again);
	cr_expect_eq(packs_find(f.packs, &a, 3), again);
	cr_expect_eq(packs_find(f.packs, &b, 1), both);
	cr_expect_eq(packs_find(f.packs, &b, 2), both);
	cr_expect_null(packs_find(f.packs, &b, 4));
	cr_expect_null(packs_find(f.packs, &c, 1));
}

/* An earlier pack of chunks 0 to N_OLD - 1, made known to f->packs. */
static void add_old(struct fixture *f)
{
	CLEANUP(packs_free) struct packs *earlier = packs_new(f->dirfd, f->dir);
	const struct pack_record *record;
	struct stored_chunk *const *chunks;
	uint32_t n;
	size_t n_chunks;

	cr_assert_not_null(earlier);
	for (unsigned i = 0; i < N_OLD; i++)
		(void)add(f, earlier, i, 1, false);
	cr_assert_eq(packs_finish(earlier, NULL), 0);
	record = packs_records(earlier, &n);
	cr_assert_eq(n, 1);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(packs_add_old(f->packs,
		                           &(struct descriptor){ record->digest, record->size },
		                           NULL),
		             0, "the same pack has the same place");
	chunks = packs_chunks(earlier, &n_chunks);
	for (size_t i = 0; i < n_chunks; i++) {
		const struct chunk chunk = {
			.digest = chunks[i]->digest,
			.size = chunks[i]->size,
			.frame_off = chunks[i]->frame_off,
			.frame_size = chunks[i]->frame_size,
		};

		cr_assert_eq(packs_add_old_chunk(f->packs, 0, 0, &chunk), 0);
	}
}

Test(packs, chunks_with_deltas_have_packs_of_their_own)
{
	CLEANUP(fixture_release) struct fixture f = make();
	struct stored_chunk *c[4];
	uint32_t n_records, n_deltas;
	size_t n_chunks;
	struct stored_chunk *const *chunks;

	add_old(&f);
	packs_set_base(f.packs, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		c[i] = add(&f, f.packs, 20 + i, 1, i % 2 == 1);
	cr_assert_eq(packs_finish(f.packs, NULL), 0);
	(void)packs_records(f.packs, &n_records);
	cr_expect_eq(n_records, 3);
	cr_expect(c[0]->pack == 1 && c[2]->pack == 1 && c[1]->pack == 2 && c[3]->pack == 2);
	for (unsigned i = 0; i < 4; i++)
		expect_stored(&f, f.packs, c[i], 20 + i);
	cr_assert_eq(packs_deltas(f.packs, &n_deltas)->platforms, 1);
	cr_expect_eq(n_deltas, 1);
	chunks = packs_chunks(f.packs, &n_chunks);
	cr_assert_eq(n_chunks, N_OLD + 4);
	cr_expect(chunks[N_OLD + 0] == c[0] && chunks[N_OLD + 1] == c[2] &&
	                  chunks[N_OLD + 2] == c[1] && chunks[N_OLD + 3] == c[3],
	          "chunks are in order of pack and offset");
}

/* A content of @len bytes of the old chunk @seed. */
static struct new_content content_of(struct packs *packs, struct tree_node *file, unsigned seed,
                                     uint32_t len, uint32_t platforms)
{
	const struct digest digest = digest_of(seed);

	file->size = len;
	return (struct new_content){
		.file = file,
		.platforms = platforms,
		.whole = true,
		.n_runs = 1,
		.chunk = packs_find(packs, &digest, platforms),
	};
}

Test(packs, old_ones_come_first_and_are_found_by_all)
{
	CLEANUP(fixture_release) struct fixture f = make();
	const struct digest digest = digest_of(3);
	const struct pack_record *records;
	struct stored_chunk *new;
	uint32_t n;

	add_old(&f);
	new = add(&f, f.packs, 50, 1, false);
	cr_assert_eq(packs_finish(f.packs, NULL), 0);
	records = packs_records(f.packs, &n);
	cr_assert_eq(n, 2);
	cr_expect(records[0].old && !records[1].old && new->pack == 1);
	cr_assert_not_null(packs_find(f.packs, &digest, 1u << 31 | 1));
	expect_stored(&f, f.packs, packs_find(f.packs, &digest, 1), 3);
}

Test(packs, count_what_is_used_once)
{
	CLEANUP(fixture_release) struct fixture f = make();
	struct tree_node file[4] = { 0 };
	struct new_content list[4];
	const struct pack_record *records;
	uint32_t n;

	add_old(&f);
	cr_assert_eq(packs_finish(f.packs, NULL), 0);
	list[0] = content_of(f.packs, &file[0], 0, CHUNK, 1);
	list[1] = content_of(f.packs, &file[1], 0, CHUNK, 2); /* used again */
	list[2] = content_of(f.packs, &file[2], 1, CHUNK / 2, 1);
	list[3] = (struct new_content){ .is_twin = true, .twin = &list[0], .n_runs = 1 };
	for (int round = 0; round < 2; round++) {
		packs_count_use(f.packs, list, 4);
		records = packs_records(f.packs, &n);
		cr_expect_eq(list[0].chunk->used, CHUNK);
		cr_expect_eq(list[2].chunk->used, CHUNK / 2);
		cr_expect_eq(records[0].used,
		             list[0].chunk->frame_size + list[2].chunk->frame_size / 2);
	}
}

/* Use @n_used of the old chunks; returns in how many packs they are then. */
static void rewrite(struct fixture *f, size_t n_used, bool moves)
{
	struct tree_node file[N_OLD] = { 0 };
	struct new_content list[N_OLD];
	const struct pack_record *records;
	uint32_t n;

	add_old(f);
	cr_assert_eq(packs_finish(f->packs, NULL), 0);
	for (unsigned i = 0; i < n_used; i++)
		list[i] = content_of(f->packs, &file[i], i * 3, CHUNK, 1);
	packs_count_use(f->packs, list, n_used);
	cr_assert_eq(packs_rewrite(f->packs, list, n_used, NULL), 0);
	records = packs_records(f->packs, &n);
	cr_assert_eq(n, moves ? 2 : 1);
	cr_expect_eq(records[0].used == 0, moves || n_used == 0);
	if (moves)
		cr_expect(!records[1].old && records[1].used > 0);
	for (unsigned i = 0; i < n_used; i++) {
		cr_expect_eq(list[i].chunk->pack, moves ? 1 : 0);
		expect_stored(f, f->packs, list[i].chunk, i * 3);
	}
}

Test(packs, hardly_used_are_rewritten)
{
	CLEANUP(fixture_release) struct fixture f = make();

	rewrite(&f, 2, true);
}

Test(packs, used_enough_stay)
{
	CLEANUP(fixture_release) struct fixture f = make();

	rewrite(&f, 4, false);
}

Test(packs, not_used_at_all_are_let_be)
{
	CLEANUP(fixture_release) struct fixture f = make();

	rewrite(&f, 0, false);
}

Test(packs, damaged_are_not_rewritten)
{
	CLEANUP(fixture_release) struct fixture f = make();
	struct tree_node file = { 0 };
	struct new_content content;
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];
	uint32_t n;
	CLEANUP(close) int fd = -1;

	add_old(&f);
	cr_assert_eq(packs_finish(f.packs, NULL), 0);
	content = content_of(f.packs, &file, 5, CHUNK, 1);
	fd = openat(f.dirfd, digest_hex(&packs_records(f.packs, &n)->digest, hex),
	            O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, "damage", 6, (off_t)content.chunk->frame_off + 20), 6);
	packs_count_use(f.packs, &content, 1);
	cr_expect_lt(packs_rewrite(f.packs, &content, 1, &err), 0);
	cr_expect(err.msg[0] != '\0');
}
