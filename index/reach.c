/* SPDX-License-Identifier: Apache-2.0 */
#include "reach.h"

#include <errno.h>
#include <string.h>

#include "format.h"
#include "oci_json.h"
#include "plain.h"

#define DIGEST_PREFIX "sha256:"

/* Others put empty blobs into layouts, so that a size of 0 is fine here. */
static int parse_descriptor(const json_t *object, struct descriptor *ret, struct err *err)
{
	const char *digest = json_string_value(json_object_get(object, "digest"));
	const json_t *size = json_object_get(object, "size");

	if (!digest)
		return err_set(err, -EBADMSG, "descriptor without a digest");
	if (strncmp(digest, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0 ||
	    digest_parse(digest + strlen(DIGEST_PREFIX), strlen(digest + strlen(DIGEST_PREFIX)),
	                 &ret->digest) < 0)
		return err_set(err, -EBADMSG, "descriptor of '%.*s', which is no sha256 digest",
		               plain_len(digest), digest);
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return err_set(err, -EBADMSG, "descriptor of '%s' without a size", digest);
	ret->size = (uint64_t)json_integer_value(size);
	return 0;
}

/* Whether blobs of @type name others, in the members that follow() goes through. */
static bool is_manifest_type(const char *type)
{
	static const char *const types[] = {
		FORMAT_TYPE_OCI_INDEX,
		FORMAT_TYPE_OCI_IMAGE,
		"application/vnd.oci.artifact.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.docker.distribution.manifest.v2+json",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(type, types[i]) == 0)
			return true;
	}
	return false;
}

/* Pass on what descriptor @object names. */
static int reach(const json_t *object, enum reach_role role, reach_fn fn, void *arg,
                 struct err *err)
{
	const char *type = json_string_value(json_object_get(object, "mediaType"));
	struct descriptor d = { .size = 0 };
	int r = parse_descriptor(object, &d, err);

	if (r < 0)
		return r;
	if (type && is_manifest_type(type))
		return fn(arg, &d, role == REACH_LEAF ? REACH_MANIFEST : role, err);
	if (role != REACH_LEAF)
		return err_set(err, -EBADMSG, "manifest of unknown type '%.*s'",
		               plain_len(type ? type : ""), type ? type : "");
	return fn(arg, &d, role, err);
}

static int reach_list(const json_t *list, enum reach_role role, reach_fn fn, void *arg,
                      struct err *err)
{
	const json_t *object;
	size_t i;

	if (list && !json_is_array(list))
		return err_set(err, -EBADMSG, "list of blobs that is no list");
	json_array_foreach(list, i, object) {
		int r = reach(object, role, fn, arg, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int reach_all(const json_t *root, reach_fn fn, void *arg, struct err *err)
{
	const json_t *manifests = json_object_get(root, "manifests");
	const json_t *layers = json_object_get(root, "layers");
	const json_t *blobs = json_object_get(root, "blobs");
	const json_t *config = json_object_get(root, "config");
	const json_t *subject = json_object_get(root, "subject");
	int r;

	if (!manifests && !layers && !blobs)
		return err_set(err, -EBADMSG, "neither an index nor a manifest");
	r = reach_list(manifests, REACH_MANIFEST, fn, arg, err);
	if (r == 0)
		r = reach_list(layers, REACH_LEAF, fn, arg, err);
	if (r == 0)
		r = reach_list(blobs, REACH_LEAF, fn, arg, err);
	if (r == 0 && config)
		r = reach(config, REACH_LEAF, fn, arg, err);
	if (r == 0 && subject)
		r = reach(subject, REACH_SUBJECT, fn, arg, err);
	return r;
}

int reach_parse(const char *text, size_t len, const char *what, reach_fn fn, void *arg,
                struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	int r = json_parse_object(text, len, what, &root, err);

	if (r < 0)
		return r;
	r = reach_all(root, fn, arg, err);
	return r < 0 ? err_wrap(err, r, "%s", what) : 0;
}
