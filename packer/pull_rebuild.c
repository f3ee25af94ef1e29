/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs from deltas: chunks are read from deltas as mounting reads them, and compressed
 * again as the packer did, which gives the same bytes with the same libzstd. A pack is chosen when
 * deltas have all its frames; the packer sees to it that there are such.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "codec.h"
#include "format.h"
#include "image.h"
#include "notes.h"
#include "oci_json.h"
#include "pack.h"
#include "pull_internal.h"

enum { LEVEL_MAX = 19 };

/* A delta layer. */
struct layer {
	struct delta_table *table; /* owned; NULL when it is of no use here */
	uint64_t cost;             /* bytes to be read for it */
	uint64_t gain;             /* bytes of the chosen packs that need it */
	uint32_t last;             /* pack that was counted last, from 1 */
};

/* A frame of a missing pack, and the first delta that has its chunk. */
struct source_frame {
	struct chunk chunk;
	uint32_t layer;
	uint32_t frame;
};

/* A pack of the image. */
struct target {
	bool chosen;  /* missing, and worth to be made from deltas, as far as is known */
	size_t first; /* of its frames */
	size_t n;
	uint64_t end; /* of its frames, in bytes */
};

struct rebuild {
	struct pull *p;
	const struct manifest *m;
	struct image *img;           /* owned */
	struct layer *layers;        /* owned; as many as the manifest has */
	struct target *packs;        /* owned; likewise */
	struct source_frame *frames; /* owned; of missing packs, in the order of the index */
	size_t n_frames;
	size_t frames_max;
	int level; /* of the image's packs */
};

static void rebuild_release_cleanup(struct rebuild *rb)
{
	for (uint32_t i = 0; rb->layers && i < rb->m->n_deltas; i++)
		delta_table_free(rb->layers[i].table);
	free(rb->layers);
	free(rb->packs);
	free(rb->frames);
	image_close(rb->img);
}

static bool is_there(const struct layout *layout, const struct descriptor *d)
{
	char hex[DIGEST_HEX_SIZE];
	struct stat st;

	return fstatat(layout_blobs(layout), digest_hex(&d->digest, hex), &st, 0) == 0 &&
	       S_ISREG(st.st_mode) && (uint64_t)st.st_size == d->size;
}

/* Whether the layout has the image whose manifest is @digest; its bytes are checked when they are used. */
static bool has_base(const struct layout *layout, const struct digest *digest)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	bool whole = layout_manifest(layout, digest, &m, NULL) == 0 && is_there(layout, &m.index);

	for (uint32_t i = 0; whole && i < m.n_packs; i++)
		whole = is_there(layout, &m.packs[i]);
	return whole;
}

/* Collects a run of a blob. */
struct run {
	uint8_t *at;
};

static int take_run(void *arg, const void *data, size_t len, struct err *err)
{
	struct run *run = arg;

	(void)err;
	memcpy(run->at, data, len);
	run->at += len;
	return 0;
}

/* Who gives a table. */
struct givers {
	struct registry_sources wrong; /* who gave another one */
	uint32_t used;                 /* who gives this one, and those */
};

/* The last @size bytes of the delta @d. */
static int read_end(struct pull *p, const struct descriptor *d, struct givers *givers, void *buf,
                    size_t size, struct err *err)
{
	struct registry_sources from = givers->wrong;
	const struct pull_run end = {
		.blob = d,
		.off = d->size - size,
		.len = size,
		.from = &from,
	};
	const struct pull_source *source = p->o->source;
	struct run run = { .at = buf };
	const struct pull_sink sink = { .take = take_run, .arg = &run };
	int r = source->read(source, &end, &sink, err);

	p->result.read_bytes += r == 0 ? size : 0;
	givers->wrong.told = from.told;
	givers->used |= from.used;
	return r;
}

static int load_table_from(struct pull *p, const struct descriptor *d, struct givers *givers,
                           struct delta_table **ret, struct err *err)
{
	CLEANUP(free) uint8_t *tail = NULL;
	uint8_t end[DELTA_END];
	char hex[DIGEST_HEX_SIZE];
	size_t size = 0;
	int r;

