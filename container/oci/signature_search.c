/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures are looked for in the two places where cosign has put them: by tag, and as what refers to the image. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/json_text.h"
#include "oci/signature_internal.h"

#define BUNDLE_PREFIX "application/vnd.dev.sigstore.bundle"

enum { BLOB_MAX = 1 << 20 };

/* Looking for a signature that fits. */
struct search {
	const struct signature_key *key;
	const struct signature_store *store;
	const struct digest *image;
	unsigned n;     /* signatures that were looked at */
	struct err why; /* the first one does not fit */
};

/* A signature turned out with @r. Returns 1 when it is good, 0 to go on, -errno to stop. */
static int judge(struct search *s, int r, const struct err *why, struct err *err)
{
	if (r == 0)
		return 1;
	if (r != -EBADMSG && r != -ENOENT)
		return err_set(err, r, "%s", why->msg);
	if (s->n++ == 0)
		s->why = *why;
	return 0;
}

/* Read the blob @digest, of @size bytes. */
static int read_blob(const struct search *s, const struct digest *digest, uint64_t size, char **ret,
                     struct err *err)
{
	if (size > BLOB_MAX)
		return err_set(err, -EBADMSG, "a payload is larger than %d bytes", BLOB_MAX);
	return s->store->blob(s->store->arg, digest, size, ret, err);
}

/* For signature_layers(). Returns as judge(). */
static int try_layer(void *arg, const struct signature_layer *layer, struct err *err)
{
	struct search *s = arg;
	CLEANUP(free) char *payload = NULL;
	struct err why = ERR_INIT;
	int r = read_blob(s, &layer->payload, layer->payload_size, &payload, &why);

	if (r == 0)
		r = signature_check(s->key, payload, layer->payload_size, layer->base64, s->image,
		                    &why);
	return judge(s, r, &why, err);
}

/* Look at the tag that belongs to the image. Returns as judge(). */
static int search_tag(struct search *s, struct err *err)
{
	CLEANUP(free) char *manifest = NULL;
	char tag[sizeof("sha256-.sig") + DIGEST_HEX_SIZE], hex[DIGEST_HEX_SIZE];
	size_t len = 0;
	int r;

	(void)snprintf(tag, sizeof(tag), "sha256-%s.sig", digest_hex(s->image, hex));
	r = s->store->get(s->store->arg, tag, &manifest, &len, err);
	if (r == 0)
		r = signature_layers(manifest, len, try_layer, s, err);
	return r == -ENOENT ? 0 : r;
}

/* Try the layer @entry of a manifest, if it is a bundle. Returns as judge(). */
static int try_bundle(struct search *s, const json_t *entry, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	const json_t *size = json_object_get(entry, "size");
	struct err why = ERR_INIT;
	struct digest digest;
	int r;

	if (strncmp(json_text_member(entry, "mediaType"), BUNDLE_PREFIX, strlen(BUNDLE_PREFIX)) !=
	    0)
		return 0;
	if (!json_is_integer(size) || json_integer_value(size) <= 0 ||
	    signature_parse_digest(json_text_member(entry, "digest"), &digest) < 0)
		r = err_set(&why, -EBADMSG, "a manifest of signatures is damaged");
	else
		r = read_blob(s, &digest, (uint64_t)json_integer_value(size), &text, &why);
	if (r == 0)
		r = signature_check_bundle(s->key, text, (size_t)json_integer_value(size), s->image,
		                           &why);
	return judge(s, r, &why, err);
}

/* Try the manifest that @entry of an index names. Returns as judge(). */
static int try_manifest(struct search *s, const json_t *entry, struct err *err)
{
	CLEANUP(json_unref) json_t *root = NULL;
	CLEANUP(free) char *text = NULL;
	const char *digest = json_text_member(entry, "digest");
	const json_t *layer, *layers;
	struct err why = ERR_INIT;
	struct digest ignored;
	size_t len = 0, i;
	int r = signature_parse_digest(digest, &ignored) < 0
	                ? -ENOENT
	                : s->store->get(s->store->arg, digest, &text, &len, &why);

	if (r < 0) /* what cannot be followed need not be a signature */
		return r == -ENOENT || r == -EBADMSG ? 0 : err_set(err, r, "%s", why.msg);
	root = json_text_object(text, len);
	layers = json_object_get(root, "layers");
	r = 0;
	json_array_foreach(layers, i, layer) {
		if (r == 0 && i < SIGNATURE_ITEMS_MAX)
			r = try_bundle(s, layer, err);
	}
	return r;
}

/* Look at what refers to the image. Returns as judge(). */
static int search_referrers(struct search *s, struct err *err)
{
	CLEANUP(json_unref) json_t *root = NULL;
	CLEANUP(free) char *text = NULL;
	const json_t *entries, *entry;
	size_t len = 0, i;
	int r = s->store->referrers(s->store->arg, s->image, &text, &len, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	root = json_text_object(text, len);
	entries = json_object_get(root, "manifests");
	json_array_foreach(entries, i, entry) {
		if (r == 0 && i < SIGNATURE_ITEMS_MAX)
			r = try_manifest(s, entry, err);
	}
	return r;
}

int signature_verify(const struct signature_key *key, const struct signature_store *store,
                     const struct digest *image, struct err *err)
{
	struct search s = { .key = key, .store = store, .image = image, .why = ERR_INIT };
	char hex[DIGEST_HEX_SIZE];
	int r = search_tag(&s, err);

	(void)digest_hex(image, hex);
	if (r == 0 && store->referrers)
		r = search_referrers(&s, err);
	if (r == 1)
		return 0;
	if (r < 0)
		return err_wrap(err, r, "signatures of sha256:%.12s", hex);
	if (s.n == 0)
		return err_set(err, -EBADMSG, "'%s': image sha256:%.12s is not signed", store->name,
		               hex);
	return err_set(err, -EBADMSG, "'%s': image sha256:%.12s is not signed by this key: %s",
	               store->name, hex, s.why.msg);
}
