/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"
#include "blobs.h"
#include "report_internal.h"

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Bytes of packs of @images->manifests[i] that other images name, too. */
static int count_shared(const struct image_set *images, uint32_t i, uint64_t *ret)
{
	CLEANUP(blob_set_release) struct blob_set own = BLOB_SET_INIT;
	CLEANUP(blob_set_release) struct blob_set others = BLOB_SET_INIT;
	int r = blob_set_add_packs(&own, &images->manifests[i]);

	for (uint32_t k = 0; r == 0 && k < images->n_manifests; k++) {
		if (k != i)
			r = blob_set_add_packs(&others, &images->manifests[k]);
	}
	blob_set_seal(&own);
	blob_set_seal(&others);
	*ret = blob_set_common(&own, &others);
	return r;
}

/* The part of the report about one platform that manifests tell; @base may be NULL. */
static int make_platform(const struct manifest *m, const struct manifest *base,
                         struct platform_report *ret)
{
	CLEANUP(blob_set_release) struct blob_set blobs = BLOB_SET_INIT;
	CLEANUP(blob_set_release) struct blob_set have = BLOB_SET_INIT;
	int r = blob_set_add_manifest(&blobs, m);

	if (r == 0 && base)
		r = blob_set_add_manifest(&have, base);
	blob_set_seal(&blobs);
	blob_set_seal(&have);
	ret->platform = m->platform;
	ret->manifest = m->self;
	ret->stored_bytes = blob_set_bytes(&blobs);
	ret->update_bytes = blob_set_lacking(&blobs, &have);
	ret->delta_bytes = ret->update_bytes;
	return r;
}

/* Bytes of packs that more than one image names, each counted once. */
static int count_all_shared(const struct image_set *images, uint64_t *ret)
{
	CLEANUP(blob_set_release) struct blob_set named = BLOB_SET_INIT;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < images->n_manifests; i++) {
		CLEANUP(blob_set_release) struct blob_set own = BLOB_SET_INIT;

		r = blob_set_add_packs(&own, &images->manifests[i]);
		blob_set_seal(&own);
		for (size_t k = 0; r == 0 && k < own.n; k++)
			r = blob_set_add(&named, &own.list[k]);
	}
	blob_set_seal_doubles(&named);
	*ret = blob_set_bytes(&named);
	return r;
}

/* What is to be said of all platforms together; @base may be NULL. */
static int make_whole(const struct image_set *images, const struct image_set *base,
                      struct report *ret)
{
	CLEANUP(blob_set_release) struct blob_set blobs = BLOB_SET_INIT;
	CLEANUP(blob_set_release) struct blob_set have = BLOB_SET_INIT;
	int r = blob_set_add_images(&blobs, images);

	if (r == 0 && base)
		r = blob_set_add_images(&have, base);
	blob_set_seal(&blobs);
	blob_set_seal(&have);
	ret->stored_bytes = blob_set_bytes(&blobs);
	ret->upload_bytes = blob_set_lacking(&blobs, &have);
	return r < 0 ? r : count_all_shared(images, &ret->shared_bytes);
}

int report_make(const struct image_set *images, const struct image_set *base, struct report *ret,
                struct err *err)
{
	int r;