	(void)digest_hex(&d->digest, hex);
	if (d->size < sizeof(end))
		return err_set(err, -EBADMSG, "'%s': delta '%.12s' is too short",
		               p->o->source->name, hex);
	r = read_end(p, d, givers, end, sizeof(end), err);
	if (r < 0)
		return r;
	r = delta_tail_needed(end, d->size, &size, err);
	if (r < 0)
		return err_wrap(err, r, "'%s': delta '%.12s'", p->o->source->name, hex);
	tail = malloc(size);
	r = tail ? read_end(p, d, givers, tail, size, err) : err_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	r = delta_table_parse(tail, size, d->size, ret, err);
	return r < 0 ? err_wrap(err, r, "'%s': delta '%.12s'", p->o->source->name, hex) : 0;
}

/* The table of a delta says what it is good for, before all of it is read. */
static int load_table(struct pull *p, const struct descriptor *d, struct delta_table **ret,
                      struct err *err)
{
	const struct pull_source *source = p->o->source;
	struct givers givers = { .wrong = REGISTRY_SOURCES_INIT };

	for (;;) {
		int r = load_table_from(p, d, &givers, ret, err);

		givers.wrong.used = givers.used;
		if (r != -EBADMSG || !source->has_other ||
		    !source->has_other(source, &givers.wrong))
			return r;
	}
}

/* How the image's packs were compressed. Returns 1 when this program does it in the same way. */
static int read_config(struct rebuild *rb, struct err *err)
{
	static const char prefix[] = "libzstd ";
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *config = NULL;
	const json_t *compression;
	const char *library;
	json_int_t level;
	int r = layout_read_blob(rb->p->layout, &rb->m->config, &text, err);

	if (r == 0)
		r = json_parse_object(text, rb->m->config.size, "config", &config, err);
	if (r < 0)
		return r;
	compression = json_object_get(config, "compression");
	library = json_string_value(json_object_get(compression, "library"));
	level = json_integer_value(json_object_get(compression, "level"));
	if (!library || level < 1 || level > LEVEL_MAX)
		return 0;
	rb->level = (int)level;
	if (strncmp(library, prefix, strlen(prefix)) == 0 &&
	    strcmp(library + strlen(prefix), codec_version()) == 0)
		return 1;
	if (!rb->p->said_why)
		note("packs are read in full, deltas are not used: the image was made with another "
		     "libzstd than the %s of this program",
		     codec_version());
	rb->p->said_why = true;
	return 0;
}

/* Find out which packs are missing. Returns how many, or -errno. */
static int find_missing(struct rebuild *rb, struct err *err)
{
	int n = 0;

	for (uint32_t i = 0; i < rb->m->n_packs; i++) {
		int r = pull_has(rb->p, &rb->m->packs[i], err);

		if (r < 0)
			return r;
		rb->packs[i].chosen = r == 0;
		n += r == 0;
	}
	return n;
}

