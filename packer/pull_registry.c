/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A registry has manifests and blobs in two places, and descriptors do not say which one they
 * are of: so what the image index lists is remembered. All JSON is kept, for it is wanted twice:
 * to find out what there is, and to be copied.
 */
#include "pull_registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "format.h"
#include "image_set.h"
#include "oci_json.h"
#include "plain.h"

/* JSON that was read. */
struct document {
	struct descriptor d;
	char *bytes; /* owned */
};

struct registry_source {
	struct registry *reg; /* owned */
	char *target;         /* owned; a tag or a digest */
	struct digest digest; /* when pinned */
	bool pinned;

	struct digest *manifests; /* owned; that the image index lists */
	size_t n_manifests;
	struct document *documents; /* owned; constant after images() */
	size_t n_documents;
	size_t documents_max;
};

static const struct document *find_document(const struct registry_source *from,
                                            const struct descriptor *d)
{
	for (size_t i = 0; i < from->n_documents; i++) {
		if (digest_equal(&from->documents[i].d.digest, &d->digest))
			return &from->documents[i];
	}
	return NULL;
}

/* Keep *@bytes, which are taken. */
static int add_document(struct registry_source *from, const struct descriptor *d, char **bytes,
                        struct err *err)
{
	struct document *grown = array_grow(from->documents, from->n_documents,
	                                    &from->documents_max, sizeof(*grown));

	if (!grown)
		return err_set(err, -ENOMEM, "out of memory");
	from->documents = grown;
	grown[from->n_documents++] = (struct document){ .d = *d, .bytes = TAKE_PTR(*bytes) };
	return 0;
}

static bool is_manifest(const struct registry_source *from, const struct descriptor *d)
{
	for (size_t i = 0; i < from->n_manifests; i++) {
		if (digest_equal(&from->manifests[i], &d->digest))
			return true;
	}
	return false;
}

static int fetch_manifest(const struct registry_source *from, const struct descriptor *d,
                          char **ret, struct err *err)
{
	CLEANUP(registry_manifest_release) struct registry_manifest m = REGISTRY_MANIFEST_INIT;
	char target[80], hex[DIGEST_HEX_SIZE];
	int r;

	(void)snprintf(target, sizeof(target), "sha256:%s", digest_hex(&d->digest, hex));
	r = registry_get_manifest(from->reg, target, &d->digest, &m, err);
	if (r < 0)
		return r;
	if (m.len != d->size)
		return err_set(err, -EBADMSG, "'%s': manifest %.12s is damaged: not %llu bytes",
		               registry_name(from->reg), hex, (unsigned long long)d->size);
	*ret = TAKE_PTR(m.bytes);
	return 0;
}

static int fetch_blob(const struct registry_source *from, const struct descriptor *d, char **ret,
                      struct err *err)
{
	CLEANUP(free) char *bytes = malloc(d->size + 1);
	int r;

	if (!bytes)
		return err_set(err, -ENOMEM, "out of memory");
	r = registry_get_blob(from->reg, &d->digest, d->size, bytes, err);
	if (r < 0)
		return r;
	bytes[d->size] = '\0';
	*ret = TAKE_PTR(bytes);
	return 0;
}

/* For struct json_source. */
static int read_json(void *arg, const struct descriptor *d, char **ret, struct err *err)
{
	struct registry_source *from = arg;
	const struct document *known = find_document(from, d);
	CLEANUP(free) char *bytes = NULL;
	int r = 0;

	if (d->size > FORMAT_JSON_MAX)
		return err_set(err, -EBADMSG, "'%s': a manifest is to have %llu bytes",
		               registry_name(from->reg), (unsigned long long)d->size);
	if (!known) {
		r = is_manifest(from, d) ? fetch_manifest(from, d, &bytes, err)
		                         : fetch_blob(from, d, &bytes, err);
		if (r == 0)
			r = add_document(from, d, &bytes, err);
		if (r < 0)
			return r;
		known = &from->documents[from->n_documents - 1];
	}
	if (known->d.size != d->size)
		return err_set(err, -EBADMSG, "'%s': two sizes of one manifest",
		               registry_name(from->reg));
	*ret = malloc(d->size + 1);
	if (!*ret || !known->bytes)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(*ret, known->bytes, d->size + 1);
	return 0;
}

