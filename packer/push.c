/* SPDX-License-Identifier: Apache-2.0 */
/* Order: blobs, several at once, then the manifests that name them, then the image index with the tag. */
#include "push.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/table.h"
#include "crew.h"
#include "format.h"
#include "oci_image.h"
#include "tagged.h"

/* A blob of the images. */
struct push_blob {
	struct table_node hook;
	struct descriptor d;
	bool is_delta; /* for messages */
};

struct pusher {
	const struct push_options *o;
	struct tagged tagged;
	struct push_blob *blobs; /* owned */
	size_t n_blobs;
	struct table known; /* of blobs */
	struct crew crew;
	size_t next; /* atomic */

	pthread_mutex_t progress_lock; /* nobody waits for it */
	struct progress progress;      /* under progress_lock while there are threads */
	uint64_t done;                 /* atomic */
	struct push_result result;     /* atomic while there are threads */
};

static void pusher_release_cleanup(struct pusher *p)
{
	table_release(&p->known);
	free(p->blobs);
	tagged_release(&p->tagged);
}

static void on_sent(void *arg, int64_t len)
{
	struct pusher *p = arg;
	/* What is sent again is taken back first: the sum is never below nothing. */
	uint64_t done = __atomic_add_fetch(&p->done, (uint64_t)len, __ATOMIC_RELAXED);

	if (pthread_mutex_trylock(&p->progress_lock) != 0)
		return;
	progress_update(&p->progress, done);
	(void)pthread_mutex_unlock(&p->progress_lock);
}

/* Add @d unless it is listed. There is room. */
static int add_blob(struct pusher *p, const struct descriptor *d, bool is_delta, struct err *err)
{
	uint64_t key = digest_key(&d->digest);
	struct push_blob *blob = &p->blobs[p->n_blobs];

	for (struct table_node *n = table_first(&p->known, key); n; n = table_next(n)) {
		if (digest_equal(&TABLE_ENTRY(n, struct push_blob, hook)->d.digest, &d->digest))
			return 0;
	}
	*blob = (struct push_blob){ .d = *d, .is_delta = is_delta };
	if (table_insert(&p->known, &blob->hook, key) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	p->n_blobs++;
	return 0;
}

static int add_image(struct pusher *p, const struct manifest *m, struct err *err)
{
	int r = add_blob(p, &m->config, false, err);

	if (r == 0 && m->index.size > 0)
		r = add_blob(p, &m->index, false, err);
	if (r == 0 && m->trace.size > 0)
		r = add_blob(p, &m->trace, false, err);
	for (uint32_t i = 0; r == 0 && i < m->n_packs; i++)
		r = add_blob(p, &m->packs[i], false, err);
	for (uint32_t i = 0; r == 0 && i < m->n_deltas; i++)
		r = add_blob(p, &m->deltas[i].blob, /* is_delta= */ true, err);
	return r;
}

/* List the blobs of all images, each once. */
static int list_blobs(struct pusher *p, struct err *err)
{
	const struct image_set *set = &p->tagged.images;
	size_t max = 0;
	int r = 0;

	for (uint32_t i = 0; i < set->n_manifests; i++)
		max += 3u + set->manifests[i].n_packs + set->manifests[i].n_deltas;
	p->blobs = calloc(max + 1, sizeof(*p->blobs));
	if (!p->blobs)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; r == 0 && i < set->n_manifests; i++)
		r = add_image(p, &set->manifests[i], err);
	return r;
}

static uint64_t total_bytes(const struct pusher *p)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < p->n_blobs; i++)
		sum += p->blobs[i].d.size;
	return sum;
}

static int open_blob(const struct pusher *p, const struct push_blob *blob, int *ret,
                     struct err *err)
{
	const char *path = layout_path(p->tagged.layout);
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(layout_blobs(p->tagged.layout), digest_hex(&blob->d.digest, hex),
	                O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(err, -ENOENT,
		               blob->is_delta ? "'%s': delta %.12s is missing: pull the image with "
		                                "--deltas first"
		                              : "'%s': blob %.12s is missing",
		               path, hex);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "'%s': blob %.12s", path, hex);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != blob->d.size)
		return err_set(err, -EBADMSG,
		               "'%s': blob %.12s is damaged: %lld bytes instead of %llu", path, hex,
		               (long long)st.st_size, (unsigned long long)blob->d.size);
	*ret = TAKE_FD(fd);
	return 0;
}

