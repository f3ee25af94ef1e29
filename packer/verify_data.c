/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents are read in order of their numbers, which is the order of their
 * chunks in an image of ours: each chunk is decompressed about once. Chunks
 * that no content needed are decompressed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "base/io.h"
#include "codec.h"
#include "names.h"
#include "pack.h"
#include "verify_internal.h"

enum chunk_state {
	CHUNK_UNREAD,
	CHUNK_GOOD,
	CHUNK_BAD,
};

struct data {
	struct verifier *v;
	struct image *img;    /* borrowed */
	struct chunk *chunks; /* owned; in order of row */
	size_t n_chunks;
	size_t chunks_max;
	uint8_t *states; /* owned; one for each chunk */
	int *packs;      /* owned; descriptors, -1 for those that cannot be opened */
	uint32_t n_packs;
	struct content *contents; /* owned */
	size_t n_contents;
	size_t contents_max;
	uint64_t n_incomplete; /* contents that damaged chunks belong to */
	uint64_t first_incomplete;

	struct codec *codec;  /* owned */
	struct sha256 *hash;  /* owned */
	uint8_t *frame;       /* owned; FORMAT_FRAME_MAX */
	uint8_t *plain;       /* owned; FORMAT_CHUNK_MAX */
	uint64_t plain_chunk; /* whose bytes are in plain, or 0 */
};

static void data_release_cleanup(struct data *d)
{
	for (uint32_t i = 0; d->packs && i < d->n_packs; i++) {
		if (d->packs[i] >= 0)
			(void)close(d->packs[i]);
	}
	free(d->packs);
	free(d->chunks);
	free(d->states);
	free(d->contents);
	free(d->frame);
	free(d->plain);
	codec_free(d->codec);
	sha256_free(d->hash);
}

static int add_chunk(void *arg, const struct chunk *chunk)
{
	struct data *d = arg;
	struct chunk *chunks = array_grow(d->chunks, d->n_chunks, &d->chunks_max, sizeof(*chunks));

	if (!chunks)
		return -ENOMEM;
	d->chunks = chunks;
	chunks[d->n_chunks++] = *chunk;
	return 0;
}

static int add_content(void *arg, const struct content *content)
{
	struct data *d = arg;
	struct content *contents =
		array_grow(d->contents, d->n_contents, &d->contents_max, sizeof(*contents));

	if (!contents)
		return -ENOMEM;
	d->contents = contents;
	contents[d->n_contents++] = *content;
	return 0;
}

