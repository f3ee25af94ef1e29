/* SPDX-License-Identifier: Apache-2.0 */
#include "remotes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "image_set.h"
#include "oci/registry.h"
#include "oci_json.h"

enum {
	ATTEMPTS = 3, /* of a request, before what waits for it is asked whether it still does */
	STALL_MAX_S = 20,
};

struct remotes {
	struct remotes_config config; /* constant */
	pthread_mutex_t lock;
	/* under lock; constant once they are there */
	struct layout *layout; /* owned */
	struct store_db *db;   /* owned; NULL when it cannot be had */
	struct fetch *fetch;   /* owned */
	bool stopped;
};

struct remotes *remotes_new(const struct remotes_config *config)
{
	struct remotes *remotes = calloc(1, sizeof(*remotes));

	if (!remotes)
		return NULL;
	remotes->config = *config;
	(void)pthread_mutex_init(&remotes->lock, NULL);
	return remotes;
}

static struct fetch *opened(struct remotes *remotes)
{
	struct fetch *fetch;

	(void)pthread_mutex_lock(&remotes->lock);
	fetch = remotes->fetch;
	(void)pthread_mutex_unlock(&remotes->lock);
	return fetch;
}

bool remotes_stop(struct remotes *remotes)
{
	if (!remotes)
		return true;
	(void)pthread_mutex_lock(&remotes->lock);
	remotes->stopped = true;
	(void)pthread_mutex_unlock(&remotes->lock);
	return fetch_stop(opened(remotes));
}

void remotes_free(struct remotes *remotes)
{
	if (!remotes)
		return;
	fetch_free(remotes->fetch);
	store_db_close(remotes->db);
	layout_close(remotes->layout);
	(void)pthread_mutex_destroy(&remotes->lock);
	free(remotes);
}

bool remotes_is_name(const char *image)
{
	return image[0] != '/' && image[0] != '.' && strncmp(image, "oci:", strlen("oci:")) != 0;
}

void remotes_usage(struct remotes *remotes, struct fetch_usage *ret)
{
	struct fetch *fetch = opened(remotes);

	*ret = (struct fetch_usage){ .size = remotes->config.store_size };
	if (fetch)
		fetch_usage(fetch, ret);
}

