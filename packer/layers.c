/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer has the directories that lead to its files, each once, before what it holds: unpacked
 * alone, or in any order with the others, they have their modes. A directory's place, of no use
 * any more, is the number of the last layer that has it.
 */
#include "layers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/grow.h"
#include "blob_writer.h"
#include "input.h"
#include "tar.h"

enum {
	UNIT_MIN = 64 << 20,
	UNITS_MAX = 48,  /* that an image may have */
	LAYER_UNITS = 4, /* a layer ends before it is larger than that */
	CUT_ONE_IN = 16, /* once it has one unit, at one file of so many */
	BUFFER_SIZE = 1 << 20,
};

/* A name, and what it names. */
struct item {
	struct tree_node *entry;
	struct tree_node *node;
};

struct layer_writer {
	const struct layers_options *o;
	struct layers *layers;
	struct merged_dir *merged; /* owned; in order of address */
	struct item *items;        /* owned; names of one node side by side, its first one first */
	size_t n_items;
	struct input input;
	struct path_buf path;
	char *buffer; /* owned; bytes that are still to be written */
	size_t buffered;
	char *data; /* owned; bytes of files */

	struct blob_writer blob;
	uint32_t number; /* of the layer that is open; 0: none is */
	uint32_t last;   /* number that was given */
	uint64_t bytes;  /* of files in it */
};

static void layer_writer_release_cleanup(struct layer_writer *w)
{
	blob_writer_release(&w->blob);
	input_release(&w->input);
	path_buf_release_cleanup(&w->path);
	free(w->merged);
	free(w->items);
	free(w->buffer);
	free(w->data);
}

void layers_release(struct layers *layers)
{
	free(layers->list);
	*layers = LAYERS_INIT;
}

uint64_t layers_unit(uint64_t bytes)
{
	uint64_t unit = UNIT_MIN;

	while (bytes / unit > UNITS_MAX)
		unit *= 2;
	return unit;
}

/* Say of an error @r in writing the layer where that is. */
static int judge(const struct layer_writer *w, int r, struct err *err)
{
	return r < 0 ? err_wrap(err, r, "'%s'", layout_writer_path(w->o->writer)) : r;
}

static int flush(struct layer_writer *w, struct err *err)
{
	int r = blob_writer_append(&w->blob, w->buffer, w->buffered, err);

	w->buffered = 0;
	return judge(w, r, err);
}

/* For struct tar. */
static int put(void *arg, const void *data, size_t len, struct err *err)
{
	struct layer_writer *w = arg;
	int r = len > BUFFER_SIZE - w->buffered ? flush(w, err) : 0;

	if (r < 0)
		return r;
	if (len >= BUFFER_SIZE)
		return judge(w, blob_writer_append(&w->blob, data, len, err), err);
	memcpy(w->buffer + w->buffered, data, len);
	w->buffered += len;
	return 0;
}

static int begin_layer(struct layer_writer *w, struct err *err)
{
	w->number = ++w->last;
	w->bytes = 0;
	return judge(w, blob_writer_open(&w->blob, layout_writer_blobs(w->o->writer), "layer", err),
	             err);
}

static int end_layer(struct layer_writer *w, struct err *err)
{
	const struct tar tar = { .put = put, .arg = w };
	struct layers *layers = w->layers;
	struct descriptor *grown;
	struct descriptor d;
	int r;

	if (w->number == 0)
		return 0;
	w->number = 0;
	r = tar_end(&tar, err);
	if (r == 0)
		r = flush(w, err);
	d.size = w->blob.size;
	if (r == 0)
		r = judge(w, blob_writer_publish(&w->blob, &d.digest, err), err);
	blob_writer_release(&w->blob);
	if (r < 0)
		return r;
	grown = array_grow(layers->list, layers->n, &layers->max, sizeof(*grown));
	if (!grown)
		return err_set(err, -ENOMEM, "out of memory");
	layers->list = grown;
	grown[layers->n++] = d;
	return 0;
}

static int compare_merged(const void *a, const void *b)
{
	const struct merged_dir *x = a;
	const struct merged_dir *y = b;

	return x->over < y->over ? -1 : x->over > y->over;
}

