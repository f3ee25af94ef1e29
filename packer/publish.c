/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of packs, chunks and contents are a platform's own. Packs of the
 * image that it is built from come first, in that image's order, so that an
 * unchanged tree gives an unchanged index.
 */
#include "publish.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/aside.h"
#include "base/io.h"
#include "codec.h"
#include "format.h"
#include "index_blob.h"
#include "index_writer.h"
#include "sections.h"

/* One image being published. */
struct image_writer {
	const struct publication *pub;
	const struct platform_tree *tree;
	struct tree_entries entries;
	uint32_t mask;
	struct manifest *manifest;
	struct index_writer *index;
	const struct image *old;     /* the image that this one is built from, or NULL */
	char path[32];               /* of the database */
	struct digest plain_index;   /* of the database before it is compressed */
	struct index_place contents; /* of the database */
	struct codec_ahead *ahead; /* owned; compresses these while the rest is written; or NULL */
	uint64_t n_chunks;
	uint64_t stored_bytes;
	uint64_t unique_bytes;
	uint64_t small_bytes;     /* of contents up to FORMAT_SMALL_MAX */
	struct sections sections; /* owned; of the packed index; none when it is not large */
};

DEFINE_CLEANUP(json_t *, json_decref)

/* The manifest of the image that this one is built from, or NULL. */
static const struct manifest *base_of(const struct image_writer *w)
{
	return w->old ? image_manifest(w->old) : NULL;
}

/* The content that @node has a row of; NULL when it has none. */
static struct new_content *content_of(const struct tree_node *node)
{
	if (!S_ISREG(node->mode) || !node->content)
		return NULL;
	return node->content->is_twin ? node->content->twin : node->content;
}

/* Number the contents in order of their first file, and mark the chunks that they use. */
static void mark_used(struct image_writer *w)
{
	size_t n;
	struct stored_chunk *const *chunks = packs_chunks(w->pub->packs, &n);
	uint32_t last = 0;

	for (size_t i = 0; i < n; i++)
		chunks[i]->id = 0;
	for (size_t i = 0; i < w->pub->contents->n; i++)
		w->pub->contents->list[i].id = 0;
	for (size_t place = 0; place < w->tree->n_nodes; place++) {
		struct new_content *c = content_of(w->tree->nodes[place].node);

		if (!c || c->id != 0)
			continue;
		c->id = ++last;
		for (uint32_t i = 0; i < c->n_runs; i++)
			content_run(c, i).chunk->id = 1;
	}
}

/* Place of pack @digest in the image that this one is built from, or UINT32_MAX. */
static uint32_t place_in_base(const struct image_writer *w, const struct digest *digest)
{
	const struct manifest *base = base_of(w);

	for (uint32_t i = 0; base && i < base->n_packs; i++) {
		if (digest_equal(&base->packs[i].digest, digest))
			return i;
	}
	return UINT32_MAX;
}

/* A pack that the image names: the chunks that stand from first on are its. */
struct used_pack {
	uint32_t base_place;
	uint32_t record;
	size_t first;
};

static int compare_used(const void *a, const void *b)
{
	const struct used_pack *x = a;
	const struct used_pack *y = b;

	if (x->base_place != y->base_place)
		return x->base_place < y->base_place ? -1 : 1;
	return x->record < y->record ? -1 : x->record > y->record;
}

/* List the packs that have marked chunks, in the image's order. @list has room for all records. */
static uint32_t list_packs(const struct image_writer *w, struct used_pack *list)
{
	uint32_t n_records;
	const struct pack_record *records = packs_records(w->pub->packs, &n_records);
	size_t n;
	struct stored_chunk *const *chunks = packs_chunks(w->pub->packs, &n);
	uint32_t n_used = 0;

	for (size_t i = 0; i < n; i++) {
		const struct stored_chunk *c = chunks[i];

		if (c->id == 0 || (n_used > 0 && list[n_used - 1].record == c->pack))
			continue;
		list[n_used++] = (struct used_pack){
			.base_place = place_in_base(w, &records[c->pack].digest),
			.record = c->pack,
			.first = i,
		};
	}
	if (n_used > 1)
		qsort(list, n_used, sizeof(*list), compare_used);
	return n_used;
}

