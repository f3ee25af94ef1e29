/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"
#include "diff_internal.h"

struct loading {
	struct origins *origins; /* in order of content until all is read */
	struct err *err;
};

static int add_content(void *arg, const struct content *content)
{
	struct loading *l = arg;
	struct origins *o = l->origins;
	struct origin *list = array_grow(o->list, o->n, &o->max, sizeof(*list));

	if (!list)
		return err_set(l->err, -ENOMEM, "out of memory");
	o->list = list;
	list[o->n++] = (struct origin){ .digest = content->digest, .content = content->id };
	return 0;
}

static int compare_content(const void *key, const void *element)
{
	uint64_t content = *(const uint64_t *)key;
	const struct origin *o = element;

	return content < o->content ? -1 : content > o->content;
}

static int add_node(void *arg, const struct node *node)
{
	const struct loading *l = arg;
	struct origin *o;

	if (node->content == 0 || l->origins->n == 0)
		return 0;
	o = bsearch(&node->content, l->origins->list, l->origins->n, sizeof(*o), compare_content);
	if (o && o->ino == 0)
		o->ino = node->ino;
	return 0;
}

static int compare_digest(const void *a, const void *b)
{
	const struct origin *x = a;
	const struct origin *y = b;

	return digest_cmp(&x->digest, &y->digest);
}

int origins_load(struct index *idx, struct origins *ret, struct err *err)
{
	struct loading l = { .origins = ret, .err = err };
	int r = index_each_content(idx, add_content, &l, err);

	if (r == 0)
		r = index_each_node(idx, add_node, &l, err);
	if (r == 0 && ret->n > 1)
		qsort(ret->list, ret->n, sizeof(*ret->list), compare_digest);
	return r;
}

const struct origin *origins_find(const struct origins *origins, const struct digest *digest)
{
	const struct origin key = { .digest = *digest };

	if (origins->n == 0)
		return NULL;
	return bsearch(&key, origins->list, origins->n, sizeof(key), compare_digest);
}
