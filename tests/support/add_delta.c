/* SPDX-License-Identifier: Apache-2.0 */
#include "add_delta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "delta.h"
#include "image.h"
#include "layout_writer.h"

enum { LEVEL = 3, N_BASES = 3 };

struct chunks {
	struct chunk *list; /* owned */
	size_t n, max;
};

/* One image and its base. */
struct pair {
	struct image *base, *img;      /* owned */
	struct chunks of_base, of_img; /* owned */
	size_t near;                   /* chunk of the base that follows the last one found */
	struct codec *codec;           /* owned */
	struct chunk_reader *reader;   /* owned */
	uint8_t *prefix, *frame;       /* owned */
	struct delta_writer *writer;   /* owned */
};

static void pair_release_cleanup(struct pair *p)
{
	image_close(p->base);
	image_close(p->img);
	free(p->of_base.list);
	free(p->of_img.list);
	codec_free(p->codec);
	chunk_reader_free(p->reader);
	free(p->prefix);
	free(p->frame);
	delta_writer_free(p->writer);
}

static int add_chunk(void *arg, const struct chunk *chunk)
{
	struct chunks *chunks = arg;

	if (chunks->n == chunks->max) {
		size_t max = chunks->max > 0 ? 2 * chunks->max : 64;
		struct chunk *list = reallocarray(chunks->list, max, sizeof(*list));

		if (!list)
			return -ENOMEM;
		chunks->list = list;
		chunks->max = max;
	}
	chunks->list[chunks->n++] = *chunk;
	return 0;
}

static int pair_open(struct pair *p, const struct layout *layout, int blobs,
                     const struct manifest *base, const struct manifest *m, struct err *err)
{
	int r = image_open_in_memory(layout, base, &p->base, err);

	if (r == 0)
		r = image_open_in_memory(layout, m, &p->img, err);
	if (r == 0)
		r = index_each_chunk(image_index(p->base), add_chunk, &p->of_base, err);
	if (r == 0)
		r = index_each_chunk(image_index(p->img), add_chunk, &p->of_img, err);
	if (r == 0)
		r = delta_writer_open(blobs, &p->writer, err);
	p->codec = codec_new();
	p->reader = chunk_reader_new();
	p->prefix = malloc(FORMAT_PREFIX_MAX);
	p->frame = malloc(FORMAT_FRAME_MAX);
	if (r == 0 && (!p->codec || !p->reader || !p->prefix || !p->frame))
		return err_set(err, -ENOMEM, "out of memory");
	return r;
}

/* Whether the base has @chunk's pack, too. */
static bool shares_pack(const struct pair *p, const struct chunk *chunk)
{
	const struct manifest *base = image_manifest(p->base);
	const struct descriptor *pack = &image_manifest(p->img)->packs[chunk->pack - 1];

	for (uint32_t i = 0; i < base->n_packs; i++) {
		if (digest_equal(&base->packs[i].digest, &pack->digest))
			return true;
	}
	return false;
}

/* The chunks of the base from which to make @chunk: *@ret_first and their number. */
static size_t choose_bases(struct pair *p, const struct chunk *chunk, size_t *ret_first)
{
	size_t n = p->of_base.n, first;

	for (size_t i = 0; i < n; i++) {
		size_t at = (p->near + i) % n;

		if (digest_equal(&p->of_base.list[at].digest, &chunk->digest)) {
			p->near = at + 1;
			*ret_first = at;
			return 1;
		}
	}
	first = p->near < n ? p->near : n - 1;
	p->near = first + 1;
	*ret_first = first;
	return n - first < N_BASES ? n - first : N_BASES;
}

static int append(struct pair *p, const struct chunk *chunk, struct err *err)
{
	struct digest bases[N_BASES];
	size_t first = 0, n = choose_bases(p, chunk, &first), size = 0, frame_size = 0;
	const void *plain = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct chunk *base = &p->of_base.list[first + i];

		if (base->size > FORMAT_PREFIX_MAX - size) {
			n = i;
			break;
		}
		bases[i] = base->digest;
		r = image_read_chunk(p->base, p->reader, base, &plain, err);
		if (r == 0)
			memcpy(p->prefix + size, plain, base->size);
		size += base->size;
	}
	if (r == 0)
		r = image_read_chunk(p->img, p->reader, chunk, &plain, err);
	if (r < 0)
		return r;
	r = codec_compress_delta(p->codec, LEVEL, p->prefix, size, plain, chunk->size, p->frame,
	                         FORMAT_FRAME_MAX, &frame_size);
	if (r < 0)
		return err_set(err, r, "chunk not compressed");
	return delta_writer_append(p->writer, &chunk->digest, chunk->size, p->frame,
	                           (uint32_t)frame_size, bases, (uint32_t)n, err);
}

static int make_delta(const struct layout *layout, int blobs, const struct manifest *base,
                      const struct manifest *m, struct delta_layer *ret, struct err *err)
{
	CLEANUP(pair_release) struct pair p = { .base = NULL };
	int r = pair_open(&p, layout, blobs, base, m, err);

	for (size_t i = 0; r == 0 && i < p.of_img.n; i++) {
		if (!shares_pack(&p, &p.of_img.list[i]))
			r = append(&p, &p.of_img.list[i], err);
	}
	ret->base = base->self.digest;
	return r < 0 ? r : delta_writer_publish(p.writer, &ret->blob.digest, &ret->blob.size, err);
}

static int extend(struct layout_writer *w, const struct layout *layout, const struct manifest *base,
                  struct manifest *m, struct err *err)
{
	struct delta_layer *deltas = reallocarray(m->deltas, m->n_deltas + 1u, sizeof(*deltas));
	int r;

	if (!deltas)
		return err_set(err, -ENOMEM, "out of memory");
	m->deltas = deltas;
	r = make_delta(layout, layout_writer_blobs(w), base, m, &deltas[m->n_deltas], err);
	if (r < 0)
		return r;
	m->n_deltas++;
	return layout_writer_manifest(w, m, err);
}

int add_delta(const char *path, const char *base_tag, const char *tag, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(layout_writer_close) struct layout_writer *w = NULL;
	CLEANUP(image_set_release) struct image_set bases = IMAGE_SET_INIT;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	struct descriptor tagged;
	int r = layout_writer_open(path, &w, err);

	if (r == 0)
		r = layout_open(path, &layout, err);
	if (r == 0)
		r = layout_images(layout, base_tag, &bases, err);
	if (r == 0)
		r = layout_images(layout, tag, &set, err);
	for (uint32_t i = 0; r == 0 && i < set.n_manifests; i++) {
		struct manifest *m = &set.manifests[i];
		const struct manifest *base = image_set_find(&bases, &m->platform, err);

		r = base ? extend(w, layout, base, m, err) : -ENOENT;
	}
	return r < 0 ? r : layout_writer_tag(w, tag, set.manifests, set.n_manifests, &tagged, err);
}