static int write_pack(struct image_writer *w, const struct used_pack *pack, struct err *err)
{
	uint32_t n;
	const struct pack_record *record = &packs_records(w->pub->packs, &n)[pack->record];
	struct pack_info info = { .digest = record->digest, .size = record->size };
	struct manifest *m = w->manifest;

	m->packs[m->n_packs++] = (struct descriptor){ .digest = info.digest, .size = info.size };
	w->stored_bytes += info.size;
	return index_writer_pack(w->index, m->n_packs, &info, err);
}

/* The marked chunks of @pack, the image's number @number. */
static int write_chunks(struct image_writer *w, const struct used_pack *pack, uint32_t number,
                        struct err *err)
{
	size_t n;
	struct stored_chunk *const *chunks = packs_chunks(w->pub->packs, &n);
	int r = 0;

	for (size_t i = pack->first; r == 0 && i < n && chunks[i]->pack == pack->record; i++) {
		struct stored_chunk *c = chunks[i];
		struct chunk row = {
			.digest = c->digest,
			.pack = number,
			.frame_off = c->frame_off,
			.frame_size = c->frame_size,
			.size = c->size,
		};

		if (c->id == 0)
			continue;
		c->id = ++w->n_chunks;
		row.id = c->id;
		r = index_writer_chunk(w->index, &row, err);
	}
	return r;
}

static int write_packs_and_chunks(struct image_writer *w, struct err *err)
{
	CLEANUP(free) struct used_pack *list = NULL;
	uint32_t n;
	int r = 0;

	(void)packs_records(w->pub->packs, &n);
	list = calloc(n + 1u, sizeof(*list));
	w->manifest->packs = calloc(n + 1u, sizeof(*w->manifest->packs));
	if (!list || !w->manifest->packs)
		return err_set(err, -ENOMEM, "out of memory");
	n = list_packs(w, list);
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = write_pack(w, &list[i], err);
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = write_chunks(w, &list[i], i + 1, err);
	return r;
}

static int write_content(struct image_writer *w, const struct new_content *c, struct err *err)
{
	const struct content content = {
		.id = c->id,
		.digest = c->digest,
		.size = content_size(c),
	};
	int r = index_writer_content(w->index, &content, err);

	w->unique_bytes += content.size;
	if (content.size <= FORMAT_SMALL_MAX)
		w->small_bytes += content.size;
	for (uint32_t i = 0; r == 0 && i < c->n_runs; i++) {
		struct run run = content_run(c, i);
		struct extent row = {
			.content = c->id,
			.off = run.off,
			.len = run.len,
			.chunk_off = run.chunk_off,
			.chunk = { .id = run.chunk->id },
		};

		r = index_writer_extent(w->index, &row, err);
	}
	return r;
}

/* Contents come in the order of their numbers: each at the first of its files. */
static int write_contents(struct image_writer *w, struct err *err)
{
	uint32_t last = 0;
	int r = 0;

	for (size_t place = 0; r == 0 && place < w->tree->n_nodes; place++) {
		const struct new_content *c = content_of(w->tree->nodes[place].node);

		if (!c || c->id != last + 1)
			continue;
		last++;
		r = write_content(w, c, err);
	}
	return r;
}

/* The entries of the directory at @place, which has inode number @ino. */
static int write_entries(struct image_writer *w, uint32_t place, uint64_t ino, struct err *err)
{
	struct placed_entry entry;
	uint64_t seq = 0;
	int r = 0;

	tree_entries_begin(&w->entries, place);
	while (r == 0 && tree_entries_next(&w->entries, &entry))
		r = index_writer_entry(w->index, ino, ++seq, entry.name,
		                       entry.place + FORMAT_ROOT_INO, err);
	return r;
}

