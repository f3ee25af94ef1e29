/* SPDX-License-Identifier: Apache-2.0 */
#include "oci_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "oci_json.h"

static int no_image(struct err *err)
{
	return err_set(err, -EBADMSG, "not an image for container engines");
}

/* Read the JSON object @d. */
static int read_object(const struct layout *layout, const struct descriptor *d, json_t **ret,
                       struct err *err)
{
	CLEANUP(free) char *text = NULL;
	int r = layout_read_blob(layout, d, &text, err);

	return r < 0 ? r : json_parse_object(text, d->size, "manifest", ret, err);
}

/* Whether @descriptor is of @type: then it is parsed. */
static bool take_descriptor(const json_t *descriptor, const char *type, struct descriptor *ret)
{
	const char *found = json_string_value(json_object_get(descriptor, "mediaType"));

	return found && strcmp(found, type) == 0 && json_descriptor(descriptor, ret, NULL) == 0;
}

/* Load the manifest @m->self. */
static int load_manifest(const struct layout *layout, struct manifest *m, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	const json_t *layers, *layer;
	size_t i;
	int r = read_object(layout, &m->self, &root, err);

	if (r < 0)
		return r;
	layers = json_object_get(root, "layers");
	if (json_array_size(layers) >= UINT32_MAX ||
	    !take_descriptor(json_object_get(root, "config"), OCI_TYPE_CONFIG, &m->config))
		return no_image(err);
	m->packs = calloc(json_array_size(layers) + 1, sizeof(*m->packs));
	if (!m->packs)
		return err_set(err, -ENOMEM, "out of memory");
	json_array_foreach(layers, i, layer) {
		if (!take_descriptor(layer, OCI_TYPE_LAYER, &m->packs[m->n_packs++]))
			return no_image(err);
	}
	return 0;
}

int oci_image_load(const struct layout *layout, const char *tag, struct image_set *ret,
                   struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	const json_t *entries, *entry;
	bool is_index = false;
	size_t i;
	int r = layout_find_tag(layout, tag, &ret->self, &is_index, err);

	if (r == 0)
		r = is_index ? read_object(layout, &ret->self, &root, err) : no_image(err);
	if (r < 0)
		return r;
	entries = json_object_get(root, "manifests");
	if (json_array_size(entries) == 0 || json_array_size(entries) > FORMAT_JSON_MAX)
		return no_image(err);
	ret->manifests = calloc(json_array_size(entries), sizeof(*ret->manifests));
	if (!ret->manifests)
		return err_set(err, -ENOMEM, "out of memory");
	json_array_foreach(entries, i, entry) {
		struct manifest *m = &ret->manifests[ret->n_manifests++];

		r = take_descriptor(entry, FORMAT_TYPE_OCI_IMAGE, &m->self)
		            ? load_manifest(layout, m, err)
		            : no_image(err);
		if (r < 0)
			return r;
	}
	return 0;
}