/* Open the layout of the store, making it. */
static int open_layout(const char *path, struct layout **ret, struct err *err)
{
	static const char marker[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	CLEANUP(free) char *blobs = NULL;
	CLEANUP(close) int dir = -1;
	int r;

	if (asprintf(&blobs, "%s/blobs/sha256", path) < 0) {
		blobs = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	r = io_make_dirs(blobs, err);
	if (r < 0)
		return r;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set_errno(err, "'%s'", path);
	r = io_sweep(dir, err);
	if (r == 0 && faccessat(dir, "oci-layout", F_OK, 0) < 0)
		r = io_publish_bytes(dir, "oci-layout", marker, strlen(marker), 0644, err);
	return r < 0 ? r : layout_open(path, ret, err);
}

static int open_fetch(struct remotes *remotes, const char *blobs, struct err *err)
{
	const struct remotes_config *c = &remotes->config;
	const struct fetch_config config = { .dir = blobs,
		                             .db = remotes->db,
		                             .stats = c->stats,
		                             .size = c->store_size,
		                             .rate = c->rate,
		                             .timeout_s = c->timeout_s };

	return fetch_new(&config, &remotes->fetch, err);
}

/* Open what the store has of registries. With the lock held: it is done once, and all who come wait for it. */
static int open_all(struct remotes *remotes, struct err *err)
{
	const char *store = store_path(remotes->config.store);
	CLEANUP(free) char *path = NULL;
	CLEANUP(free) char *blobs = NULL;
	struct err why = ERR_INIT;
	int r;

	if (asprintf(&path, "%s/remote", store) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (asprintf(&blobs, "%s/blobs/sha256", path) < 0) {
		blobs = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	r = remotes->layout ? 0 : open_layout(path, &remotes->layout, err);
	if (r < 0)
		return r;
	if (!remotes->db && store_db_open(store, &remotes->db, &why) < 0)
		log_warn("what is fetched is not remembered: %s", why.msg);
	return open_fetch(remotes, blobs, err);
}

static int open_once(struct remotes *remotes, struct err *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&remotes->lock);
	if (remotes->stopped)
		r = err_set(err, -ECANCELED, "the daemon is about to end");
	else if (!remotes->fetch)
		r = open_all(remotes, err);
	(void)pthread_mutex_unlock(&remotes->lock);
	return r;
}

/* Looking an image up. */
struct lookup {
	struct remotes *remotes;
	struct registry *reg;
	const struct reference *ref;
	const char *name;
	bool asked;               /* the registry, for the image index */
	struct digest *manifests; /* owned; that the image index lists */
	size_t n_manifests;
};

static void lookup_release_cleanup(struct lookup *lookup)
{
	free(lookup->manifests);
}

/* Keep JSON for the next time. */
static void keep(const struct lookup *lookup, const struct digest *digest, const char *bytes,
                 size_t len)
{
	struct err err = ERR_INIT;

	if (fetch_put(lookup->remotes->fetch, digest, bytes, len, &err) < 0)
		log_warn("%s: a manifest is not kept: %s", lookup->name, err.msg);
}

static bool is_manifest(const struct lookup *lookup, const struct digest *digest)
{
	for (size_t i = 0; i < lookup->n_manifests; i++) {
		if (digest_equal(&lookup->manifests[i], digest))
			return true;
	}
	return false;
}

/* Get the manifest @target of the registry. */
static int get_manifest(const struct lookup *lookup, const char *target,
                        const struct digest *digest, struct descriptor *ret, char **ret_bytes,
                        struct err *err)
{
	CLEANUP(registry_manifest_release) struct registry_manifest m = REGISTRY_MANIFEST_INIT;
	int r = registry_get_manifest(lookup->reg, target, digest, &m, err);

	if (r < 0)
		return r;
	keep(lookup, &m.digest, m.bytes, m.len);
	*ret = (struct descriptor){ .digest = m.digest, .size = m.len };
	*ret_bytes = TAKE_PTR(m.bytes);
	return 0;
}

static int get_blob(const struct lookup *lookup, const struct descriptor *d, char **ret,
                    struct err *err)
{
	CLEANUP(free) char *bytes = malloc(d->size + 1);
	int r;

	if (!bytes)
		return err_set(err, -ENOMEM, "out of memory");
	r = registry_get_blob(lookup->reg, &d->digest, d->size, bytes, err);
	/* As with packs: what is wrong once may be right the next time. */
	if (r == -EBADMSG)
		r = registry_get_blob(lookup->reg, &d->digest, d->size, bytes, err);
	if (r < 0)
		return r;
	bytes[d->size] = '\0';
	keep(lookup, &d->digest, bytes, d->size);
	*ret = TAKE_PTR(bytes);
	return 0;
}

/* For struct json_source: of the store, else of the registry. */
static int read_json(void *arg, const struct descriptor *d, char **ret, struct err *err)
{
	const struct lookup *lookup = arg;
	CLEANUP(free) char *bytes = NULL;
	char target[80], hex[DIGEST_HEX_SIZE];
	struct descriptor got;
	int r;

	if (layout_read_blob(lookup->remotes->layout, d, ret, NULL) == 0)
		return 0;
	if (d->size > FORMAT_JSON_MAX)
		return err_set(err, -EBADMSG, "'%s': a manifest is to have %llu bytes",
		               lookup->name, (unsigned long long)d->size);
	if (!is_manifest(lookup, &d->digest))
		return get_blob(lookup, d, ret, err);
	(void)snprintf(target, sizeof(target), "sha256:%s", digest_hex(&d->digest, hex));
	r = get_manifest(lookup, target, &d->digest, &got, &bytes, err);
	if (r < 0)
		return r;
	if (got.size != d->size)
		return err_set(err, -EBADMSG, "'%s': manifest %.12s is damaged: not %llu bytes",
		               lookup->name, hex, (unsigned long long)d->size);
	*ret = TAKE_PTR(bytes);
	return 0;
}

/* Remember which manifests the image index @bytes lists: the registry has them elsewhere than blobs. */
static int list_manifests(struct lookup *lookup, const char *bytes, size_t len, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	const json_t *entries, *entry;
	size_t i;
	int r = json_parse_object(bytes, len, "image index", &root, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", lookup->name);
	entries = json_object_get(root, "manifests");
	if (!json_is_array(entries))
		return err_set(err, -EBADMSG, "'%s' names no image index", lookup->name);
	lookup->manifests = calloc(json_array_size(entries) + 1, sizeof(*lookup->manifests));
	if (!lookup->manifests)
		return err_set(err, -ENOMEM, "out of memory");
	json_array_foreach(entries, i, entry) {
		struct descriptor d;

		if (json_descriptor(entry, &d, NULL) == 0)
			lookup->manifests[lookup->n_manifests++] = d.digest;
	}
	return 0;
}

/* The image index of a name with a digest, if the store has it. */
static int find_pinned(const struct lookup *lookup, struct descriptor *ret, char **ret_bytes)
{
	const struct reference *ref = lookup->ref;
	struct layout *layout = lookup->remotes->layout;
	char hex[DIGEST_HEX_SIZE];
	struct stat st;

	if (!ref->pinned ||
	    fstatat(layout_blobs(layout), digest_hex(&ref->digest, hex), &st, 0) < 0 ||
	    st.st_size <= 0)
		return -ENOENT;
	*ret = (struct descriptor){ .digest = ref->digest, .size = (uint64_t)st.st_size };
	return layout_read_blob(layout, ret, ret_bytes, NULL);
}

/* Get the image index that is looked up. */
static int get_index(struct lookup *lookup, bool private, struct descriptor *ret, char **ret_bytes,
                     struct err *err)
{
	const struct reference *ref = lookup->ref;
	CLEANUP(free) char *target = reference_target(ref);
	int r;

	if (!target)
		return err_set(err, -ENOMEM, "out of memory");
	if (!private && find_pinned(lookup, ret, ret_bytes) == 0)
		return 0;
	r = get_manifest(lookup, target, ref->pinned ? &ref->digest : NULL, ret, ret_bytes, err);
	lookup->asked = r == 0;
	if (err_is_out_of_reach(r) && private && find_pinned(lookup, ret, ret_bytes) == 0)
		return 0;
	return r;
}

static int find_set(struct remotes *remotes, struct registry *reg, const struct reference *ref,
                    const struct remote_name *name, struct remote_image *ret, struct err *err)
{
	CLEANUP(lookup_release)
	struct lookup lookup = { .remotes = remotes, .reg = reg, .ref = ref, .name = name->name };
	const struct json_source json = { .name = name->name, .read = read_json, .arg = &lookup };
	CLEANUP(free) char *bytes = NULL;
	struct descriptor self = { .size = 0 };
	int r = get_index(&lookup, name->private, &self, &bytes, err);

	if (r < 0)
		return r;
	ret->asked = lookup.asked;
	r = list_manifests(&lookup, bytes, self.size, err);
	return r < 0 ? r : image_set_load(&json, &self, &ret->set, err);
}

/* Bytes on their way from one of several. */
struct passing {
	struct registry_sources asked;
	struct fetch_order *order;
};

static int pass(void *arg, const void *data, size_t len, struct err *err)
{
	const struct passing *p = arg;

	p->order->now = p->asked.now;
	return p->order->take(p->order->arg, data, len, err);
}

/* For struct fetch_from. */
static int read_range(void *arg, const struct descriptor *blob, const struct blob_range *range,
                      struct fetch_order *order, struct err *err)
{
	struct passing p = { .asked = { .used = order->wrong, .told = order->told },
		             .order = order };
	const struct registry_range wanted = { .digest = blob->digest,
		                               .size = blob->size,
		                               .off = range->off,
		                               .len = range->len };

	return registry_read_from(arg, &wanted, &p.asked, pass, &p, err);
}

static const char *name_source(void *arg, unsigned i)
{
	return registry_source(arg, i);
}

static bool sends_whole(void *arg)
{
	return registry_ignored_ranges(arg) > 0;
}

static void close_registry(void *arg)
{
	registry_close(arg);
}

/* For struct registry_options. */
static void log_mirror(void *arg, const char *line)
{
	static struct log_limit limit;

	(void)arg;
	if (log_allowed(&limit))
		log_warn("%s", line);
}

static int open_registry(const struct remotes *remotes, const struct reference *ref,
                         struct credentials_text *credentials, struct registry **ret,
                         struct err *err)
{
	unsigned stall_s = remotes->config.timeout_s / 3;
	struct registry_options options = { .plain_http = remotes->config.plain_http,
		                            .ca_file = remotes->config.ca_file,
		                            .credentials = credentials,
		                            .attempts = ATTEMPTS,
		                            .note = log_mirror };

	stall_s = stall_s < STALL_MAX_S ? stall_s : STALL_MAX_S;
	options.stall_s = stall_s > 0 ? stall_s : 1;
	return registry_open(ref, &options, ret, err);
}

void remote_image_release(struct remote_image *found)
{
	origin_unref(found->origin);
	image_set_release(&found->set);
	layout_close(found->layout);
	*found = REMOTE_IMAGE_INIT;
}

int remote_image_load(struct remote_image *ret, const struct digest *digest, struct err *err)
{
	ret->set.manifests = calloc(1, sizeof(*ret->set.manifests));
	if (!ret->set.manifests)
		return err_set(err, -ENOMEM, "out of memory");
	ret->set.n_manifests = 1;
	return layout_manifest(ret->layout, digest, &ret->set.manifests[0], err);
}

/* Find the manifest @digest in the store, or all of @name's in the registry when it is NULL. */
static int find(struct remotes *remotes, const struct remote_name *name,
                const struct digest *digest, struct remote_image *ret, struct err *err)
{
	CLEANUP(reference_release) struct reference ref = REFERENCE_INIT;
	CLEANUP(registry_close) struct registry *reg = NULL;
	struct fetch_from from = { .read = read_range,
		                   .source = name_source,
		                   .sends_whole = sends_whole,
		                   .release = close_registry };
	int r = reference_parse(name->name, &ref, err);

	if (r == 0)
		r = open_once(remotes, err);
	if (r == 0)
		r = open_registry(remotes, &ref, name->credentials, &reg, err);
	if (r == 0)
		r = layout_dup(remotes->layout, &ret->layout, err);
	if (r == 0)
		r = digest ? remote_image_load(ret, digest, err)
		           : find_set(remotes, reg, &ref, name, ret, err);
	if (r == 0 && !digest)
		r = verifier_check_registry(remotes->config.verifier, name->key, reg,
		                            &ret->set.self.digest, err);
	if (r < 0)
		return r;
	from.arg = TAKE_PTR(reg);
	ret->origin = origin_new(remotes->fetch, &from);
	return ret->origin ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int remotes_find_digest(struct remotes *remotes, const struct remote_name *name,
                        const struct digest *digest, struct remote_image *ret, struct err *err)
{
	int r;

	*ret = REMOTE_IMAGE_INIT;
	r = find(remotes, name, digest, ret, err);
	if (r < 0)
		remote_image_release(ret);
	return r;
}

int remotes_find(struct remotes *remotes, const struct remote_name *name, struct remote_image *ret,
                 struct err *err)
{
	return remotes_find_digest(remotes, name, NULL, ret, err);
}

/* Open the image, its index fetched if need be; sets *@again when that is damaged, and others may be had. */
static int open_fetched(struct store *store, const struct remote_image *found,
                        const struct manifest *manifest, struct image **ret, bool *again,
                        struct err *err)
{
	const struct descriptor *d = &manifest->index;
	struct pack_hold all = { .range = { .off = 0, .len = d->size } };
	int r;

	*again = false;
	if (store_has_index(store, manifest))
		return store_open_image(store, found->layout, manifest, STORE_UNPACK_FIRST, ret,
		                        err);
	r = fetch_hold(found->origin, d, &all, err);
	if (r < 0)
		return err_wrap(err, r, "index");
	r = store_open_image(store, found->layout, manifest, STORE_UNPACK_FIRST, ret, err);
	*again = fetch_release(found->origin, d, &all, /* damaged= */ r == -EBADMSG);
	return r;
}

/* Add @n blobs to the list @needs, which is grown. */
static int add_needs(struct descriptor **needs, uint32_t *n_needs, const struct descriptor *blobs,
                     uint32_t n)
{
	struct descriptor *grown = reallocarray(*needs, *n_needs + (size_t)n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*needs = grown;
	for (uint32_t i = 0; i < n; i++)
		grown[(*n_needs)++] = blobs[i];
	return 0;
}

/* Tell the origin what the image has: packs, deltas, and packs of bases that are here from earlier mounts. */
static int tell_needs(const struct remotes *remotes, struct origin *origin,
                      const struct manifest *manifest)
{
	CLEANUP(free) struct descriptor *needs = NULL;
	uint32_t n = 0;
	int r = add_needs(&needs, &n, manifest->packs, manifest->n_packs);

	for (uint32_t i = 0; r == 0 && i < manifest->n_deltas; i++) {
		CLEANUP(manifest_release) struct manifest base = MANIFEST_INIT;

		r = add_needs(&needs, &n, &manifest->deltas[i].blob, 1);
		if (r == 0 &&
		    layout_manifest(remotes->layout, &manifest->deltas[i].base, &base, NULL) == 0)
			r = add_needs(&needs, &n, base.packs, base.n_packs);
	}
	return r < 0 ? r : origin_needs(origin, needs, n, manifest->n_packs);
}

int remotes_open(struct remotes *remotes, struct remote_image *found,
                 const struct manifest *manifest, struct image **ret, struct err *err)
{
	struct store *store = remotes->config.store;
	struct pack_source source;
	struct image *img = NULL;
	bool again = true;
	int r = -EBADMSG;

	for (int i = 0; i < IMAGE_SOURCE_TRIES && again; i++)
		r = open_fetched(store, found, manifest, &img, &again, err);
	if (r < 0)
		return r;
	source = origin_source(TAKE_PTR(found->origin));
	image_set_source(img, &source);
	r = tell_needs(remotes, source.arg, manifest);
	if (r < 0) {
		image_close(img);
		return err_set(err, r, "out of memory");
	}
	*ret = img;
	return 0;
}

bool remotes_same_repository(const char *a, const char *b)
{
	CLEANUP(reference_release) struct reference x = REFERENCE_INIT;
	CLEANUP(reference_release) struct reference y = REFERENCE_INIT;

	return reference_parse(a, &x, NULL) == 0 && reference_parse(b, &y, NULL) == 0 &&
	       strcmp(x.host, y.host) == 0 && strcmp(x.repository, y.repository) == 0;
}