static int write_node(struct image_writer *w, uint32_t place, struct err *err)
{
	const struct placed_node *placed = &w->tree->nodes[place];
	const struct tree_node *node = placed->node;
	struct node row = {
		.ino = place + FORMAT_ROOT_INO,
		.mode = node->mode,
		.nlink = placed->nlink,
		.uid = node->uid,
		.gid = node->gid,
		.mtime_s = node->mtime_s,
		.mtime_ns = node->mtime_ns,
		.size = S_ISDIR(node->mode) ? placed->n_entries : node->size,
		.content = content_of(node) ? content_of(node)->id : 0,
	};
	int r = index_writer_node(w->index, &row, S_ISLNK(node->mode) ? node->target : NULL, err);

	if (r == 0 && S_ISDIR(node->mode))
		r = write_entries(w, place, row.ino, err);
	for (size_t i = 0; r == 0 && node->xattrs && i < node->xattrs->n; i++) {
		const struct tree_xattr *x = &node->xattrs->list[i];

		r = index_writer_xattr(w->index, row.ino, x->name, x->value, x->len, err);
	}
	return r;
}

/* Begin to compress the contents, if they are many and there are threads to do it. */
static int begin_ahead(struct image_writer *w, int fd, struct err *err)
{
	int r;

	if (w->pub->options->jobs < 2 || !index_blob_has_ahead(&w->contents))
		return 0;
	r = index_writer_flush(w->index, err);
	if (r == 0)
		w->ahead = index_blob_begin(fd, &w->contents);
	return r;
}

/* Write the database to the file open at @fd. */
static int write_rows(struct image_writer *w, int fd, struct err *err)
{
	int r = index_writer_open(w->path, &w->index, err);

	mark_used(w);
	if (r == 0)
		r = write_packs_and_chunks(w, err);
	if (r == 0)
		r = write_contents(w, err);
	if (r == 0)
		r = index_writer_end_contents(w->index, &w->contents, err);
	if (r == 0)
		r = begin_ahead(w, fd, err);
	for (uint32_t place = 0; r == 0 && place < w->tree->n_nodes; place++)
		r = write_node(w, place, err);
	return r < 0 ? r : index_writer_finish(w->index, err);
}

static int find_digest(void *arg, struct err *err)
{
	struct image_writer *w = arg;
	int r = layout_file_digest(w->path, &w->plain_index, err);

	return r < 0 ? err_wrap(err, r, "'%s'", layout_writer_path(w->pub->writer)) : 0;
}

/* Compress the database, and find its digest meanwhile unless @known. */
static int pack_index(struct image_writer *w, bool known, struct err *err)
{
	const struct index_blob index = {
		.path = w->path,
		.contents = w->contents,
		.jobs = w->pub->options->jobs,
		.ahead = w->ahead,
	};
	struct aside digesting;
	int r, found = 0;

	if (!known)
		aside_begin(&digesting, find_digest, w, index.jobs > 1);
	r = layout_writer_index_sections(w->pub->writer, &index, &w->manifest->index, &w->sections,
	                                 err);
	if (!known)
		found = aside_end(&digesting, r == 0 ? err : NULL);
	return r < 0 ? r : found;
}

/*
 * Publish the database, of @size bytes. One that is the same as the old image's need not be compressed
 * again, and stays the same with another libzstd.
 */
static int publish_index(struct image_writer *w, uint64_t size, struct err *err)
{
	const struct manifest *base = base_of(w);
	int r;

	if (!base || index_info(image_index(w->old))->size != size)
		return pack_index(w, /* known= */ false, err);
	r = find_digest(w, err);
	if (r < 0)
		return r;
	if (!digest_equal(&w->plain_index, old_plain_index(w->pub->old, base)))
		return pack_index(w, /* known= */ true, err);
	w->manifest->index = base->index;
	return old_sections(w->pub->old, base, &w->sections, err);
}

/* Make the database in the empty file @tmp, and its blob. */
static int write_index_to(struct image_writer *w, const struct io_temp *tmp, struct err *err)
{
	struct stat st = { .st_size = 0 };
	int r;

	(void)snprintf(w->path, sizeof(w->path), "/proc/self/fd/%d", tmp->fd);
	r = write_rows(w, tmp->fd, err);
	if (r == 0 && fstat(tmp->fd, &st) < 0)
		r = err_set_errno(err, "size of the index");
	if (r < 0)
		return err_wrap(err, r, "'%s'", layout_writer_path(w->pub->writer));
	return publish_index(w, (uint64_t)st.st_size, err);
}

