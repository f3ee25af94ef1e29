/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks from deltas, for images whose packs are not all there.
 *
 * Deltas are opened together, once, by the first thread that needs one;
 * others wait for it. After that all is constant. Of a base only the chunks are kept that
 * some delta needs: its index may be as large as the image's own. Bases are
 * read from their packs, never from deltas: nothing chains.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image_delta_internal.h"

struct deltas *deltas_new(void)
{
	struct deltas *deltas = calloc(1, sizeof(*deltas));

	if (!deltas)
		return NULL;
	(void)pthread_mutex_init(&deltas->lock, NULL);
	(void)pthread_cond_init(&deltas->changed, NULL);
	return deltas;
}

static void close_all(struct deltas *deltas)
{
	for (uint32_t i = 0; i < deltas->n; i++) {
		struct delta *delta = &deltas->list[i];

		delta_table_free(delta->table);
		free(delta->chunks);
		if (delta->fd >= 0)
			(void)close(delta->fd);
	}
	for (uint32_t i = 0; i < deltas->n_bases; i++) {
		image_close(deltas->bases[i].img);
		free(deltas->bases[i].pack_there);
	}
	free(deltas->list);
	free(deltas->bases);
	deltas->list = NULL;
	deltas->bases = NULL;
	deltas->n = 0;
	deltas->n_bases = 0;
}

void deltas_free(struct deltas *deltas)
{
	if (!deltas)
		return;
	close_all(deltas);
	(void)pthread_cond_destroy(&deltas->changed);
	(void)pthread_mutex_destroy(&deltas->lock);
	free(deltas);
}

/* Failures that say nothing about the layout: the next call may do better. */
static bool is_passing(int code)
{
	return code == -ENOMEM || code == -EMFILE || code == -ENFILE;
}

/* Open the blob of @delta and load its table. */
int delta_load_table(const struct layout *layout, const struct descriptor *blob,
                     struct delta *delta, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct stat st;
	int r;

	delta->fd = openat(layout_blobs(layout), digest_hex(&blob->digest, hex),
	                   O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (delta->fd < 0)
		return err_set_errno(err, "delta '%.12s' not in '%s'", hex, layout_path(layout));
	if (fstat(delta->fd, &st) < 0)
		return err_set_errno(err, "delta '%.12s'", hex);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != blob->size)
		return err_set(err, -EBADMSG, "delta '%.12s' has %lld bytes instead of %llu", hex,
		               (long long)st.st_size, (unsigned long long)blob->size);
	(void)posix_fadvise(delta->fd, 0, 0, POSIX_FADV_RANDOM);
	r = delta_table_load(delta->fd, &delta->table, err);
	if (r < 0)
		return err_wrap(err, r, "delta '%.12s'", hex);
	delta->chunks = calloc(delta_table_n_bases(delta->table), sizeof(*delta->chunks));
	if (!delta->chunks) {
		delta_table_free(TAKE_PTR(delta->table));
		return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

struct collecting {
	struct deltas *deltas;
	const struct base *base;
};

/* Keep where @chunk of a base is for every delta that needs it. */
static int keep_chunk(void *arg, const struct chunk *chunk)
{
	const struct collecting *c = arg;

	for (uint32_t i = 0; i < c->deltas->n; i++) {
		const struct delta *delta = &c->deltas->list[i];
		uint32_t number;

		if (delta->base == c->base && delta->table &&
		    delta_table_find_base(delta->table, &chunk->digest, &number))
			delta->chunks[number] = *chunk;
	}
	return 0;
}

int delta_open_base(struct deltas *deltas, const struct layout *layout, const struct digest *digest,
                    struct base *base, struct err *err)
{
	CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
	struct collecting c = { .deltas = deltas, .base = base };
	int r = layout_manifest(layout, digest, &manifest, err);

	if (r == 0)
		r = image_open_in_memory(layout, &manifest, &base->img, err);
	if (r < 0)
		return r;
	base->pack_there = calloc(manifest.n_packs + 1u, sizeof(*base->pack_there));
	if (!base->pack_there)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < manifest.n_packs; i++)
		base->pack_there[i] = image_check_pack(base->img, i, NULL) == 0;
	r = index_each_chunk(base->img->index, keep_chunk, &c, err);
	index_close(TAKE_PTR(base->img->index));
	return r;
}

/* Load the table of layer @i to @delta. */
static int open_layer(const struct image *img, uint32_t i, struct delta *delta)
{
	const struct delta_layer *layer = &img->manifest.deltas[i];

	delta->fd = -1;
	delta->blob = layer->blob;
	delta->far = image_is_remote(img) ? img : NULL;
	return delta->far ? delta_bring_table(img, layer, delta, &delta->why)
	                  : delta_load_table(img->layout, &layer->blob, delta, &delta->why);
}

/* The base of layer @i: that of an earlier layer, or a new one, not opened yet. */
static struct base *add_base(struct deltas *deltas, const struct delta_layer *layers, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++) {
		if (digest_equal(&layers[k].base, &layers[i].base))
			return deltas->list[k].base;
	}
	return &deltas->bases[deltas->n_bases++];
}

