/* SPDX-License-Identifier: Apache-2.0 */
#include "resident.h"

#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"

/*
 * Reading all rows of an index takes as long as asking for one in so many: fewer objects than that
 * are asked for one by one, and no memory is spent.
 */
enum { ASK_SHARE = 16 };

struct filled_part {
	uint64_t key; /* of the content's digest */
	uint64_t bytes;
};

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_entries(const void *a, const void *b)
{
	const struct region_entry *x = a;
	const struct region_entry *y = b;

	return compare(digest_key(&x->digest), digest_key(&y->digest));
}

static int compare_keys(const void *a, const void *b)
{
	const uint64_t *x = a;
	const uint64_t *y = b;

	return compare(*x, *y);
}

static int compare_parts(const void *a, const void *b)
{
	const struct filled_part *x = a;
	const struct filled_part *y = b;

	return compare(x->key, y->key);
}

int resident_list_load(struct region *region, struct resident_list *ret)
{
	int r = region_list(region, &ret->entry, &ret->n);

	if (r == 0 && ret->n > 0)
		qsort(ret->entry, ret->n, sizeof(*ret->entry), compare_entries);
	return r;
}

void resident_list_release(struct resident_list *list)
{
	free(list->entry);
	*list = RESIDENT_LIST_INIT;
}

void content_keys_release(struct content_keys *keys)
{
	free(keys->key);
	*keys = CONTENT_KEYS_INIT;
}

void filled_release(struct filled *filled)
{
	free(filled->part);
	*filled = (struct filled){ .part = NULL };
}

int filled_add(struct filled *filled, const struct digest *digest, uint64_t bytes)
{
	struct filled_part *part = array_grow(filled->part, filled->n, &filled->cap, sizeof(*part));

	if (!part)
		return -ENOMEM;
	filled->part = part;
	part[filled->n++] = (struct filled_part){ digest_key(digest), bytes };
	return 0;
}

void filled_close(struct filled *filled)
{
	struct filled_part *part = filled->part;
	size_t n = 0;

	if (filled->n > 0)
		qsort(part, filled->n, sizeof(*part), compare_parts);
	for (size_t i = 0; i < filled->n; i++) {
		if (n > 0 && part[n - 1].key == part[i].key)
			part[n - 1].bytes += part[i].bytes;
		else
			part[n++] = part[i];
	}
	filled->n = n;
}

uint64_t filled_resident(const struct filled *filled, const struct resident_list *list)
{
	uint64_t bytes = 0;
	size_t i = 0;

	for (size_t k = 0; k < filled->n; k++) {
		const struct filled_part *part = &filled->part[k];

		while (i < list->n && digest_key(&list->entry[i].digest) < part->key)
			i++;
		if (i < list->n && digest_key(&list->entry[i].digest) == part->key)
			bytes += list->entry[i].bytes < part->bytes ? list->entry[i].bytes
			                                            : part->bytes;
	}
	return bytes;
}

static int add_key(void *arg, const struct content *content)
{
	struct content_keys *keys = arg;

	/* A damaged index has more rows than it says. */
	if (keys->n == keys->cap)
		return -EBADMSG;
	keys->key[keys->n++] = digest_key(&content->digest);
	return 0;
}

/* Returns 0, or an error with none loaded. */
static int load_keys(struct content_keys *keys, struct index *idx)
{
	int r;

	keys->cap = index_info(idx)->n_contents;
	keys->key = calloc(keys->cap + 1, sizeof(*keys->key));
	r = keys->key ? index_each_content(idx, add_key, keys, NULL) : -ENOMEM;
	if (r < 0)
		content_keys_release(keys);
	else if (keys->n > 0)
		qsort(keys->key, keys->n, sizeof(*keys->key), compare_keys);
	return r;
}

/* Both are in order: each is gone through once. */
static uint64_t sum_common(const struct resident_list *list, const struct content_keys *keys)
{
	uint64_t bytes = 0;
	size_t k = 0;

	for (size_t i = 0; i < list->n; i++) {
		uint64_t key = digest_key(&list->entry[i].digest);

		while (k < keys->n && keys->key[k] < key)
			k++;
		if (k < keys->n && keys->key[k] == key)
			bytes += list->entry[i].bytes;
	}
	return bytes;
}

static uint64_t sum_asked(const struct resident_list *list, struct index *idx)
{
	struct content content;
	uint64_t bytes = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (index_find_content(idx, &list->entry[i].digest, &content, NULL) == 1)
			bytes += list->entry[i].bytes;
	}
	return bytes;
}

uint64_t resident_bytes(const struct resident_list *list, struct index *idx,
                        struct content_keys *keys)
{
	bool ask = !keys->key && list->n < index_info(idx)->n_contents / ASK_SHARE;

	if (ask || (!keys->key && load_keys(keys, idx) < 0))
		return sum_asked(list, idx);
	return sum_common(list, keys);
}

struct resident_view resident_view_of(struct region *region)
{
	return (struct resident_view){ .region = region,
		                       .changes = region_changes(region),
		                       .list = RESIDENT_LIST_INIT };
}

int resident_view_bytes(struct resident_view *view, struct index *idx, struct content_keys *keys,
                        uint64_t *ret)
{
	if (!keys->is_known || keys->changes != view->changes) {
		int r = view->list.entry ? 0 : resident_list_load(view->region, &view->list);

		if (r < 0)
			return r;
		keys->bytes = resident_bytes(&view->list, idx, keys);
		keys->changes = view->changes;
		keys->is_known = true;
	}
	*ret = keys->bytes;
	return 0;
}
