/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "commands.h"
#include "delta.h"
#include "read_args.h"

static const char help[] =
	"Usage: assetpack inspect [OPTION]... IMAGE\n"
	"Show what IMAGE names: digests, platforms, configs and layers.\n\n"
	"      --json               print JSON; names of fields stay as they are\n"
	"      --platform OS/ARCH   only this platform's image\n"
	"  -h, --help               show this help\n";

static const struct option options[] = { { "json", no_argument, NULL, 'j' }, READ_OPTIONS };

static const struct read_command command = {
	.name = "inspect",
	.help = help,
	.shorts = "h",
	.options = options,
	.wants = "IMAGE",
};

DEFINE_CLEANUP(json_t *, json_decref)

enum { DIGEST_TEXT_SIZE = sizeof("sha256:") + 64 };

static const char *digest_text(const struct digest *d, char buf[static DIGEST_TEXT_SIZE])
{
	char hex[DIGEST_HEX_SIZE];

	(void)snprintf(buf, DIGEST_TEXT_SIZE, "sha256:%s", digest_hex(d, hex));
	return buf;
}

static json_t *layer_json(const char *type, const struct descriptor *d)
{
	char text[DIGEST_TEXT_SIZE];

	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest",
	                 digest_text(&d->digest, text), "size", (json_int_t)d->size);
}

/* Number of chunks in a delta of @layout; -1 when it cannot be read. */
static int64_t delta_count(const struct layout *layout, const struct delta_layer *delta)
{
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(layout_blobs(layout), digest_hex(&delta->blob.digest, hex),
	                O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || delta_table_load(fd, &table, NULL) < 0)
		return -1;
	return delta_table_count(table);
}

static json_t *delta_json(const struct layout *layout, const struct delta_layer *delta)
{
	json_t *layer = layer_json(FORMAT_TYPE_DELTA, &delta->blob);
	int64_t n = delta_count(layout, delta);
	char text[DIGEST_TEXT_SIZE];

	(void)json_object_set_new(layer, "base", json_string(digest_text(&delta->base, text)));
	(void)json_object_set_new(layer, "chunks", n < 0 ? json_null() : json_integer(n));
	return layer;
}

static json_t *layers_json(const struct layout *layout, const struct manifest *m)
{
	CLEANUP(json_decref) json_t *layers = json_array();

	if (!layers || json_array_append_new(layers, layer_json(FORMAT_TYPE_INDEX, &m->index)) < 0)
		return NULL;
	for (uint32_t i = 0; i < m->n_packs; i++) {
		if (json_array_append_new(layers, layer_json(FORMAT_TYPE_PACK, &m->packs[i])) < 0)
			return NULL;
	}
	for (uint32_t i = 0; i < m->n_deltas; i++) {
		if (json_array_append_new(layers, delta_json(layout, &m->deltas[i])) < 0)
			return NULL;
	}
	if (m->trace.size > 0 &&
	    json_array_append_new(layers, layer_json(FORMAT_TYPE_TRACE, &m->trace)) < 0)
		return NULL;
	return TAKE_PTR(layers);
}

/* The config as it is stored. */
static int load_config(const struct layout *layout, const struct manifest *m, json_t **ret,
                       struct err *err)
{
	CLEANUP(free) char *text = NULL;
	int r = layout_read_blob(layout, &m->config, &text, err);

	if (r < 0)
		return r;
	*ret = json_loadb(text, m->config.size, 0, NULL);
	return *ret ? 0 : err_set(err, -EBADMSG, "config is not JSON");
}

static json_t *image_json(const struct layout *layout, const struct manifest *m, json_t *config)
{
	char text[DIGEST_TEXT_SIZE];
	char config_text[DIGEST_TEXT_SIZE];

	return json_pack("{s:s, s:s, s:I, s:{s:s, s:I}, s:O, s:o}", "platform", m->platform.name,
	                 "digest", digest_text(&m->self.digest, text), "size",
	                 (json_int_t)m->self.size, "configBlob", "digest",
	                 digest_text(&m->config.digest, config_text), "size",
	                 (json_int_t)m->config.size, "config", config, "layers",
	                 layers_json(layout, m));
}