/* Load the tables of deltas whose base is there. Returns how many, or -errno. */
static int load_tables(struct rebuild *rb, struct err *err)
{
	int n = 0, r;

	for (uint32_t i = 0; i < rb->m->n_deltas; i++) {
		const struct delta_layer *delta = &rb->m->deltas[i];

		if (!has_base(rb->p->layout, &delta->base))
			continue;
		if (n++ == 0) {
			r = read_config(rb, err);
			if (r <= 0)
				return r;
		}
		r = pull_has(rb->p, &delta->blob, err);
		if (r < 0)
			return r;
		rb->layers[i].cost = r == 1 ? 0 : delta->blob.size;
		r = load_table(rb->p, &delta->blob, &rb->layers[i].table, err);
		/* The source may be a layout that was pulled to without it. */
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return n;
}

/* Set the first delta that has the chunk of @f. Returns false when there is none. */
static bool find_delta(const struct rebuild *rb, struct source_frame *f)
{
	for (f->layer = 0; f->layer < rb->m->n_deltas; f->layer++) {
		const struct delta_table *table = rb->layers[f->layer].table;

		if (table && delta_table_find(table, &f->chunk.digest, &f->frame) &&
		    delta_table_frame(table, f->frame).plain_size == f->chunk.size)
			return true;
	}
	return false;
}

/* Keep a chunk of a missing pack, and drop the pack when it is no whole run of frames in deltas. */
static int add_chunk(void *arg, const struct chunk *chunk)
{
	struct rebuild *rb = arg;
	struct target *pack = &rb->packs[chunk->pack - 1];
	struct source_frame *frames, f = { .chunk = *chunk };

	if (!pack->chosen)
		return 0;
	if (pack->n == 0)
		pack->first = rb->n_frames;
	if (chunk->frame_off != pack->end || pack->first + pack->n != rb->n_frames ||
	    !find_delta(rb, &f)) {
		pack->chosen = false;
		return 0;
	}
	frames = array_grow(rb->frames, rb->n_frames, &rb->frames_max, sizeof(*frames));
	if (!frames)
		return -ENOMEM;
	rb->frames = frames;
	frames[rb->n_frames++] = f;
	pack->n++;
	pack->end += chunk->frame_size;
	return 0;
}

/* Find the packs of which deltas have all frames. */
static int find_covered(struct rebuild *rb, struct err *err)
{
	int r = index_each_chunk(image_index(rb->img), add_chunk, rb, err);

	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
	for (uint32_t i = 0; i < rb->m->n_packs; i++) {
		struct target *pack = &rb->packs[i];

		/* Frames at its end may be no chunks of this image. */
		if (pack->n == 0 || pack->end + pack_overhead(pack->n) != rb->m->packs[i].size)
			pack->chosen = false;
	}
	return 0;
}

/* Add up what the chosen packs would cost in full, and what each delta is good for. */
static uint64_t count_gain(struct rebuild *rb)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < rb->m->n_deltas; i++)
		rb->layers[i].gain = rb->layers[i].last = 0;
	for (uint32_t i = 0; i < rb->m->n_packs; i++) {
		const struct target *pack = &rb->packs[i];

		if (!pack->chosen)
			continue;
		sum += rb->m->packs[i].size;
		for (size_t k = pack->first; k < pack->first + pack->n; k++) {
			struct layer *layer = &rb->layers[rb->frames[k].layer];

			if (layer->last != i + 1)
				layer->gain += rb->m->packs[i].size;
			layer->last = i + 1;
		}
	}
	return sum;
}

/* Give up the packs that need delta @layer. */
static void drop_layer(struct rebuild *rb, uint32_t layer)
{
	for (uint32_t i = 0; i < rb->m->n_packs; i++) {
		struct target *pack = &rb->packs[i];

		for (size_t k = pack->first; pack->chosen && k < pack->first + pack->n; k++)
			pack->chosen = rb->frames[k].layer != layer;
	}
}

/* Leave only packs chosen that are worth it. Returns whether there are any. */
static bool choose(struct rebuild *rb)
{
	uint64_t sum = count_gain(rb), cost = 0;

	for (uint32_t i = 0; i < rb->m->n_deltas; i++) {
		const struct layer *layer = &rb->layers[i];

		if (layer->gain == 0 || layer->cost < layer->gain)
			continue;
		drop_layer(rb, i);
		sum = count_gain(rb);
	}
	for (uint32_t i = 0; i < rb->m->n_deltas; i++)
		cost += rb->layers[i].gain > 0 ? rb->layers[i].cost : 0;
	return cost < sum;
}

static int fetch_deltas(struct rebuild *rb, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < rb->m->n_deltas; i++) {
		if (rb->layers[i].gain > 0)
			r = pull_delta(rb->p, &rb->m->deltas[i].blob, err);
	}
	return r;
}

/* What making a pack takes. */
struct tools {
	struct chunk_reader *reader; /* owned */
	struct codec *codec;         /* owned */
	void *frame;                 /* owned */
	size_t frame_max;
};

static void tools_release_cleanup(struct tools *t)
{
	chunk_reader_free(t->reader);
	codec_free(t->codec);
	free(t->frame);
}

/*
 * Compress the chunk of @f again, at the end of @w. Returns 1 when that cannot be done, with the
 * reason in @why; 0; -errno.
 */
