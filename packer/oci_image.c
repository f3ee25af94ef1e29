/* SPDX-License-Identifier: Apache-2.0 */
#include "oci_image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blob_writer.h"
#include "format.h"
#include "oci_json.h"

enum { ARCHIVE_END = 1024 };

struct image_maker {
	const struct oci_image_options *o;
	struct layers layers[PLATFORMS_MAX + 1]; /* of each source */
	struct layers nothing;                   /* an empty layer, for who has no other */
	struct progress progress;
	uint64_t done;
	uint64_t bytes; /* of all blobs */
};

static void image_maker_free(struct image_maker *m)
{
	for (unsigned i = 0; i <= PLATFORMS_MAX; i++)
		layers_release(&m->layers[i]);
	layers_release(&m->nothing);
	free(m);
}
DEFINE_CLEANUP(struct image_maker *, image_maker_free)

/* Bytes of the files of @source that a platform has. */
static uint64_t source_bytes(const struct source *source)
{
	uint64_t sum = 0;

	for (const struct tree_node *n = &source->root; n; n = tree_next(n)) {
		if (S_ISREG(n->mode) && n->platforms != 0)
			sum += n->size;
	}
	return sum;
}

static int publish_layers(struct image_maker *m, struct err *err)
{
	const struct oci_image_options *o = m->o;
	uint64_t common = source_bytes(&o->sources[0]), own = 0, total = common;
	int r = 0;

	for (unsigned i = 1; i < o->n_sources; i++) {
		uint64_t bytes = source_bytes(&o->sources[i]);

		total += bytes;
		own = bytes > own ? bytes : own;
	}
	progress_start(&m->progress, o->progress, "packed", total);
	for (unsigned i = 0; r == 0 && i < o->n_sources; i++) {
		const struct layers_options options = {
			.writer = o->writer,
			.tree = i > 0 ? &o->trees[i - 1] : NULL,
			.unit = layers_unit(common + own),
			.progress = &m->progress,
			.done = &m->done,
		};

		r = layers_publish(&o->sources[i], &options, &m->layers[i], err);
		for (size_t k = 0; k < m->layers[i].n; k++)
			m->bytes += m->layers[i].list[k].size;
	}
	progress_end(&m->progress);
	return r;
}

static bool is_empty(const struct image_maker *m, unsigned own)
{
	return m->layers[0].n == 0 && (own == 0 || m->layers[own].n == 0);
}

/* Engines have trouble with images without layers. */
static int publish_nothing(struct image_maker *m, struct err *err)
{
	static const char end[ARCHIVE_END];
	CLEANUP(free) struct descriptor *d = calloc(1, sizeof(*d));
	CLEANUP(blob_writer_release) struct blob_writer blob = BLOB_WRITER_INIT;
	int r;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	r = blob_writer_open(&blob, layout_writer_blobs(m->o->writer), "layer", err);
	if (r == 0)
		r = blob_writer_append(&blob, end, sizeof(end), err);
	if (r == 0)
		r = blob_writer_publish(&blob, &d->digest, err);
	if (r < 0)
		return r;
	d->size = sizeof(end);
	m->nothing = (struct layers){ .list = TAKE_PTR(d), .n = 1, .max = 1 };
	m->bytes += sizeof(end);
	return 0;
}

/* Append the layers @from to the lists of a config and a manifest. */
static int append_layers(const struct layers *from, json_t *ids, json_t *layers)
{
	for (size_t i = 0; i < from->n; i++) {
		if (json_array_append_new(ids, json_from_digest(&from->list[i].digest)) < 0 ||
		    json_array_append_new(layers,
		                          json_from_descriptor(OCI_TYPE_LAYER, &from->list[i])) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void time_text(int64_t seconds, char buf[static 32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(buf, 32, "1970-01-01T00:00:00Z");
}

/* A new config, without its layers. */
static json_t *new_config(const struct platform *platform, int64_t created)
{
	char os[PLATFORM_MAX], created_text[32];
	char *arch, *variant;

	memcpy(os, platform->name, sizeof(os));
	arch = strchr(os, '/');
	*arch++ = '\0';
	variant = strchr(arch, '/');
	if (variant)
		*variant++ = '\0';
	time_text(created, created_text);
	return json_pack("{s:s, s:s, s:s, s:s*, s:{}, s:{s:s, s:[]}}", "created", created_text,
	                 "architecture", arch, "os", os, "variant", variant, "config", "rootfs",
	                 "type", "layers", "diff_ids");
}

/*
 * Publish the image of @platform, that has the layers of source @own, if it is not 0, over the
 * common ones.
 */
static int publish_manifest(struct image_maker *m, const struct platform *platform, unsigned own,
                            struct manifest *ret, struct err *err)
{
	CLEANUP(json_decref) json_t *config = new_config(platform, m->o->created);
	CLEANUP(json_decref) json_t *root = NULL;
	json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
	struct descriptor d = { .size = 0 };
	int r;

	root = json_pack("{s:i, s:s, s:n, s:[]}", "schemaVersion", 2, "mediaType",
	                 FORMAT_TYPE_OCI_IMAGE, "config", "layers");
	r = append_layers(&m->layers[0], ids, json_object_get(root, "layers"));
	if (r == 0 && own > 0)
		r = append_layers(&m->layers[own], ids, json_object_get(root, "layers"));
	if (r == 0 && is_empty(m, own))
		r = append_layers(&m->nothing, ids, json_object_get(root, "layers"));
	if (!config || !root || r < 0)
		return err_set(err, -ENOMEM, "out of memory");
	r = layout_writer_json(m->o->writer, config, &d, err);
	if (r == 0 &&
	    json_object_set_new(root, "config", json_from_descriptor(OCI_TYPE_CONFIG, &d)) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = layout_writer_json(m->o->writer, root, &ret->self, err);
	if (r < 0)
		return r;
	ret->platform = *platform;
	m->bytes += d.size + ret->self.size;
	return 0;
}

int oci_image_publish(const struct oci_image_options *options, struct manifest *ret, unsigned *n,
                      uint64_t *bytes, struct err *err)
{
	/* A config is of one architecture, also of an image that serves all. */
	static const struct platform any[] = { { .name = "linux/amd64" },
		                               { .name = "linux/arm64" } };
	CLEANUP(image_maker_free) struct image_maker *m = calloc(1, sizeof(*m));
	const struct platform *platforms = options->platforms ? options->platforms : any;
	unsigned n_images = options->platforms ? options->n_trees : 2;
	int r;

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	m->o = options;
	r = publish_layers(m, err);
	for (unsigned i = 0; r == 0 && i < n_images; i++) {
		unsigned own = options->platforms ? i + 1 : 0;

		if (is_empty(m, own) && m->nothing.n == 0)
			r = publish_nothing(m, err);
		if (r == 0)
			r = publish_manifest(m, &platforms[i], own, &ret[i], err);
	}
	if (r < 0)
		return r;
	*n = n_images;
	*bytes += m->bytes;
	return 0;
}
