/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests and platforms as text: checks without I/O (format.md §2). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <jansson.h>

#include "format.h"
#include "layout.h"
#include "oci_json.h"
#include "plain.h"

int platform_parse(const char *text, struct platform *ret, struct err *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	const char *p = text;
	int n_parts = 0;

	for (;;) {
		size_t len = strspn(p, allowed);

		p += len;
		n_parts++;
		if (len == 0 || (*p != '/' && *p != '\0') || n_parts > 3)
			n_parts = 0;
		if (n_parts == 0 || *p == '\0')
			break;
		p++;
	}
	if (n_parts < 2 || strlen(text) >= PLATFORM_MAX)
		return err_set(err, -EINVAL,
		               "'%.*s' is not a platform: write OS/ARCH or OS/ARCH/VARIANT, "
		               "as in linux/amd64",
		               plain_len(text), text);
	*ret = (struct platform){ .name = "" };
	memcpy(ret->name, text, strlen(text));
	return 0;
}

struct platform platform_of_host(void)
{
	/* uname(2)'s names for machines and OCI's, where they differ. */
	static const struct {
		const char *machine;
		const char *arch;
	} names[] = {
		{ "x86_64", "amd64" },        { "aarch64", "arm64" }, { "armv7l", "arm/v7" },
		{ "armv6l", "arm/v6" },       { "i686", "386" },      { "i386", "386" },
		{ "loongarch64", "loong64" },
	};
	struct platform platform = { .name = "" };
	struct utsname host;
	const char *arch;

	(void)uname(&host);
	arch = host.machine;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(host.machine, names[i].machine) == 0)
			arch = names[i].arch;
	}
	(void)snprintf(platform.name, sizeof(platform.name), "linux/%.50s", arch);
	return platform;
}

void manifest_release(struct manifest *m)
{
	free(m->packs);
	free(m->deltas);
	*m = MANIFEST_INIT;
}

/* A layer of a kind that this version has not, told apart from what was never ours. */
static int check_layer_type(const json_t *layer, const char *expected, size_t i, struct err *err)
{
	const char *type = json_string_value(json_object_get(layer, "mediaType"));

	if (!type)
		return err_set(err, -EBADMSG, "manifest: layer %zu has no media type", i);
	if (strcmp(type, expected) == 0)
		return 0;
	if (strcmp(type, FORMAT_TYPE_INDEX) == 0 || strcmp(type, FORMAT_TYPE_PACK) == 0 ||
	    strcmp(type, FORMAT_TYPE_DELTA) == 0 || strcmp(type, FORMAT_TYPE_TRACE) == 0)
		return err_set(err, -EBADMSG, "manifest: layer %zu is '%s', not '%s'", i, type,
		               expected);
	if (strncmp(type, FORMAT_TYPE_PREFIX, strlen(FORMAT_TYPE_PREFIX)) == 0)
		return err_set(err, -EPROTONOSUPPORT,
		               "layer %zu is '%.*s', of a newer format than this program reads", i,
		               plain_len(type), type);
	return err_set(err, -EBADMSG, "manifest: layer %zu is '%.*s', not assetfs's", i,
	               plain_len(type), type);
}

static int parse_delta(const json_t *layer, struct delta_layer *ret, struct err *err)
{
	const char *base = json_string_value(
		json_object_get(json_object_get(layer, "annotations"), FORMAT_ANNOTATION_BASE));
	int r = json_descriptor(layer, &ret->blob, err);

	if (r == 0 && (!base || json_digest(base, &ret->base) < 0))
		return err_set(err, -EBADMSG,
		               "manifest: delta layer without the digest of its base");
	return r;
}

/* Whether layer @i is of @type. */
static bool is_of_type(const json_t *layers, size_t i, const char *expected)
{
	const char *type =
		json_string_value(json_object_get(json_array_get(layers, i), "mediaType"));

	return type && strcmp(type, expected) == 0;
}