static int add_image(const struct layout *layout, const struct manifest *m, json_t *images,
                     struct err *err)
{
	CLEANUP(json_decref) json_t *config = NULL;
	int r = load_config(layout, m, &config, err);

	if (r < 0)
		return r;
	if (json_array_append_new(images, image_json(layout, m, config)) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* Everything that the command shows. */
static int collect(const struct layout *layout, const struct image_set *set,
                   const struct manifest *only, json_t **ret, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	char text[DIGEST_TEXT_SIZE];
	json_t *images;
	int r = 0;

	root = json_pack("{s:i, s:s, s:I, s:[]}", "version", 1, "digest",
	                 digest_text(&set->self.digest, text), "size", (json_int_t)set->self.size,
	                 "images");
	if (!root)
		return err_set(err, -ENOMEM, "out of memory");
	images = json_object_get(root, "images");
	for (uint32_t i = 0; r == 0 && i < set->n_manifests; i++) {
		if (!only || only == &set->manifests[i])
			r = add_image(layout, &set->manifests[i], images, err);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(root);
	return 0;
}

static void print_layer(const char *kind, const struct descriptor *d)
{
	char text[DIGEST_TEXT_SIZE];
	char size[TEXT_SIZE_MAX];

	(void)printf("  %-8s %s %10s\n", kind, digest_text(&d->digest, text),
	             text_size(d->size, size));
}

static void print_delta(const struct layout *layout, const struct delta_layer *delta)
{
	int64_t n = delta_count(layout, delta);
	char text[DIGEST_TEXT_SIZE];

	print_layer("delta", &delta->blob);
	(void)printf("    base   %s ", digest_text(&delta->base, text));
	if (n < 0)
		(void)printf(" cannot be read\n");
	else
		(void)printf("%4lld chunks\n", (long long)n);
}

static void print_text(const struct layout *layout, const struct image_set *set,
                       const struct manifest *only)
{
	char text[DIGEST_TEXT_SIZE];

	(void)printf("image index %s\n", digest_text(&set->self.digest, text));
	for (uint32_t i = 0; i < set->n_manifests; i++) {
		const struct manifest *m = &set->manifests[i];

		if (only && only != m)
			continue;
		(void)printf("\nplatform %s\n", m->platform.name);
		(void)printf("  manifest %s\n", digest_text(&m->self.digest, text));
		(void)printf("  config   %s\n", digest_text(&m->config.digest, text));
		print_layer("index", &m->index);
		for (uint32_t k = 0; k < m->n_packs; k++)
			print_layer("pack", &m->packs[k]);
		for (uint32_t k = 0; k < m->n_deltas; k++)
			print_delta(layout, &m->deltas[k]);
		if (m->trace.size > 0)
			print_layer("trace", &m->trace);
	}
}

static int inspect(const struct read_args *args, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	CLEANUP(json_decref) json_t *root = NULL;
	const struct manifest *only = NULL;
	int r = read_args_images(args, &layout, &set, &only, err);

	if (r < 0)
		return r;
	r = collect(layout, &set, only, &root, err);
	if (r < 0)
		return r;
	if (!read_args_has(args, 'j'))
		print_text(layout, &set, only);
	else if (json_dumpf(root, stdout, JSON_INDENT(2)) < 0)
		return err_set(err, -EIO, "standard output could not be written");
	else
		(void)putchar('\n');
	return 0;
}

int cmd_inspect(int argc, char *argv[])
{
	CLEANUP(read_args_release) struct read_args args = READ_ARGS_INIT;
	struct err err = ERR_INIT;
	int status = read_args_parse(&command, argc, argv, &args);

	if (status >= 0)
		return status;
	return inspect(&args, &err) < 0 ? fail(&err) : cli_finish(STATUS_OK);
}