/* Remember which manifests the image index @m lists. */
static int list_manifests(struct registry_source *from, const struct registry_manifest *m,
                          struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	const json_t *entries, *entry;
	size_t i;
	int r = json_parse_object(m->bytes, m->len, "image index", &root, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", registry_name(from->reg));
	entries = json_object_get(root, "manifests");
	if (!json_is_array(entries))
		return err_set(err, -EBADMSG, "'%s': '%.80s' names no image index: it is '%.*s'",
		               registry_name(from->reg), from->target, plain_len(m->type), m->type);
	free(from->manifests);
	from->manifests = calloc(json_array_size(entries) + 1, sizeof(*from->manifests));
	if (!from->manifests)
		return err_set(err, -ENOMEM, "out of memory");
	from->n_manifests = 0;
	json_array_foreach(entries, i, entry) {
		struct descriptor d;

		if (json_descriptor(entry, &d, NULL) == 0)
			from->manifests[from->n_manifests++] = d.digest;
	}
	return 0;
}

static int registry_source_images(const struct pull_source *source, struct image_set *ret,
                                  struct err *err)
{
	CLEANUP(registry_manifest_release) struct registry_manifest m = REGISTRY_MANIFEST_INIT;
	struct registry_source *from = source->arg;
	const struct json_source json = { .name = source->name, .read = read_json, .arg = from };
	struct descriptor self;
	int r = registry_get_manifest(from->reg, from->target, from->pinned ? &from->digest : NULL,
	                              &m, err);

	if (r == 0)
		r = list_manifests(from, &m, err);
	if (r < 0)
		return r;
	self = (struct descriptor){ .digest = m.digest, .size = m.len };
	r = add_document(from, &self, &m.bytes, err);
	if (r < 0)
		return r;
	return image_set_load(&json, &self, ret, err);
}

static int registry_source_read(const struct pull_source *source, const struct pull_run *run,
                                const struct pull_sink *sink, struct err *err)
{
	const struct registry_source *from = source->arg;
	const struct descriptor *d = run->blob;
	const struct document *known = find_document(from, d);
	const struct registry_range range = {
		.digest = d->digest,
		.size = d->size,
		.off = run->off,
		.len = run->len,
	};

	if (known && run->off <= known->d.size && run->len <= known->d.size - run->off)
		return sink->take(sink->arg, known->bytes + run->off, run->len, err);
	return registry_read_from(from->reg, &range, run->from, sink->take, sink->arg, err);
}

static bool registry_source_has_other(const struct pull_source *source,
                                      const struct registry_sources *sources)
{
	const struct registry_source *from = source->arg;

	return sources->used != 0 && registry_has_other(from->reg, sources);
}

static int registry_source_check(const struct pull_source *source, const struct signature_key *key,
                                 const struct digest *image, struct err *err)
{
	const struct registry_source *from = source->arg;

	return signature_verify_registry(key, from->reg, image, err);
}

static void registry_source_release(struct pull_source *source)
{
	struct registry_source *from = source->arg;

	for (size_t i = 0; from && i < from->n_documents; i++)
		free(from->documents[i].bytes);
	if (from) {
		registry_close(from->reg);
		free(from->documents);
		free(from->manifests);
		free(from->target);
	}
	free(from);
	free(source->name);
	*source = PULL_SOURCE_INIT;
}

/* Fill in what belongs to the registry; what was made when that fails is @source's. */
static int open_source(const struct reference *ref, const struct registry_args *args,
                       struct pull_source *source, struct err *err)
{
	struct registry_source *from = source->arg;

	if (!from)
		return err_set(err, -ENOMEM, "out of memory");
	from->pinned = ref->pinned;
	from->digest = ref->digest;
	from->target = reference_target(ref);
	if (!from->target || asprintf(&source->name, "%s/%s%c%s", ref->host, ref->repository,
	                              ref->pinned ? '@' : ':', from->target) < 0) {
		source->name = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	return registry_args_open(args, ref, &from->reg, err);
}

int pull_source_open_registry(const struct reference *ref, const struct registry_args *args,
                              struct pull_source *ret, struct err *err)
{
	int r;

	*ret = (struct pull_source){
		.arg = calloc(1, sizeof(struct registry_source)),
		.jobs = args->jobs,
		.is_far = true,
		.images = registry_source_images,
		.read = registry_source_read,
		.has_other = registry_source_has_other,
		.check = registry_source_check,
		.release = registry_source_release,
	};
	r = open_source(ref, args, ret, err);
	if (r < 0)
		registry_source_release(ret);
	return r;
}
