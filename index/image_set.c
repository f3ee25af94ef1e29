/* SPDX-License-Identifier: Apache-2.0 */
#include "image_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "oci_json.h"
#include "plain.h"

void image_set_release(struct image_set *set)
{
	for (uint32_t i = 0; i < set->n_manifests; i++)
		manifest_release(&set->manifests[i]);
	free(set->manifests);
	*set = IMAGE_SET_INIT;
}

static int read_json_blob(const struct json_source *source, const struct descriptor *d,
                          json_t **ret, struct err *err)
{
	CLEANUP(free) char *bytes = NULL;
	char what[40], hex[DIGEST_HEX_SIZE];
	int r = source->read(source->arg, d, &bytes, err);

	if (r < 0)
		return r;
	(void)snprintf(what, sizeof(what), "blob %.12s", digest_hex(&d->digest, hex));
	r = json_parse_object(bytes, d->size, what, ret, err);
	return r < 0 ? err_wrap(err, r, "'%s'", source->name) : 0;
}

/* Platform of an entry of an image index. */
static int parse_platform(const json_t *entry, struct platform *ret, struct err *err)
{
	const json_t *object = json_object_get(entry, "platform");
	const char *os = json_string_value(json_object_get(object, "os"));
	const char *arch = json_string_value(json_object_get(object, "architecture"));
	const char *variant = json_string_value(json_object_get(object, "variant"));
	char text[2 * PLATFORM_MAX];
	int n;

	if (!os || !arch)
		return err_set(err, -EBADMSG, "entry without a platform");
	n = snprintf(text, sizeof(text), "%s/%s%s%s", os, arch, variant ? "/" : "",
	             variant ? variant : "");
	if (n >= (int)sizeof(text) || platform_parse(text, ret, /* err= */ NULL) < 0)
		return err_set(err, -EBADMSG, "entry with a platform that is none: '%.*s'",
		               plain_len(text), text);
	return 0;
}

/* Compare a manifest's config with the platform @m->platform that named it. */
static int check_config(const struct json_source *source, struct manifest *m, struct err *err)
{
	CLEANUP(json_decref) json_t *config = NULL;
	const char *platform;
	const json_t *version, *small;
	int r = read_json_blob(source, &m->config, &config, err);

	if (r < 0)
		return r;
	small = json_object_get(config, "smallBytes");
	m->has_small_bytes = json_is_integer(small) && json_integer_value(small) >= 0;
	if (m->has_small_bytes)
		m->small_bytes = (uint64_t)json_integer_value(small);
	version = json_object_get(config, "formatVersion");
	if (!json_is_integer(version))
		return err_set(err, -EBADMSG, "'%s': config without a format version",
		               source->name);
	if (json_integer_value(version) != 1)
		return err_set(err, -EPROTONOSUPPORT,
		               "'%s': image of format version %lld; this program reads version 1",
		               source->name, (long long)json_integer_value(version));
	platform = json_string_value(json_object_get(config, "platform"));
	if (platform && strcmp(platform, FORMAT_PLATFORM_ANY) == 0)
		m->platform = (struct platform){ .name = FORMAT_PLATFORM_ANY };
	else if (!platform || strcmp(platform, m->platform.name) != 0)
		return err_set(err, -EBADMSG, "'%s': config of the image for %s is for '%.*s'",
		               source->name, m->platform.name, plain_len(platform ? platform : ""),
		               platform ? platform : "");
	return 0;
}

/* Load the manifest that @entry of an image index names. */
static int load_manifest(const struct json_source *source, const struct descriptor *self,
                         const struct platform *platform, struct manifest *ret, struct err *err)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	CLEANUP(free) char *bytes = NULL;
	char hex[DIGEST_HEX_SIZE];
	int r = source->read(source->arg, self, &bytes, err);

	if (r < 0)
		return r;
	r = manifest_parse(bytes, self->size, &m, err);
	if (r < 0)
		return err_wrap(err, r, "'%s': blob %.12s", source->name,
		                digest_hex(&self->digest, hex));
	m.self = *self;
	m.platform = *platform;
	r = check_config(source, &m, err);
	if (r < 0)
		return r;
	*ret = m;
	m = MANIFEST_INIT;
	return 0;
}

/* Add what @entry names to @set, in which there is room. */
static int add_entry(const struct json_source *source, const json_t *entry, struct image_set *set,
                     struct err *err)
{
	struct descriptor self;
	struct platform platform;
	int r = json_descriptor(entry, &self, err);

	if (r == 0)
		r = parse_platform(entry, &platform, err);
	if (r < 0)
		return err_wrap(err, r, "'%s': image index", source->name);
	for (uint32_t i = 0; i < set->n_manifests; i++) {
		const struct manifest *m = &set->manifests[i];

		if (!digest_equal(&m->self.digest, &self.digest))
			continue;
		if (strcmp(m->platform.name, FORMAT_PLATFORM_ANY) != 0)
			return err_set(err, -EBADMSG,
			               "'%s': image index gives the image of %s to %s, too",
			               source->name, m->platform.name, platform.name);
		return 0;
	}
	r = load_manifest(source, &self, &platform, &set->manifests[set->n_manifests], err);
	if (r == 0)
		set->n_manifests++;
	return r;
}

int image_set_load(const struct json_source *source, const struct descriptor *self,
                   struct image_set *ret, struct err *err)
{
	CLEANUP(image_set_release) struct image_set set = { .self = *self };
	CLEANUP(json_decref) json_t *root = NULL;
	const json_t *entries, *entry;
	size_t i;
	int r = read_json_blob(source, &set.self, &root, err);

	if (r < 0)
		return r;
	entries = json_object_get(root, "manifests");
	if (json_array_size(entries) == 0)
		return err_set(err, -EBADMSG, "'%s': image index lists no images", source->name);
	set.manifests = calloc(json_array_size(entries), sizeof(*set.manifests));
	if (!set.manifests)
		return err_set(err, -ENOMEM, "out of memory");
	json_array_foreach(entries, i, entry) {
		r = add_entry(source, entry, &set, err);
		if (r < 0)
			return r;
	}
	*ret = set;
	set = IMAGE_SET_INIT;
	return 0;
}

const struct manifest *image_set_find(const struct image_set *set, const struct platform *platform,
                                      struct err *err)
{
	const struct manifest *any = NULL;
	char names[160] = "";
	size_t used = 0;

	for (uint32_t i = 0; i < set->n_manifests; i++) {
		const struct manifest *m = &set->manifests[i];

		if (strcmp(m->platform.name, platform->name) == 0)
			return m;
		if (strcmp(m->platform.name, FORMAT_PLATFORM_ANY) == 0)
			any = m;
		if (used < sizeof(names))
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
			                         used > 0 ? ", " : "", m->platform.name);
	}
	if (!any)
		(void)err_set(err, -ENOENT, "no image for %s; there are images for: %s",
		              platform->name, names);
	return any;
}