/*
 * The node that shows what @node looks like: of a directory that is merged into another one,
 * that one.
 */
static const struct tree_node *metadata_of(const struct layer_writer *w,
                                           const struct tree_node *node)
{
	const struct merged_dir key = { .over = node };
	const struct platform_tree *tree = w->o->tree;
	const struct merged_dir *found = NULL;

	if (tree && tree->n_merged > 0)
		found = bsearch(&key, w->merged, tree->n_merged, sizeof(key), compare_merged);
	return found ? tree->nodes[found->place].node : node;
}

/* Layers remove what is below them by files of such names. */
static bool is_whiteout(const char *name)
{
	return strncmp(name, ".wh.", strlen(".wh.")) == 0;
}

/* Write @entry, but for the bytes of a file. */
static int write_entry(struct layer_writer *w, enum tar_type type, struct tree_node *entry,
                       const char *target, struct err *err)
{
	const struct tar tar = { .put = put, .arg = w };
	const struct tree_node *node = tree_named(entry);
	struct tar_entry e = {
		.type = type,
		.path = tree_path(entry, &w->path),
		.target = target,
		.size = type == TAR_FILE ? node->size : 0,
		.metadata = metadata_of(w, node),
	};
	char shown[NAME_SHOWN_MAX];
	int r;

	if (!e.path)
		return err_set(err, -ENOMEM, "out of memory");
	if (is_whiteout(entry->name))
		return err_set(
			err, -EINVAL,
			"'%s': to layers of images, a name that begins with '.wh.' means that "
			"a file is removed",
			tree_path_shown(entry, shown));
	r = tar_begin(&tar, &e, err);
	return r == -EINVAL ? err_wrap(err, r, "'%s'", tree_path_shown(entry, shown)) : r;
}

/* Write those directories that lead to @entry, and that the layer has not. */
static int write_parents(struct layer_writer *w, const struct tree_node *entry, struct err *err)
{
	for (;;) {
		struct tree_node *first = NULL;
		int r;

		for (struct tree_node *dir = entry->parent; dir && dir->parent; dir = dir->parent) {
			if (dir->place != w->number)
				first = dir;
		}
		if (!first)
			return 0;
		first->place = w->number;
		r = write_entry(w, TAR_DIR, first, NULL, err);
		if (r < 0)
			return r;
	}
}

static int write_file(struct layer_writer *w, struct tree_node *node, struct err *err)
{
	const struct tar tar = { .put = put, .arg = w };
	int r = write_entry(w, TAR_FILE, node, NULL, err);

	if (r < 0 || node->size == 0)
		return r;
	r = input_open(&w->input, node, err);
	for (uint64_t off = 0; r == 0 && off < node->size; off += BUFFER_SIZE) {
		size_t n = node->size - off < BUFFER_SIZE ? (size_t)(node->size - off)
		                                          : BUFFER_SIZE;

		r = input_read(&w->input, w->data, n, off, err);
		if (r == 0)
			r = put(w, w->data, n, err);
		*w->o->done += n;
		progress_update(w->o->progress, *w->o->done);
	}
	if (r == 0)
		r = input_close(&w->input, err);
	w->bytes += node->size;
	return r < 0 ? r : tar_pad(&tar, node->size, err);
}

/* A later name of a file. */
static int write_link(struct layer_writer *w, const struct item *item, struct err *err)
{
	CLEANUP(path_buf_release) struct path_buf buf = PATH_BUF_INIT;
	const char *target = tree_path(item->node, &buf);

	if (!target)
		return err_set(err, -ENOMEM, "out of memory");
	return write_entry(w, TAR_HARD_LINK, item->entry, target, err);
}

static int write_item(struct layer_writer *w, const struct item *item, struct err *err)
{
	struct tree_node *node = item->node;
	int r;

	if (S_ISDIR(node->mode) && node->place == w->number)
		return 0;
	r = write_parents(w, item->entry, err);
	if (r < 0)
		return r;
	if (item->entry != node)
		return write_link(w, item, err);
	if (S_ISLNK(node->mode))
		return write_entry(w, TAR_SYMLINK, node, node->target, err);
	if (S_ISREG(node->mode))
		return write_file(w, node, err);
	node->place = w->number;
	return write_entry(w, TAR_DIR, node, NULL, err);
}

