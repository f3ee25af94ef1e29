/* SPDX-License-Identifier: Apache-2.0 */
#include "old.h"

#include <errno.h>
#include <string.h>

int old_open(const char *path, const char *tag, struct old *ret, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(old_release) struct old old = OLD_INIT;
	int r = layout_open(path, &layout, err);

	if (r == 0)
		r = layout_images(layout, tag, &old.set, err);
	if (r < 0)
		return r;
	old.images = calloc(old.set.n_manifests + 1u, sizeof(struct image *));
	if (!old.images)
		return err_set(err, -ENOMEM, "out of memory");
	for (; r == 0 && old.n < old.set.n_manifests; old.n += r == 0)
		r = image_open_in_memory(layout, &old.set.manifests[old.n], &old.images[old.n],
		                         err);
	if (r < 0)
		return r;
	*ret = old;
	old = OLD_INIT;
	return 0;
}

void old_release(struct old *old)
{
	for (uint32_t i = 0; i < old->n; i++)
		image_close(old->images[i]);
	free(old->images);
	image_set_release(&old->set);
	*old = OLD_INIT;
}

struct image *old_for(const struct old *old, const char *platform)
{
	struct image *any = NULL;

	for (uint32_t i = 0; i < old->n; i++) {
		const char *name = old->set.manifests[i].platform.name;

		if (strcmp(name, platform) == 0)
			return old->images[i];
		if (strcmp(name, FORMAT_PLATFORM_ANY) == 0)
			any = old->images[i];
	}
	return any || old->n == 0 ? any : old->images[0];
}

/* Where the chunks of an image go. */
struct registration {
	struct packs *packs;
	uint32_t *records; /* of each of the image's packs */
};

static int register_chunk(void *arg, const struct chunk *chunk)
{
	const struct registration *reg = arg;

	return packs_add_old_chunk(reg->packs, reg->records[chunk->pack - 1], chunk);
}

static int register_image(struct image *img, struct packs *packs, struct err *err)
{
	const struct manifest *m = image_manifest(img);
	CLEANUP(free) uint32_t *records = calloc(m->n_packs + 1u, sizeof(*records));
	struct registration reg = { .packs = packs, .records = records };

	if (!records)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < m->n_packs; i++) {
		int r = packs_add_old(packs, &m->packs[i], err);

		if (r < 0)
			return r;
		records[i] = (uint32_t)r;
	}
	return index_each_chunk(image_index(img), register_chunk, &reg, err);
}

int old_register(const struct old *old, struct packs *packs, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < old->n; i++)
		r = register_image(old->images[i], packs, err);
	return r;
}
