/* SPDX-License-Identifier: Apache-2.0 */
#include "listing.h"

#include <errno.h>
#include <string.h>

#include "base/grow.h"

static int add(void *arg, const struct dir_entry *entry)
{
	struct listing *l = arg;
	struct listed *list = array_grow(l->list, l->n, &l->max, sizeof(*list));

	if (!list)
		return -ENOMEM;
	l->list = list;
	list[l->n] = (struct listed){
		.name = strndup(entry->name, entry->name_len),
		.name_len = entry->name_len,
		.node = entry->node,
	};
	return list[l->n++].name ? 0 : -ENOMEM;
}

int listing_load(struct index *idx, uint64_t ino, struct listing *ret, struct err *err)
{
	int r;

	*ret = LISTING_INIT;
	r = index_list(idx, ino, 0, add, ret, err);
	return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

int listing_load_below(struct index *idx, uint64_t ino, struct listing *ret, struct err *err)
{
	uint64_t parent;
	int r = index_parent(idx, ino, &parent, err);

	*ret = LISTING_INIT;
	return r < 0 ? r : listing_load(idx, ino, ret, err);
}

void listing_release(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i].name);
	free(l->list);
	*l = LISTING_INIT;
}