/* The database is made beside the blobs, where there is room for it, and never has a name of its own. */
static int write_index(struct image_writer *w, struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	int r = io_temp_open(&tmp, layout_writer_blobs(w->pub->writer), err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", layout_writer_path(w->pub->writer));
	r = write_index_to(w, &tmp, err);
	/* It reads the file. */
	codec_ahead_free(w->ahead);
	w->ahead = NULL;
	return r;
}

/* The config, format.md §2.6. */
static json_t *config_json(const struct image_writer *w)
{
	const struct pipeline_options *o = w->pub->options;
	const struct platform_tree *t = w->tree;
	char hex[DIGEST_HEX_SIZE];

	return json_pack(
		"{s:i, s:s, s:s+, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:s, s:I, s:I, s:I},"
		" s:{s:s, s:i, s:s+}}",
		"formatVersion", FORMAT_USER_VERSION, "platform", w->manifest->platform.name,
		"indexDigest", "sha256:", digest_hex(&w->plain_index, hex), "tool",
		"assetpack " ASSETFS_VERSION, "files", (json_int_t)t->n_files, "directories",
		(json_int_t)t->n_dirs, "links", (json_int_t)t->n_links, "bytes",
		(json_int_t)t->bytes, "uniqueBytes", (json_int_t)w->unique_bytes, "smallBytes",
		(json_int_t)w->small_bytes, "chunks", (json_int_t)w->n_chunks, "storedBytes",
		(json_int_t)w->stored_bytes, "chunking", "algorithm", "fastcdc", "targetSize",
		(json_int_t)o->chunker.target, "minSize", (json_int_t)o->chunker.min, "maxSize",
		(json_int_t)o->chunker.max, "compression", "algorithm", "zstd", "level", o->level,
		"library", "libzstd ", codec_version());
}

static int write_config(const struct image_writer *w, struct err *err)
{
	CLEANUP(json_decref) json_t *config = config_json(w);

	if (!config || (w->sections.n > 0 && json_object_set_new(config, "indexSections",
	                                                         sections_json(&w->sections)) < 0))
		return err_set(err, -ENOMEM, "out of memory");
	return layout_writer_json(w->pub->writer, config, &w->manifest->config, err);
}

static bool same_blob(const struct descriptor *a, const struct descriptor *b)
{
	return a->size == b->size && digest_equal(&a->digest, &b->digest);
}

/*
 * The deltas that the manifest names: those that were made for it; and an image
 * that is the same as its base keeps the base's, so that it stays the same.
 */
static int list_deltas(struct image_writer *w, struct err *err)
{
	struct manifest *m = w->manifest;
	const struct manifest *base = base_of(w);
	uint32_t n;
	const struct delta_record *deltas = packs_deltas(w->pub->packs, &n);
	bool same;

	if (!base)
		return 0;
	same = same_blob(&m->index, &base->index) && same_blob(&m->config, &base->config);
	m->deltas = calloc(n + base->n_deltas + 1u, sizeof(*m->deltas));
	if (!m->deltas)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; same && i < base->n_deltas; i++)
		m->deltas[m->n_deltas++] = base->deltas[i];
	for (uint32_t i = 0; i < n; i++) {
		if (deltas[i].platforms & w->mask)
			m->deltas[m->n_deltas++] = (struct delta_layer){
				.blob = { .digest = deltas[i].digest, .size = deltas[i].size },
				.base = base->self.digest,
			};
	}
	return 0;
}

int publish_image(const struct publication *pub, const struct platform *platform, unsigned bit,
                  const struct platform_tree *tree, struct manifest *ret, struct err *err)
{
	CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
	struct image_writer w = {
		.pub = pub,
		.tree = tree,
		.entries = TREE_ENTRIES_INIT(tree),
		.mask = 1u << bit,
		.manifest = &manifest,
		.old = old_for(pub->old, platform->name),
	};
	int r;

	manifest.platform = *platform;
	manifest.trace = pub->trace;
	r = write_index(&w, err);
	if (r == 0)
		r = write_config(&w, err);
	if (r == 0)
		r = list_deltas(&w, err);
	if (r == 0)
		r = layout_writer_manifest(pub->writer, &manifest, err);
	index_writer_free(w.index);
	sections_release(&w.sections);
	if (r < 0)
		return r;
	*ret = manifest;
	manifest = MANIFEST_INIT;
	return 0;
}