/* Whether a new layer begins at @item. */
static bool cuts(const struct layer_writer *w, const struct item *item)
{
	const struct tree_node *node = item->node;
	struct digest digest;

	if (item->entry != node || !S_ISREG(node->mode) || w->bytes < w->o->unit)
		return false;
	sha256(node->name, strlen(node->name), &digest);
	return digest.bytes[0] % CUT_ONE_IN == 0 || w->bytes >= LAYER_UNITS * w->o->unit;
}

static bool is_large(const struct layer_writer *w, const struct tree_node *node)
{
	return S_ISREG(node->mode) && node->size >= w->o->unit;
}

static int write_small(struct layer_writer *w, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->n_items; i++) {
		const struct item *item = &w->items[i];

		if (is_large(w, item->node))
			continue;
		if (w->number > 0 && cuts(w, item))
			r = end_layer(w, err);
		if (r == 0 && w->number == 0)
			r = begin_layer(w, err);
		if (r == 0)
			r = write_item(w, item, err);
	}
	return r < 0 ? r : end_layer(w, err);
}

static int write_large(struct layer_writer *w, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->n_items; i++) {
		const struct item *item = &w->items[i];

		if (!is_large(w, item->node))
			continue;
		if (item->entry == item->node) {
			r = end_layer(w, err);
			if (r == 0)
				r = begin_layer(w, err);
		}
		if (r == 0)
			r = write_item(w, item, err);
	}
	return r < 0 ? r : end_layer(w, err);
}

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;
	bool x_is_first = x->entry == x->node, y_is_first = y->entry == y->node;

	if (x->node != y->node)
		return tree_path_cmp(x->node, y->node);
	if (x_is_first || y_is_first)
		return (int)y_is_first - (int)x_is_first;
	return tree_path_cmp(x->entry, y->entry);
}

/* List all names of @source that name something which a platform has. */
static int list_items(struct layer_writer *w, struct source *source, struct err *err)
{
	w->items = calloc(source->n_nodes + source->n_other_names + 1, sizeof(*w->items));
	if (!w->items)
		return err_set(err, -ENOMEM, "out of memory");
	for (struct tree_node *dir = &source->root; dir; dir = dir->next_dir) {
		dir->place = 0;
		for (uint64_t i = 0; i < dir->n_children; i++) {
			struct tree_node *entry = &dir->children[i];
			struct tree_node *node = tree_named(entry);

			if (node->platforms != 0)
				w->items[w->n_items++] =
					(struct item){ .entry = entry, .node = node };
		}
	}
	if (w->n_items > 1)
		qsort(w->items, w->n_items, sizeof(*w->items), compare_items);
	return 0;
}

/* Copy what is merged, in order of address. */
static int list_merged(struct layer_writer *w, struct err *err)
{
	const struct platform_tree *tree = w->o->tree;

	if (!tree || tree->n_merged == 0)
		return 0;
	w->merged = calloc(tree->n_merged, sizeof(*w->merged));
	if (!w->merged)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(w->merged, tree->merged, tree->n_merged * sizeof(*w->merged));
	qsort(w->merged, tree->n_merged, sizeof(*w->merged), compare_merged);
	return 0;
}

int layers_publish(struct source *source, const struct layers_options *options, struct layers *ret,
                   struct err *err)
{
	CLEANUP(layer_writer_release)
	struct layer_writer w = {
		.o = options,
		.layers = ret,
		.input = INPUT_INIT,
		.path = PATH_BUF_INIT,
		.blob = BLOB_WRITER_INIT,
		.buffer = malloc(BUFFER_SIZE),
		.data = malloc(BUFFER_SIZE),
	};
	int r = w.buffer && w.data ? 0 : err_set(err, -ENOMEM, "out of memory");

	if (r == 0)
		r = list_items(&w, source, err);
	if (r == 0)
		r = list_merged(&w, err);
	if (r == 0)
		r = write_small(&w, err);
	return r < 0 ? r : write_large(&w, err);
}