static int open_all(struct deltas *deltas, const struct image *img, struct err *err)
{
	const struct manifest *m = &img->manifest;

	deltas->list = calloc(m->n_deltas, sizeof(*deltas->list));
	deltas->bases = calloc(m->n_deltas, sizeof(*deltas->bases));
	if (!deltas->list || !deltas->bases)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < m->n_deltas; i++) {
		struct delta *delta = &deltas->list[deltas->n++];
		int r = open_layer(img, i, delta);

		if (is_passing(r))
			return err_set(err, r, "%s", delta->why.msg);
		delta->base = add_base(deltas, m->deltas, i);
	}
	for (uint32_t i = 0; i < m->n_deltas; i++) {
		struct base *base = deltas->list[i].base;
		int r;

		if (base->img || base->why.code < 0)
			continue;
		r = image_is_remote(img)
		            ? delta_open_far_base(deltas, img, &m->deltas[i].base, base, &base->why)
		            : delta_open_base(deltas, img->layout, &m->deltas[i].base, base,
		                              &base->why);
		if (is_passing(r))
			return err_set(err, r, "%s", base->why.msg);
		if (r < 0) {
			image_close(base->img);
			base->img = NULL;
		}
	}
	return 0;
}

/* Have @img's deltas open, or as far as they can be. */
int deltas_open(const struct image *img, struct err *err)
{
	struct deltas *deltas = img->deltas;
	bool mine = false;
	int r = 0;

	(void)pthread_mutex_lock(&deltas->lock);
	while (deltas->state == STATE_OPENING)
		(void)pthread_cond_wait(&deltas->changed, &deltas->lock);
	if (deltas->state == STATE_CLOSED) {
		deltas->state = STATE_OPENING;
		mine = true;
	}
	(void)pthread_mutex_unlock(&deltas->lock);
	if (!mine)
		return 0;
	r = open_all(deltas, img, err);
	if (r < 0)
		close_all(deltas);
	(void)pthread_mutex_lock(&deltas->lock);
	deltas->state = r < 0 ? STATE_CLOSED : STATE_OPEN;
	(void)pthread_cond_broadcast(&deltas->changed);
	(void)pthread_mutex_unlock(&deltas->lock);
	return r;
}

/* The chunk in the base of the @i-th base of @frame; size 0 when there is none. */
const struct chunk *delta_base_chunk(const struct delta *delta, const struct delta_frame *frame,
                                     uint32_t i)
{
	return &delta->chunks[delta_table_base(delta->table, frame->first_base + i)];
}

/* Check what is known of @frame's prefix before any of it is read. */
int delta_check_prefix(const struct delta *delta, const struct delta_frame *frame, struct err *err)
{
	uint32_t size = 0;

	for (uint32_t i = 0; i < frame->n_bases; i++) {
		const struct chunk *chunk = delta_base_chunk(delta, frame, i);

		if (chunk->size == 0)
			return err_set(err, -EBADMSG, "its base has no such chunk");
		if (chunk->size > FORMAT_PREFIX_MAX - size)
			return err_set(err, -EBADMSG, "its prefix has more than %d bytes",
			               FORMAT_PREFIX_MAX);
		size += chunk->size;
	}
	return 0;
}