	*ret = (struct report){ .image = images->self, .has_base = base != NULL };
	if (base)
		ret->base = base->self;
	if (images->n_manifests > REPORT_PLATFORMS_MAX)
		return err_set(err, -E2BIG, "more than %d platforms", REPORT_PLATFORMS_MAX);
	r = make_whole(images, base, ret);
	for (uint32_t i = 0; r == 0 && i < images->n_manifests; i++) {
		const struct manifest *m = &images->manifests[i];
		const struct manifest *before =
			base ? image_set_find(base, &m->platform, /* err= */ NULL) : NULL;
		struct platform_report *p = &ret->platforms[ret->n_platforms++];

		r = make_platform(m, before, p);
		if (r == 0)
			r = count_shared(images, i, &p->shared_bytes);
		ret->separate_bytes += p->stored_bytes;
		ret->update_bytes = larger(ret->update_bytes, p->update_bytes);
		ret->delta_bytes = larger(ret->delta_bytes, p->delta_bytes);
	}
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

/* Digests of chunks. */
struct chunk_set {
	struct digest *list; /* owned; sorted and without doubles once sealed */
	size_t n;
	size_t max;
	struct err *err; /* borrowed */
};

static void chunk_set_release_cleanup(struct chunk_set *set)
{
	free(set->list);
}

static int chunk_set_add(void *arg, const struct digest *digest)
{
	struct chunk_set *set = arg;
	struct digest *list = array_grow(set->list, set->n, &set->max, sizeof(*list));

	if (!list)
		return err_set(set->err, -ENOMEM, "out of memory");
	set->list = list;
	list[set->n++] = *digest;
	return 0;
}

static int add_chunk(void *arg, const struct chunk *chunk)
{
	return chunk_set_add(arg, &chunk->digest);
}

static int compare(const void *a, const void *b)
{
	return digest_cmp(a, b);
}

static void chunk_set_seal(struct chunk_set *set)
{
	size_t n = 0;

	if (set->n < 2)
		return;
	qsort(set->list, set->n, sizeof(*set->list), compare);
	for (size_t i = 0; i < set->n; i++) {
		if (i == 0 || !digest_equal(&set->list[i], &set->list[n - 1]))
			set->list[n++] = set->list[i];
	}
	set->n = n;
}

/* How many of @set are in @other, too. */
static uint64_t chunk_set_common(const struct chunk_set *set, const struct chunk_set *other)
{
	uint64_t n = 0;

	for (size_t i = 0, k = 0; i < set->n && k < other->n;) {
		int order = digest_cmp(&set->list[i], &other->list[k]);

		n += order == 0;
		i += order <= 0;
		k += order >= 0;
	}
	return n;
}

/* Load the chunks of the image of @m. */
static int load_chunks(const struct layout *layout, const struct manifest *m, struct chunk_set *set,
                       struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	int r = image_open_in_memory(layout, m, &img, err);

	if (r == 0)
		r = index_each_chunk(image_index(img), add_chunk, set, err);
	chunk_set_seal(set);
	return r;
}

/* As load_chunks(), and let @p have what the index says; @base may be NULL. */
static int load_image(const struct layout *layout, const struct manifest *m,
                      const struct manifest *base, struct chunk_set *set, struct platform_report *p,
                      struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	const struct index_info *info;
	int r = image_open_in_memory(layout, m, &img, err);

	if (r == 0)
		r = index_each_chunk(image_index(img), add_chunk, set, err);
	if (r == 0 && base && p->update_bytes > 0)
		r = report_delta_bytes(img, base, &p->delta_bytes, err);
	if (r < 0)
		return r;
	chunk_set_seal(set);
	info = index_info(image_index(img));
	p->files = info->n_files;
	p->bytes = info->bytes;
	p->unique_bytes = info->content_bytes;
	p->chunks = set->n;
	return 0;
}

static int add_all(struct chunk_set *all, const struct chunk_set *set)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < set->n; i++)
		r = chunk_set_add(all, &set->list[i]);
	return r;
}

struct counting {
	struct report *report;
	const struct report_source *image, *base; /* borrowed; @base may be NULL */
	struct chunk_set all, all_base;
};

/* Platform number @i. */
static int count_platform(struct counting *c, uint32_t i, struct err *err)
{
	CLEANUP(chunk_set_release) struct chunk_set now = { .err = err };
	CLEANUP(chunk_set_release) struct chunk_set before = { .err = err };
	struct platform_report *p = &c->report->platforms[i];
	const struct manifest *m = &c->image->images->manifests[i];
	const struct manifest *old =
		c->base ? image_set_find(c->base->images, &m->platform, /* err= */ NULL) : NULL;
	int r = load_image(c->image->layout, m, old, &now, p, err);

	if (r == 0 && old && digest_equal(&old->self.digest, &m->self.digest))
		r = add_all(&before, &now);
	else if (r == 0 && old)
		r = load_chunks(c->base->layout, old, &before, err);
	if (r == 0)
		r = add_all(&c->all, &now);
	if (r == 0)
		r = add_all(&c->all_base, &before);
	p->reused_chunks = chunk_set_common(&now, &before);
	p->new_chunks = p->chunks - p->reused_chunks;
	return r;
}

/* What the base has only for platforms that the image lacks. */
static int count_others(struct counting *c, struct err *err)
{
	const struct image_set *base = c->base->images;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < base->n_manifests; i++) {
		CLEANUP(chunk_set_release) struct chunk_set set = { .err = err };
		bool used = false;

		for (uint32_t k = 0; k < c->image->images->n_manifests; k++)
			used |= image_set_find(base, &c->image->images->manifests[k].platform,
			                       /* err= */ NULL) == &base->manifests[i];
		if (used)
			continue;
		r = load_chunks(c->base->layout, &base->manifests[i], &set, err);
		if (r == 0)
			r = add_all(&c->all_base, &set);
	}
	return r;
}

int report_count(struct report *report, const struct report_source *image,
                 const struct report_source *base, struct err *err)
{
	struct counting c = {
		.report = report,
		.image = image,
		.base = base,
		.all = { .err = err },
		.all_base = { .err = err },
	};
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < image->images->n_manifests; i++)
		r = count_platform(&c, i, err);
	if (r == 0 && base)
		r = count_others(&c, err);
	if (r == 0) {
		report->delta_bytes = 0;
		for (unsigned i = 0; i < report->n_platforms; i++)
			report->delta_bytes =
				larger(report->delta_bytes, report->platforms[i].delta_bytes);
		chunk_set_seal(&c.all);
		chunk_set_seal(&c.all_base);
		report->chunks = c.all.n;
		report->reused_chunks = chunk_set_common(&c.all, &c.all_base);
		report->new_chunks = report->chunks - report->reused_chunks;
	}
	free(c.all.list);
	free(c.all_base.list);
	return r;
}
