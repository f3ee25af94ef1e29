/* SPDX-License-Identifier: Apache-2.0 */
/* What an update costs a node that uses deltas. */
#include <errno.h>
#include <stdlib.h>

#include "blobs.h"
#include "report_internal.h"

/* Which packs a node with the base image can do without. */
struct coverage {
	const struct image *img;
	const struct digest *base; /* manifest that deltas have to be made from */
	bool *covered;             /* of each pack */
};

static bool delta_has(const struct coverage *c, const struct digest *chunk)
{
	const struct manifest *m = image_manifest(c->img);

	for (uint32_t i = 0; i < m->n_deltas; i++) {
		const struct delta_table *table;
		uint32_t frame;

		if (digest_equal(&m->deltas[i].base, c->base) &&
		    image_delta_table(c->img, i, &table, NULL) == 0 &&
		    delta_table_find(table, chunk, &frame))
			return true;
	}
	return false;
}

static int look_at_chunk(void *arg, const struct chunk *chunk)
{
	struct coverage *c = arg;
	bool *covered = &c->covered[chunk->pack - 1];

	*covered = *covered && delta_has(c, &chunk->digest);
	return 0;
}

int report_delta_bytes(struct image *img, const struct manifest *base, uint64_t *ret,
                       struct err *err)
{
	CLEANUP(blob_set_release) struct blob_set have = BLOB_SET_INIT;
	const struct manifest *m = image_manifest(img);
	CLEANUP(free) bool *covered = calloc(m->n_packs + 1u, sizeof(*covered));
	struct coverage c = { .img = img, .base = &base->self.digest, .covered = covered };
	uint64_t sum = m->self.size + m->config.size + m->index.size + m->trace.size;
	int r = covered ? blob_set_add_packs(&have, base) : -ENOMEM;

	if (r < 0)
		return err_set(err, r, "out of memory");
	blob_set_seal(&have);
	for (uint32_t i = 0; i < m->n_packs; i++)
		covered[i] = !blob_set_has(&have, &m->packs[i].digest);
	r = index_each_chunk(image_index(img), look_at_chunk, &c, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < m->n_packs; i++) {
		if (!covered[i] && !blob_set_has(&have, &m->packs[i].digest))
			sum += m->packs[i].size;
	}
	for (uint32_t i = 0; i < m->n_deltas; i++)
		sum += digest_equal(&m->deltas[i].base, c.base) ? m->deltas[i].blob.size : 0;
	*ret = sum;
	return 0;
}