static int send_blob(struct pusher *p, const struct push_blob *blob, struct err *err)
{
	CLEANUP(close) int fd = -1;
	struct registry_blob upload = {
		.digest = blob->d.digest,
		.size = blob->d.size,
		.sent = on_sent,
		.arg = p,
	};
	char hex[DIGEST_HEX_SIZE];
	int r = open_blob(p, blob, &fd, err);

	if (r < 0)
		return r;
	upload.fd = fd;
	r = registry_upload(p->o->registry, &upload, err);
	if (r == -EBADMSG)
		return err_set(err, r,
		               "'%s': blob %.12s is damaged, or on its way to '%s': 'assetpack "
		               "verify' tells",
		               layout_path(p->tagged.layout), digest_hex(&blob->d.digest, hex),
		               registry_name(p->o->registry));
	if (r < 0)
		return r;
	(void)__atomic_add_fetch(r == 1 ? &p->result.n_mounted : &p->result.n_sent, 1,
	                         __ATOMIC_RELAXED);
	if (r == 1)
		on_sent(p, (int64_t)blob->d.size);
	else
		(void)__atomic_add_fetch(&p->result.sent_bytes, blob->d.size, __ATOMIC_RELAXED);
	return 0;
}

static int push_blob(struct pusher *p, const struct push_blob *blob, struct err *err)
{
	int r = registry_has_blob(p->o->registry, &blob->d.digest, err);

	if (r < 0)
		return r;
	if (r == 0)
		return send_blob(p, blob, err);
	on_sent(p, (int64_t)blob->d.size);
	return 0;
}

static int push_some(void *arg, struct progress *progress, struct err *err)
{
	struct pusher *p = arg;
	int r = 0;

	(void)progress; /* whoever has something to show shows it */
	while (r == 0 && !crew_failed(&p->crew)) {
		size_t i = __atomic_fetch_add(&p->next, 1, __ATOMIC_RELAXED);

		if (i >= p->n_blobs)
			return 0;
		r = push_blob(p, &p->blobs[i], err);
	}
	return r;
}

static int push_blobs(struct pusher *p, struct err *err)
{
	unsigned jobs = p->o->jobs < p->n_blobs ? p->o->jobs : (unsigned)p->n_blobs;

	progress_start(&p->progress, p->o->progress, "pushed", total_bytes(p));
	return crew_run(&p->crew, jobs, push_some, p, &p->progress, err);
}

/* Put the JSON blob @d of media type @type under @target. */
static int put_manifest(struct pusher *p, const struct descriptor *d, const char *type,
                        const char *target, struct err *err)
{
	CLEANUP(free) char *bytes = NULL;
	char media_type[100];
	struct registry_manifest m = { .len = d->size, .digest = d->digest, .type = media_type };
	int r = layout_read_blob(p->tagged.layout, d, &bytes, err);

	if (r < 0)
		return r;
	(void)snprintf(media_type, sizeof(media_type), "%s", type);
	m.bytes = bytes;
	r = registry_put_manifest(p->o->registry, target, &m, err);
	if (r == 0)
		p->result.sent_bytes += d->size;
	return r;
}

static int push_manifests(struct pusher *p, struct err *err)
{
	const struct image_set *set = &p->tagged.images;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < set->n_manifests; i++) {
		const struct descriptor *d = &set->manifests[i].self;
		char target[80], hex[DIGEST_HEX_SIZE];

		r = registry_has_manifest(p->o->registry, &d->digest, err);
		if (r != 0) {
			r = r == 1 ? 0 : r;
			continue;
		}
		(void)snprintf(target, sizeof(target), "sha256:%s", digest_hex(&d->digest, hex));
		r = put_manifest(p, d, FORMAT_TYPE_OCI_IMAGE, target, err);
	}
	return r < 0 ? r : put_manifest(p, &set->self, FORMAT_TYPE_OCI_INDEX, p->o->tag, err);
}

/* Load what the tag names: images of ours, or for container engines. */
static int load(struct pusher *p, struct err *err)
{
	const struct image_ref *ref = p->o->image;
	int r = tagged_load(ref, &p->tagged, err);

	if (r != -EBADMSG)
		return r;
	/* What is neither is said to be none of ours. */
	if (layout_open(ref->layout, &p->tagged.layout, NULL) < 0 ||
	    oci_image_load(p->tagged.layout, ref->tag, &p->tagged.images, NULL) < 0)
		return r;
	return 0;
}

int push(const struct push_options *options, struct push_result *ret, struct err *err)
{
	CLEANUP(pusher_release)
	struct pusher p = {
		.o = options,
		.tagged = TAGGED_INIT,
		.known = TABLE_INIT,
		.crew = CREW_INIT,
		.progress_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = load(&p, err);

	if (r == 0)
		r = list_blobs(&p, err);
	if (r == 0)
		r = push_blobs(&p, err);
	if (r == 0)
		r = push_manifests(&p, err);
	if (r < 0)
		return r;
	p.result.image = p.tagged.images.self;
	p.result.n_blobs = p.n_blobs;
	*ret = p.result;
	return 0;
}
