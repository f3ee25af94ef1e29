/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order: blobs, then the manifests that name them, then the image index, then the tag. A pull that
 * ends early leaves blobs that nothing names, of which the next one makes use.
 */
#include "pull.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pull_internal.h"

/* A blob that the layout was searched for. */
struct known_blob {
	struct table_node hook;
	struct descriptor blob;
	bool there;
};

static void pull_release_cleanup(struct pull *p)
{
	for (struct table_node *n = table_walk(&p->blobs, NULL), *next; n; n = next) {
		next = table_walk(&p->blobs, n);
		free(TABLE_ENTRY(n, struct known_blob, hook));
	}
	table_release(&p->blobs);
	layout_close(p->layout);
	layout_writer_close(p->writer);
}

static struct known_blob *find(const struct pull *p, const struct descriptor *d)
{
	uint64_t key = digest_key(&d->digest);

	for (struct table_node *n = table_first(&p->blobs, key); n; n = table_next(n)) {
		struct known_blob *known = TABLE_ENTRY(n, struct known_blob, hook);

		if (digest_equal(&known->blob.digest, &d->digest) && known->blob.size == d->size)
			return known;
	}
	return NULL;
}

/* Returns NULL when memory runs out. */
static struct known_blob *add(struct pull *p, const struct descriptor *d)
{
	struct known_blob *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	known->blob = *d;
	if (table_insert(&p->blobs, &known->hook, digest_key(&d->digest)) < 0) {
		free(known);
		return NULL;
	}
	return known;
}

int pull_has(struct pull *p, const struct descriptor *d, struct err *err)
{
	struct known_blob *known = find(p, d);

	if (known)
		return known->there;
	known = add(p, d);
	if (!known)
		return err_set(err, -ENOMEM, "out of memory");
	known->there = layout_writer_has(p->writer, d);
	return known->there;
}

int pull_remember(struct pull *p, const struct descriptor *d, struct err *err)
{
	struct known_blob *known = find(p, d);

	if (!known)
		known = add(p, d);
	if (!known)
		return err_set(err, -ENOMEM, "out of memory");
	known->there = true;
	return 0;
}

int pull_blob(struct pull *p, const char *what, const struct descriptor *d, struct err *err)
{
	int r = pull_has(p, d, err);

	if (r < 0)
		return r;
	if (r == 0) {
		r = pull_copy(p, what, d, err);
		return r < 0 ? r : pull_remember(p, d, err);
	}
	pull_progress(p, d->size);
	return 0;
}

int pull_delta(struct pull *p, const struct descriptor *d, struct err *err)
{
	p->progress.total += d->size;
	return pull_blob(p, "delta", d, err);
}

/* Whether the image of @m is one that was asked for. */
static bool is_wanted(const struct pull *p, const struct image_set *set, const struct manifest *m)
{
	bool wanted = p->o->n_platforms == 0;

	for (unsigned i = 0; !wanted && i < p->o->n_platforms; i++)
		wanted = image_set_find(set, &p->o->platforms[i], NULL) == m;
	return wanted;
}

static int check_platforms(const struct pull_options *o, const struct image_set *set,
                           struct err *err)
{
	for (unsigned i = 0; i < o->n_platforms; i++) {
		if (!image_set_find(set, &o->platforms[i], err))
			return err_wrap(err, -ENOENT, "'%s'", o->source->name);
	}
	return 0;
}

/* Bytes that there are to do, before it is known which deltas are of use. */
static uint64_t total_bytes(const struct pull *p, const struct image_set *set)
{
	uint64_t sum = set->self.size;

	for (uint32_t i = 0; i < set->n_manifests; i++) {
		const struct manifest *m = &set->manifests[i];

		sum += m->self.size + m->config.size;
		if (!is_wanted(p, set, m))
			continue;
		sum += m->index.size + m->trace.size;
		for (uint32_t k = 0; k < m->n_packs; k++)
			sum += m->packs[k].size;
	}
	return sum;
}

/* Put blob @d, which is to be there, at the end of @list, unless it is there. */
static int list_blob(struct pull *p, const struct descriptor *d, struct descriptor *list, size_t *n,
                     struct err *err)
{
	int r = pull_has(p, d, err);

	if (r < 0)
		return r;
	if (r == 1) {
		pull_progress(p, d->size);
		return 0;
	}
	list[(*n)++] = *d;
	/* It will be: nothing is named that has not come. */
	return pull_remember(p, d, err);
}

/* List the packs and deltas that are to be read. */
static int list_missing(struct pull *p, const struct manifest *m, const bool *rebuilt,
                        struct descriptor *list, size_t *n, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < m->n_packs; i++) {
		if (!rebuilt[i])
			r = list_blob(p, &m->packs[i], list, n, err);
	}
	for (uint32_t i = 0; r == 0 && p->o->all_deltas && i < m->n_deltas; i++) {
		p->progress.total += m->deltas[i].blob.size;
		r = list_blob(p, &m->deltas[i].blob, list, n, err);
	}
	return r;
}

/* What a wanted image has beside config and manifest. */
static int pull_layers(struct pull *p, const struct manifest *m, struct err *err)
{
	CLEANUP(free) bool *rebuilt = calloc(m->n_packs + 1u, sizeof(*rebuilt));
	CLEANUP(free)
	struct descriptor *list = calloc(m->n_packs + m->n_deltas + 1u, sizeof(*list));
	size_t n = 0;
	int r;

	if (!rebuilt || !list)
		return err_set(err, -ENOMEM, "out of memory");
	r = pull_blob(p, "index", &m->index, err);
	if (r == 0 && m->trace.size > 0)
		r = pull_blob(p, "trace", &m->trace, err);
	if (r == 0)
		r = pull_rebuild(p, m, rebuilt, err);
	if (r == 0)
		r = list_missing(p, m, rebuilt, list, &n, err);
	return r == 0 ? pull_copy_all(p, list, n, err) : r;
}

/* Manifests and configs are copied for all platforms: whoever reads the tag reads them. */
static int pull_images(struct pull *p, const struct image_set *set, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < set->n_manifests; i++) {
		const struct manifest *m = &set->manifests[i];

		r = pull_blob(p, "config", &m->config, err);
		if (r == 0 && is_wanted(p, set, m))
			r = pull_layers(p, m, err);
		if (r == 0)
			r = pull_blob(p, "manifest", &m->self, err);
	}
	return r < 0 ? r : pull_blob(p, "image index", &set->self, err);
}

int pull(const struct pull_options *options, struct pull_result *ret, struct err *err)
{
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	CLEANUP(pull_release)
	struct pull p = {
		.o = options,
		.blobs = TABLE_INIT,
		.progress_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	const struct image_ref *image = options->image;
	int r = options->source->images(options->source, &set, err);

	if (r == 0 && options->key)
		r = options->source->check(options->source, options->key, &set.self.digest, err);
	if (r == 0)
		r = check_platforms(options, &set, err);
	if (r == 0)
		r = layout_writer_open(image->layout, &p.writer, err);
	if (r == 0)
		r = layout_open(image->layout, &p.layout, err);
	if (r < 0)
		return r;
	progress_start(&p.progress, options->progress, "pulled", total_bytes(&p, &set));
	r = pull_images(&p, &set, err);
	progress_end(&p.progress);
	if (r == 0)
		r = layout_writer_point(p.writer, image->tag, &set.self, err);
	if (r < 0)
		return r;
	p.result.image = set.self;
	*ret = p.result;
	return 0;
}