static int append_frame(const struct rebuild *rb, const struct source_frame *f, struct tools *t,
                        struct pack_writer *w, struct err *why, struct err *err)
{
	const void *plain;
	uint64_t off;
	size_t size;
	int r = image_read_delta(rb->img, t->reader, f->layer, f->frame, &plain, why);

	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "out of memory") : 1;
	r = codec_compress(t->codec, rb->level, plain, f->chunk.size, t->frame, t->frame_max,
	                   &size);
	if (r < 0)
		return err_set(err, r, "chunk %llu could not be compressed: %s",
		               (unsigned long long)f->chunk.id, strerrordesc_np(-r));
	if (size != f->chunk.frame_size) {
		(void)err_set(why, -EBADMSG, "chunk %llu was compressed in another way",
		              (unsigned long long)f->chunk.id);
		return 1;
	}
	return pack_writer_append(w, t->frame, (uint32_t)size, f->chunk.size, &off, err);
}

/* Make pack @i. Returns as append_frame(). */
static int make_pack(struct rebuild *rb, uint32_t i, struct tools *t, struct err *why,
                     struct err *err)
{
	CLEANUP(pack_writer_free) struct pack_writer *w = NULL;
	const struct target *pack = &rb->packs[i];
	uint64_t done = rb->p->done;
	int r = pack_writer_open(layout_writer_blobs(rb->p->writer), &w, err);

	for (size_t k = pack->first; r == 0 && k < pack->first + pack->n; k++) {
		r = append_frame(rb, &rb->frames[k], t, w, why, err);
		pull_progress(rb->p, rb->frames[k].chunk.frame_size);
	}
	if (r == 0) {
		r = pack_writer_publish_as(w, &rb->m->packs[i].digest, why);
		if (r == -EBADMSG)
			r = 1;
		else if (r < 0)
			(void)err_set(err, r, "%s", why->msg);
	}
	rb->p->done = done + (r == 0 ? rb->m->packs[i].size : 0);
	return r < 0 ? err_wrap(err, r, "'%s'", rb->p->o->image->layout) : r;
}

static int make_packs(struct rebuild *rb, bool *rebuilt, struct err *err)
{
	CLEANUP(tools_release)
	struct tools t = {
		.reader = chunk_reader_new(),
		.codec = codec_new(),
		.frame_max = codec_bound(FORMAT_CHUNK_MAX),
		.frame = malloc(codec_bound(FORMAT_CHUNK_MAX)),
	};
	int r = t.reader && t.codec && t.frame ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (uint32_t i = 0; r == 0 && i < rb->m->n_packs; i++) {
		const struct descriptor *pack = &rb->m->packs[i];
		struct err why = ERR_INIT;
		char hex[DIGEST_HEX_SIZE];

		if (!rb->packs[i].chosen)
			continue;
		r = make_pack(rb, i, &t, &why, err);
		if (r == 1) {
			note("pack '%.12s' is read in full: %s", digest_hex(&pack->digest, hex),
			     why.msg);
			r = 0;
			continue;
		}
		if (r == 0)
			r = pull_remember(rb->p, pack, err);
		rebuilt[i] = true;
		rb->p->result.n_rebuilt++;
		rb->p->result.rebuilt_bytes += pack->size;
	}
	return r;
}

int pull_rebuild(struct pull *p, const struct manifest *m, bool *rebuilt, struct err *err)
{
	CLEANUP(rebuild_release)
	struct rebuild rb = {
		.p = p,
		.m = m,
		.layers = calloc(m->n_deltas + 1u, sizeof(struct layer)),
		.packs = calloc(m->n_packs + 1u, sizeof(struct target)),
	};
	int r;

	if (!rb.layers || !rb.packs)
		return err_set(err, -ENOMEM, "out of memory");
	r = m->n_deltas > 0 ? find_missing(&rb, err) : 0;
	if (r > 0)
		r = load_tables(&rb, err);
	if (r <= 0)
		return r;
	r = image_open_in_memory(p->layout, m, &rb.img, err);
	if (r == 0)
		r = find_covered(&rb, err);
	if (r < 0 || !choose(&rb))
		return r;
	r = fetch_deltas(&rb, err);
	return r < 0 ? r : make_packs(&rb, rebuilt, err);
}
