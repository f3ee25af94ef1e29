/* SPDX-License-Identifier: Apache-2.0 */
#include "blobs.h"

#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"

int blob_set_add(struct blob_set *set, const struct descriptor *d)
{
	struct descriptor *list = array_grow(set->list, set->n, &set->max, sizeof(*list));

	if (!list)
		return -ENOMEM;
	set->list = list;
	list[set->n++] = *d;
	return 0;
}

int blob_set_add_packs(struct blob_set *set, const struct manifest *m)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < m->n_packs; i++)
		r = blob_set_add(set, &m->packs[i]);
	return r;
}

int blob_set_add_manifest(struct blob_set *set, const struct manifest *m)
{
	int r = blob_set_add(set, &m->self);

	if (r == 0)
		r = blob_set_add(set, &m->config);
	if (r == 0)
		r = blob_set_add(set, &m->index);
	if (r == 0 && m->trace.size > 0)
		r = blob_set_add(set, &m->trace);
	return r < 0 ? r : blob_set_add_packs(set, m);
}

int blob_set_add_images(struct blob_set *set, const struct image_set *images)
{
	int r = blob_set_add(set, &images->self);

	for (uint32_t i = 0; r == 0 && i < images->n_manifests; i++) {
		const struct manifest *m = &images->manifests[i];

		r = blob_set_add_manifest(set, m);
		for (uint32_t k = 0; r == 0 && k < m->n_deltas; k++)
			r = blob_set_add(set, &m->deltas[k].blob);
	}
	return r;
}

static int compare(const void *a, const void *b)
{
	const struct descriptor *x = a;
	const struct descriptor *y = b;

	return digest_cmp(&x->digest, &y->digest);
}

/* Sort, and keep one of each run of at least @least equal blobs. */
static void seal(struct blob_set *set, size_t least)
{
	size_t kept = 0, run = 0;

	if (set->n > 1)
		qsort(set->list, set->n, sizeof(*set->list), compare);
	for (size_t i = 0; i < set->n; i++) {
		struct descriptor d = set->list[i];

		run = i > 0 && digest_equal(&set->list[i - 1].digest, &d.digest) ? run + 1 : 1;
		if (run == least)
			set->list[kept++] = d;
	}
	set->n = kept;
}

void blob_set_seal(struct blob_set *set)
{
	seal(set, 1);
}

void blob_set_seal_doubles(struct blob_set *set)
{
	seal(set, 2);
}

bool blob_set_has(const struct blob_set *set, const struct digest *digest)
{
	const struct descriptor key = { .digest = *digest };

	return set->n > 0 && bsearch(&key, set->list, set->n, sizeof(key), compare);
}

uint64_t blob_set_bytes(const struct blob_set *set)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < set->n; i++)
		bytes += set->list[i].size;
	return bytes;
}

uint64_t blob_set_common(const struct blob_set *set, const struct blob_set *other)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < set->n; i++) {
		if (blob_set_has(other, &set->list[i].digest))
			bytes += set->list[i].size;
	}
	return bytes;
}

uint64_t blob_set_lacking(const struct blob_set *set, const struct blob_set *base)
{
	return blob_set_bytes(set) - blob_set_common(set, base);
}

void blob_set_release(struct blob_set *set)
{
	free(set->list);
	*set = BLOB_SET_INIT;
}
