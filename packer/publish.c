/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of packs, chunks and contents are a platform's own: those that it
 * uses, in plan order. Every chunk of a pack that it names is one that it uses,
 * because packs do not mix sets of platforms.
 */
#include "publish.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/table.h"
#include "codec.h"
#include "format.h"
#include "index_writer.h"

/* One image being published. */
struct image_writer {
	const struct publication *pub;
	const struct platform_tree *tree;
	struct tree_entries entries;
	uint32_t mask;
	struct manifest *manifest;
	struct index_writer *index;
	uint32_t *pack_ids; /* owned; number in this image of each pack of the build, or 0 */
	uint64_t n_chunks;
	uint64_t stored_bytes;
	uint64_t unique_bytes;
};

DEFINE_CLEANUP(json_t *, json_decref)

static int write_packs(struct image_writer *w, struct err *err)
{
	uint32_t n;
	const struct pack_record *records = packs_records(w->pub->packs, &n);
	struct manifest *m = w->manifest;
	int r = 0;

	w->pack_ids = calloc(n + 1u, sizeof(*w->pack_ids));
	m->packs = calloc(n + 1u, sizeof(*m->packs));
	if (!w->pack_ids || !m->packs)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct pack_info info = { .digest = records[i].digest, .size = records[i].size };

		if (!(records[i].platforms & w->mask))
			continue;
		m->packs[m->n_packs++] =
			(struct descriptor){ .digest = info.digest, .size = info.size };
		w->pack_ids[i] = m->n_packs;
		w->stored_bytes += info.size;
		r = index_writer_pack(w->index, m->n_packs, &info, err);
	}
	return r;
}

static int write_chunks(struct image_writer *w, struct err *err)
{
	size_t n;
	struct stored_chunk *const *chunks = packs_chunks(w->pub->packs, &n);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct stored_chunk *c = chunks[i];
		struct chunk row = {
			.digest = c->digest,
			.pack = w->pack_ids[c->pack],
			.frame_off = c->frame_off,
			.frame_size = c->frame_size,
			.size = c->size,
		};

		if (row.pack == 0)
			continue;
		c->id = ++w->n_chunks;
		row.id = c->id;
		r = index_writer_chunk(w->index, &row, err);
	}
	return r;
}

/* A content that has its row, in a table of digests. */
struct row {
	struct table_node hook;
	const struct new_content *content; /* borrowed */
};

/* The row that another content of equal bytes has, or 0. */
static uint64_t find_row(const struct table *rows, const struct digest *digest)
{
	for (struct table_node *n = table_first(rows, digest_key(digest)); n; n = table_next(n)) {
		const struct new_content *c = TABLE_ENTRY(n, struct row, hook)->content;

		if (digest_equal(&c->digest, digest))
			return c->id;
	}
	return 0;
}

static int write_extents_of(const struct image_writer *w, const struct new_content *c,
                            struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n_runs; i++) {
		struct extent row = {
			.content = c->id,
			.off = c->runs[i].off,
			.len = c->runs[i].len,
			.chunk_off = c->runs[i].chunk_off,
			.chunk = { .id = c->runs[i].chunk->id },
		};

		r = index_writer_extent(w->index, &row, err);
	}
	return r;
}

/* Number the contents that the image uses; equal ones share a row. @room: one for each content. */
static int write_content_rows(struct image_writer *w, struct table *rows, struct row *room,
                              struct err *err)
{
	uint64_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->pub->n; i++) {
		struct new_content *c = w->pub->plan[i];
		struct content row = { .digest = c->digest, .size = c->size };

		if (!(c->platforms & w->mask))
			continue;
		c->id = find_row(rows, &c->digest);
		if (c->id != 0)
			continue;
		room[n].content = c;
		if (table_insert(rows, &room[n].hook, digest_key(&c->digest)) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		c->id = ++n;
		row.id = n;
		w->unique_bytes += c->size;
		r = index_writer_content(w->index, &row, err);
		if (r == 0)
			r = write_extents_of(w, c, err);
	}
	return r;
}

static int write_contents(struct image_writer *w, struct err *err)
{
	CLEANUP(free) struct row *room = calloc(w->pub->n + 1, sizeof(*room));
	struct table rows = TABLE_INIT;
	int r;

	if (!room)
		return err_set(err, -ENOMEM, "out of memory");
	r = write_content_rows(w, &rows, room, err);
	table_release(&rows);
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
		.content = S_ISREG(node->mode) && node->content ? node->content->id : 0,
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

static int write_rows(struct image_writer *w, const char *path, struct err *err)
{
	int r = index_writer_open(path, &w->index, err);

	if (r == 0)
		r = write_packs(w, err);
	if (r == 0)
		r = write_chunks(w, err);
	if (r == 0)
		r = write_contents(w, err);
	for (uint32_t place = 0; r == 0 && place < w->tree->n_nodes; place++)
		r = write_node(w, place, err);
	return r < 0 ? r : index_writer_finish(w->index, err);
}

/* The database is made beside the blobs, where there is room for it, and never has a name of its own. */
static int write_index(struct image_writer *w, struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	char path[32];
	int r = io_temp_open(&tmp, layout_writer_blobs(w->pub->writer), err);

	if (r == 0) {
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", tmp.fd);
		r = write_rows(w, path, err);
	}
	if (r < 0)
		return err_wrap(err, r, "'%s'", layout_writer_path(w->pub->writer));
	return layout_writer_index(w->pub->writer, path, &w->manifest->index, err);
}

/* The config, format.md §2.6. */
static json_t *config_json(const struct image_writer *w)
{
	const struct pipeline_options *o = w->pub->options;
	const struct platform_tree *t = w->tree;

	return json_pack(
		"{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:s, s:I, s:I, s:I},"
		" s:{s:s, s:i, s:s+}}",
		"formatVersion", FORMAT_USER_VERSION, "platform", w->manifest->platform.name,
		"tool", "assetpack " ASSETFS_VERSION, "files", (json_int_t)t->n_files,
		"directories", (json_int_t)t->n_dirs, "links", (json_int_t)t->n_links, "bytes",
		(json_int_t)t->bytes, "uniqueBytes", (json_int_t)w->unique_bytes, "chunks",
		(json_int_t)w->n_chunks, "storedBytes", (json_int_t)w->stored_bytes, "chunking",
		"algorithm", "fastcdc", "targetSize", (json_int_t)o->chunker.target, "minSize",
		(json_int_t)o->chunker.min, "maxSize", (json_int_t)o->chunker.max, "compression",
		"algorithm", "zstd", "level", o->level, "library", "libzstd ", codec_version());
}

static int write_config(const struct image_writer *w, struct err *err)
{
	CLEANUP(json_decref) json_t *config = config_json(w);

	if (!config)
		return err_set(err, -ENOMEM, "out of memory");
	return layout_writer_json(w->pub->writer, config, &w->manifest->config, err);
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
	};
	int r;

	manifest.platform = *platform;
	r = write_index(&w, err);
	if (r == 0)
		r = write_config(&w, err);
	if (r == 0)
		r = layout_writer_manifest(pub->writer, &manifest, err);
	index_writer_free(w.index);
	free(w.pack_ids);
	if (r < 0)
		return r;
	*ret = manifest;
	manifest = MANIFEST_INIT;
	return 0;
}