/* Load rows; what cannot be loaded is a finding. */
static int load_rows(struct data *d, struct err *err)
{
	struct index *idx = image_index(d->img);
	int r = index_each_chunk(idx, add_chunk, d, err);

	if (r < 0)
		r = finding_or_error(d->v, r, err);
	if (r == 0) {
		r = index_each_content(idx, add_content, d, err);
		r = r < 0 ? finding_or_error(d->v, r, err) : r;
	}
	return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

static int open_packs(struct data *d, struct err *err)
{
	const struct manifest *m = image_manifest(d->img);

	d->packs = calloc(m->n_packs + 1u, sizeof(*d->packs));
	if (!d->packs)
		return err_set(err, -ENOMEM, "out of memory");
	d->n_packs = m->n_packs;
	for (uint32_t i = 0; i < m->n_packs; i++) {
		char hex[DIGEST_HEX_SIZE];

		/* A pack that is missing has been reported with the blobs. */
		d->packs[i] = openat(layout_blobs(d->v->layout),
		                     digest_hex(&m->packs[i].digest, hex),
		                     O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	return 0;
}

/* Whether frame @i of @table is the one of @chunk. */
static bool is_frame_of(const struct seek_table *table, uint32_t i, const struct chunk *chunk)
{
	struct frame frame = seek_table_frame(table, i);

	return frame.off == chunk->frame_off && frame.size == chunk->frame_size &&
	       frame.plain_size == chunk->size;
}

/*
 * Find each of the @n chunk rows from @first on in the pack's seek table, which may have frames
 * between them that are no chunk of this image. Reports one difference.
 */
static int check_table(struct data *d, uint32_t pack, const struct chunk *first, size_t n,
                       struct err *err)
{
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	uint32_t at = 0, n_frames;
	int r = seek_table_load(d->packs[pack - 1], &table, err);

	if (r < 0) {
		(void)err_wrap(err, r, "pack %u", pack);
		return finding_or_error(d->v, r, err);
	}
	n_frames = seek_table_count(table);
	for (size_t i = 0; i < n; i++) {
		while (at < n_frames && seek_table_frame(table, at).off < first[i].frame_off)
			at++;
		if (at < n_frames && is_frame_of(table, at, &first[i])) {
			at++;
			continue;
		}
		finding(d->v, "pack %u: its seek table has no frame where the index has chunk %llu",
		        pack, (unsigned long long)first[i].id);
		break;
	}
	return 0;
}

/* Chunks are numbered in order of pack and offset, so each pack's rows are a run. */
static int check_tables(struct data *d, struct err *err)
{
	size_t at = 0;
	int r = 0;

	for (size_t i = 0; i < d->n_chunks; i++) {
		if (d->chunks[i].id == i + 1 &&
		    (i == 0 || d->chunks[i].pack >= d->chunks[i - 1].pack))
			continue;
		finding(d->v, "chunk %llu is out of order", (unsigned long long)d->chunks[i].id);
		return 0;
	}
	for (uint32_t pack = 1; r == 0 && pack <= d->n_packs; pack++) {
		size_t first = at;

		while (at < d->n_chunks && d->chunks[at].pack == pack)
			at++;
		if (d->packs[pack - 1] >= 0)
			r = check_table(d, pack, d->chunks + first, at - first, err);
	}
	return r;
}

/* Read, decompress and hash chunk @c into d->plain. Returns 0, -EBADMSG with a message, or -errno. */
static int decode(struct data *d, const struct chunk *c, struct err *err)
{
	struct digest digest;
	int r = io_pread(d->packs[c->pack - 1], d->frame, c->frame_size, c->frame_off);

	if (r == -ENODATA)
		return err_set(err, -EBADMSG, "the pack ends before it");
	if (r < 0)
		return err_set(err, r, "%s", strerrordesc_np(-r));
	if (!codec_has_checksum(d->frame, c->frame_size))
		return err_set(err, -EBADMSG, "its frame has no checksum");
	d->plain_chunk = 0;
	r = codec_decompress(d->codec, d->frame, c->frame_size, d->plain, c->size, err);
	if (r < 0)
		return r;
	sha256(d->plain, c->size, &digest);
	if (!digest_equal(&digest, &c->digest))
		return err_set(err, -EBADMSG, "its digest is another");
	d->plain_chunk = c->id;
	return 0;
}

/* Have chunk @c in d->plain. Returns 1, 0 when it is damaged, or -errno. */
static int load_chunk(struct data *d, const struct chunk *c, struct err *err)
{
	uint8_t unknown = CHUNK_UNREAD;
	uint8_t *state = c->id <= d->n_chunks ? &d->states[c->id - 1] : &unknown;
	int r;

	if (d->plain_chunk == c->id)
		return 1;
	if (*state == CHUNK_BAD)
		return 0;
	if (d->packs[c->pack - 1] < 0) {
		*state = CHUNK_BAD;
		return 0;
	}
	r = decode(d, c, err);
	*state = r < 0 ? CHUNK_BAD : CHUNK_GOOD;
	if (r == -EBADMSG) {
		finding(d->v, "pack %u: chunk %llu is damaged: %s", c->pack,
		        (unsigned long long)c->id, err->msg);
		return 0;
	}
	return r < 0 ? r : 1;
}

/* Hash @len zeros. */
static void hash_hole(struct sha256 *hash, uint64_t len)
{
	static const uint8_t zeros[64 << 10];

	while (len > 0) {
		size_t n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);

		sha256_update(hash, zeros, n);
		len -= n;
	}
}

/* Hash a content through its extents. Returns 1, 0 when a chunk is damaged, or -errno. */
static int hash_content(struct data *d, const struct content *c, const struct extent *extents,
                        uint32_t n, struct err *err)
{
	uint64_t off = 0;
	int r = 1;

	for (uint32_t i = 0; r == 1 && i < n; i++) {
		const struct extent *e = &extents[i];

		r = load_chunk(d, &e->chunk, err);
		if (r != 1)
			break;
		hash_hole(d->hash, e->off - off);
		sha256_update(d->hash, d->plain + e->chunk_off, e->len);
		off = e->off + e->len;
	}
	if (r == 1)
		hash_hole(d->hash, c->size - off);
	return r;
}

static int check_content(struct data *d, const struct content *c, struct err *err)
{
	CLEANUP(free) struct extent *extents = NULL;
	struct digest digest;
	uint32_t n = 0;
	int r = index_extents(image_index(d->img), c, &extents, &n, err);

	if (r < 0)
		return finding_or_error(d->v, r, err);
	r = hash_content(d, c, extents, n, err);
	sha256_final(d->hash, &digest);
	if (r < 0)
		return r;
	if (r == 0) {
		if (d->n_incomplete++ == 0)
			d->first_incomplete = c->id;
	} else if (!digest_equal(&digest, &c->digest)) {
		finding(d->v, "content %llu: its extents do not make the bytes of its digest",
		        (unsigned long long)c->id);
	}
	return 0;
}

/* The first file of content @arg->content. */
struct search {
	uint64_t content;
	uint64_t ino;
};

static int match_node(void *arg, const struct node *node)
{
	struct search *s = arg;

	if (node->content != s->content)
		return 0;
	s->ino = node->ino;
	return 1;
}

/* Say once what damaged chunks mean for files. */
static int report_incomplete(struct data *d, struct err *err)
{
	struct search s = { .content = d->first_incomplete };
	char path[4096] = "a content that no file has";
	char shown[NAME_SHOWN_MAX];
	int r;

	if (d->n_incomplete == 0)
		return 0;
	r = index_each_node(image_index(d->img), match_node, &s, err);
	if (r < 0)
		return finding_or_error(d->v, r, err);
	if (r == 1)
		index_path(image_index(d->img), s.ino, path, sizeof(path));
	finding(d->v, "%llu contents are incomplete, the first is '%s'",
	        (unsigned long long)d->n_incomplete, name_shown(path, shown));
	return 0;
}

static int check_counts(struct data *d)
{
	const struct index_info *info = index_info(image_index(d->img));
	uint64_t bytes = 0;

	for (size_t i = 0; i < d->n_contents; i++)
		bytes += d->contents[i].size;
	if (info->n_chunks != d->n_chunks || info->n_contents != d->n_contents ||
	    info->content_bytes != bytes)
		finding(d->v, "table meta miscounts chunks or contents");
	return 0;
}

static int check_all(struct data *d, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->n_contents; i++)
		r = check_content(d, &d->contents[i], err);
	for (size_t i = 0; r >= 0 && i < d->n_chunks; i++) {
		if (d->states[i] == CHUNK_UNREAD)
			r = load_chunk(d, &d->chunks[i], err);
	}
	return r < 0 ? r : report_incomplete(d, err);
}

int verify_data(struct verifier *v, struct image *img, struct err *err)
{
	CLEANUP(data_release)
	struct data d = {
		.v = v,
		.img = img,
		.codec = codec_new(),
		.hash = sha256_new(),
		.frame = malloc(FORMAT_FRAME_MAX),
		.plain = malloc(FORMAT_CHUNK_MAX),
	};
	int r;

	if (!d.codec || !d.hash || !d.frame || !d.plain)
		return err_set(err, -ENOMEM, "out of memory");
	r = load_rows(&d, err);
	if (r < 0)
		return r;
	d.states = calloc(d.n_chunks + 1, 1);
	if (!d.states)
		return err_set(err, -ENOMEM, "out of memory");
	r = open_packs(&d, err);
	if (r == 0)
		r = check_tables(&d, err);
	if (r < 0)
		return r;
	(void)check_counts(&d);
	return check_all(&d, err);
}