/* Whether @prefix consists of the bases of @frame. */
static bool is_prefix_of(const struct prefix *prefix, const struct delta *delta,
                         const struct delta_frame *frame)
{
	bool same = prefix->n == frame->n_bases;

	for (uint32_t i = 0; same && i < prefix->n; i++)
		same = digest_equal(&prefix->parts[i].digest,
		                    &delta_base_chunk(delta, frame, i)->digest);
	return same;
}

static uint32_t prefix_size(const struct prefix *prefix)
{
	return prefix->n > 0 ? prefix->parts[prefix->n - 1].off + prefix->parts[prefix->n - 1].size
	                     : 0;
}

/* Read @chunk of @base. */
static int read_base(const struct base *base, const struct chunk_reader *reader,
                     const struct chunk *chunk, void *plain, struct err *err)
{
	const struct descriptor *pack = &base->img->manifest.packs[chunk->pack - 1];
	struct pack_hold range = { .range = { .off = chunk->frame_off, .len = chunk->frame_size } };
	int r = delta_hold(base->far, pack, &range, err);

	if (r < 0)
		return r;
	r = image_read_packed(base->img, reader, chunk, plain, err);
	delta_let_go(base->far, pack, &range, r);
	return r;
}

/* Put @chunk at the end of @prefix, where there is room: from @last, or from its pack. */
static int append_base(struct prefix *prefix, const struct prefix *last, const struct base *base,
                       const struct chunk_reader *reader, const struct chunk *chunk,
                       struct err *err)
{
	uint32_t off = prefix_size(prefix), i = 0;
	int r = 0;

	while (i < last->n && !digest_equal(&last->parts[i].digest, &chunk->digest))
		i++;
	if (i < last->n && last->parts[i].size == chunk->size)
		memcpy(prefix->bytes + off, last->bytes + last->parts[i].off, chunk->size);
	else
		r = read_base(base, reader, chunk, prefix->bytes + off, err);
	if (r < 0)
		return r;
	prefix->parts[prefix->n].digest = chunk->digest;
	prefix->parts[prefix->n].off = off;
	prefix->parts[prefix->n].size = chunk->size;
	prefix->n++;
	return 0;
}

/* Make the prefix of @frame the one in use. */
static int read_prefix(const struct delta *delta, const struct delta_frame *frame,
                       struct chunk_reader *reader, struct err *err)
{
	const struct prefix *last = &reader->prefixes[reader->current];
	struct prefix *next = &reader->prefixes[1 - reader->current];
	int r = delta_check_prefix(delta, frame, err);

	if (r < 0 || is_prefix_of(last, delta, frame))
		return r;
	if (!next->bytes)
		next->bytes = malloc(FORMAT_PREFIX_MAX);
	if (!next->bytes)
		return err_set(err, -ENOMEM, "out of memory");
	next->n = 0;
	for (uint32_t i = 0; r == 0 && i < frame->n_bases; i++)
		r = append_base(next, last, delta->base, reader, delta_base_chunk(delta, frame, i),
		                err);
	if (r == 0)
		reader->current = 1 - reader->current;
	return r;
}

/* Decompress @frame of an opened delta to @reader->plain, with the prefix in use, and compare it with @chunk's digest. */
static int decompress(const struct delta *delta, const struct delta_frame *frame,
                      struct chunk_reader *reader, const struct chunk *chunk, struct err *err)
{
	const struct prefix *prefix = &reader->prefixes[reader->current];
	uint32_t size = frame->size;
	int r = image_read_frame(delta->fd, reader, frame->off, size, err);

	if (r == 0)
		r = image_trim_frame(reader, &size, err);
	if (r == 0)
		r = codec_decompress_delta(reader->codec, prefix->bytes, prefix_size(prefix),
		                           reader->frame, size, reader->plain, chunk->size, err);
	return r < 0 ? r : image_check_plain(reader->plain, chunk, err);
}