/* The layers after the index, of which there are @n with it: packs, then deltas. */
static int parse_blobs(const json_t *layers, size_t n, struct manifest *m, struct err *err)
{
	size_t i = 1;
	int r = 0;

	for (; r == 0 && i < n && !is_of_type(layers, i, FORMAT_TYPE_DELTA); i++) {
		if (m->n_packs == FORMAT_PACKS_MAX)
			return err_set(err, -EBADMSG, "manifest: more than %d packs",
			               FORMAT_PACKS_MAX);
		r = check_layer_type(json_array_get(layers, i), FORMAT_TYPE_PACK, i, err);
		if (r == 0)
			r = json_descriptor(json_array_get(layers, i), &m->packs[m->n_packs++],
			                    err);
	}
	for (; r == 0 && i < n; i++) {
		if (m->n_deltas == FORMAT_DELTAS_MAX)
			return err_set(err, -EBADMSG, "manifest: more than %d deltas",
			               FORMAT_DELTAS_MAX);
		r = check_layer_type(json_array_get(layers, i), FORMAT_TYPE_DELTA, i, err);
		if (r == 0)
			r = parse_delta(json_array_get(layers, i), &m->deltas[m->n_deltas++], err);
	}
	return r;
}

static int parse_layers(const json_t *layers, struct manifest *m, struct err *err)
{
	size_t n = json_array_size(layers);
	int r;

	if (n < 1 || n > 2 + (size_t)FORMAT_PACKS_MAX + FORMAT_DELTAS_MAX)
		return err_set(err, -EBADMSG, "manifest: %zu layers", n);
	m->packs = calloc(n, sizeof(*m->packs));
	m->deltas = calloc(n, sizeof(*m->deltas));
	if (!m->packs || !m->deltas)
		return err_set(err, -ENOMEM, "out of memory");
	r = check_layer_type(json_array_get(layers, 0), FORMAT_TYPE_INDEX, 0, err);
	if (r == 0)
		r = json_descriptor(json_array_get(layers, 0), &m->index, err);
	if (r == 0 && n > 1 && is_of_type(layers, n - 1, FORMAT_TYPE_TRACE))
		r = json_descriptor(json_array_get(layers, --n), &m->trace, err);
	return r < 0 ? r : parse_blobs(layers, n, m, err);
}

static int check_artifact(const json_t *root, struct err *err)
{
	static const char family[] = FORMAT_TYPE_PREFIX "image.";
	const char *media_type = json_string_value(json_object_get(root, "mediaType"));
	const char *type = json_string_value(json_object_get(root, "artifactType"));

	if (json_integer_value(json_object_get(root, "schemaVersion")) != 2 || !media_type ||
	    strcmp(media_type, FORMAT_TYPE_OCI_IMAGE) != 0)
		return err_set(err, -EBADMSG, "not an OCI image manifest");
	if (!type)
		return err_set(err, -EBADMSG, "not an assetfs image: no artifactType");
	if (strcmp(type, FORMAT_ARTIFACT_TYPE) == 0)
		return 0;
	if (strncmp(type, family, strlen(family)) == 0)
		return err_set(err, -EPROTONOSUPPORT,
		               "image is '%.*s', of a newer format than this program reads",
		               plain_len(type), type);
	return err_set(err, -EBADMSG, "not an assetfs image: artifactType is '%.*s'",
	               plain_len(type), type);
}

int manifest_parse(const char *json, size_t len, struct manifest *ret, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	const char *config_type;
	const json_t *config;
	int r = json_parse_object(json, len, "manifest", &root, err);

	if (r == 0)
		r = check_artifact(root, err);
	if (r < 0)
		return r;
	config = json_object_get(root, "config");
	config_type = json_string_value(json_object_get(config, "mediaType"));
	if (!config_type || strcmp(config_type, FORMAT_TYPE_CONFIG) != 0)
		return err_set(err, -EBADMSG, "manifest: config is not '%s'", FORMAT_TYPE_CONFIG);
	r = json_descriptor(config, &m.config, err);
	if (r == 0)
		r = parse_layers(json_object_get(root, "layers"), &m, err);
	if (r < 0)
		return r;
	*ret = m;
	m = MANIFEST_INIT;
	return 0;
}