static int read_frame(const struct delta *delta, const struct delta_frame *frame,
                      struct chunk_reader *reader, const struct chunk *chunk, struct err *err)
{
	struct pack_hold range = { .range = { .off = frame->off, .len = frame->size } };
	int r = read_prefix(delta, frame, reader, err);

	if (r == 0)
		r = delta_hold(delta->far, &delta->blob, &range, err);
	if (r < 0)
		return r;
	r = decompress(delta, frame, reader, chunk, err);
	delta_let_go(delta->far, &delta->blob, &range, r);
	return r;
}

/* Read @chunk, frame @number of layer @i. */
int delta_read(const struct image *img, uint32_t i, uint32_t number, struct chunk_reader *reader,
               const struct chunk *chunk, struct err *err)
{
	const struct delta *delta = &img->deltas->list[i];
	struct delta_frame frame = delta_table_frame(delta->table, number);
	char hex[DIGEST_HEX_SIZE];
	int r;

	if (!delta->base->img)
		return err_set(err, -ENOENT,
		               "its delta needs image '%.12s', which is not whole here",
		               digest_hex(&img->manifest.deltas[i].base, hex));
	r = read_frame(delta, &frame, reader, chunk, err);
	return r < 0 ? err_wrap(err, r, "delta '%.12s': frame %u",
	                        digest_hex(&img->manifest.deltas[i].blob.digest, hex), number)
	             : 0;
}

int deltas_read(const struct image *img, struct chunk_reader *reader, const struct chunk *chunk,
                struct err *err)
{
	struct err first = ERR_INIT;
	int r = deltas_open(img, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < img->deltas->n; i++) {
		const struct delta *delta = &img->deltas->list[i];
		struct err why = ERR_INIT;
		uint32_t number;

		if (!delta->table)
			why = delta->why;
		else if (delta_table_find(delta->table, &chunk->digest, &number) &&
		         delta_read(img, i, number, reader, chunk, &why) == 0)
			return 0;
		if (first.code == 0)
			first = why;
	}
	if (first.code == 0)
		return err_set(err, -ENOENT, "no delta has it");
	return err_set(err, first.code, "%s", first.msg);
}

/* Whether the packs are there that hold the prefix of @frame. */
static bool has_bases(const struct delta *delta, const struct delta_frame *frame)
{
	if (!delta->base->img || delta_check_prefix(delta, frame, NULL) < 0)
		return false;
	for (uint32_t i = 0; i < frame->n_bases; i++) {
		if (!delta->base->pack_there[delta_base_chunk(delta, frame, i)->pack - 1])
			return false;
	}
	return true;
}

bool deltas_cover(const struct image *img, const struct chunk *chunk)
{
	if (deltas_open(img, NULL) < 0)
		return false;
	for (uint32_t i = 0; i < img->deltas->n; i++) {
		const struct delta *delta = &img->deltas->list[i];
		struct delta_frame frame;
		uint32_t number;

		if (!delta->table || !delta_table_find(delta->table, &chunk->digest, &number))
			continue;
		frame = delta_table_frame(delta->table, number);
		if (frame.plain_size == chunk->size && has_bases(delta, &frame))
			return true;
	}
	return false;
}

int image_delta_table(const struct image *img, uint32_t i, const struct delta_table **ret,
                      struct err *err)
{
	int r = deltas_open(img, err);

	if (r < 0)
		return r;
	if (!img->deltas->list[i].table)
		return err_set(err, img->deltas->list[i].why.code, "%s",
		               img->deltas->list[i].why.msg);
	*ret = img->deltas->list[i].table;
	return 0;
}

int image_read_delta(const struct image *img, struct chunk_reader *reader, uint32_t i,
                     uint32_t frame, const void **ret, struct err *err)
{
	const struct delta_table *table = NULL;
	struct chunk chunk;
	int r = image_delta_table(img, i, &table, err);

	if (r < 0)
		return r;
	chunk = (struct chunk){
		.digest = *delta_table_chunk(table, frame),
		.size = delta_table_frame(table, frame).plain_size,
	};
	r = delta_read(img, i, frame, reader, &chunk, err);
	if (r == 0)
		*ret = reader->plain;
	return r;
}
