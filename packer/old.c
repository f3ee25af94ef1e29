/* SPDX-License-Identifier: Apache-2.0 */
#include "old.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "oci_json.h"

/* What the config says of the index database. One that says nothing is none that is known. */
static void read_plain_digest(const struct layout *layout, const struct manifest *m,
                              struct digest *ret)
{
	static const char prefix[] = "sha256:";
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *config = NULL;
	const char *digest;

	if (layout_read_blob(layout, &m->config, &text, NULL) < 0 ||
	    json_parse_object(text, m->config.size, "config", &config, NULL) < 0)
		return;
	digest = json_string_value(json_object_get(config, "indexDigest"));
	if (digest && strncmp(digest, prefix, strlen(prefix)) == 0)
		(void)!digest_parse(digest + strlen(prefix), strlen(digest + strlen(prefix)), ret);
}

static int check_blob(const struct layout *layout, const struct descriptor *d, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct stat st;

	if (fstatat(layout_blobs(layout), digest_hex(&d->digest, hex), &st, 0) < 0)
		return err_set(err, -EBADMSG, "'%s': blob '%.12s': %s", layout_path(layout), hex,
		               strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->size)
		return err_set(err, -EBADMSG, "'%s': blob '%.12s' is damaged", layout_path(layout),
		               hex);
	return 0;
}

/* What the image's packs lack cannot be had from elsewhere: the new image would lack it, too. */
static int check_packs(const struct layout *layout, const struct manifest *m, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < m->n_packs; i++)
		r = check_blob(layout, &m->packs[i], err);
	return r;
}

bool old_has_blobs(const struct layout *layout, const struct image_set *set)
{
	for (uint32_t i = 0; i < set->n_manifests; i++) {
		const struct manifest *m = &set->manifests[i];

		if (check_blob(layout, &m->index, NULL) < 0 || check_packs(layout, m, NULL) < 0)
			return false;
	}
	return true;
}

/* Open the images of @old's set; what was opened when one fails is @old's. */
static int open_images(struct old *old, const struct layout *layout, struct err *err)
{
	int r = 0;

	if (old->set.n_manifests > PLATFORMS_MAX)
		return err_set(err, -E2BIG, "'%s': more than %d images", layout_path(layout),
		               PLATFORMS_MAX);
	old->images = calloc(old->set.n_manifests + 1u, sizeof(struct image *));
	old->plain = calloc(old->set.n_manifests + 1u, sizeof(*old->plain));
	old->contents = calloc(old->set.n_manifests + 1u, sizeof(struct old_contents *));
	if (!old->images || !old->plain || !old->contents)
		return err_set(err, -ENOMEM, "out of memory");
	for (; r == 0 && old->n < old->set.n_manifests; old->n += r == 0) {
		const struct manifest *m = &old->set.manifests[old->n];

		read_plain_digest(layout, m, &old->plain[old->n]);
		r = check_packs(layout, m, err);
		if (r == 0)
			r = image_open_in_memory(layout, m, &old->images[old->n], err);
	}
	return r;
}

int old_open(const char *path, const char *tag, struct old *ret, struct err *err)
{
	int r;

	*ret = OLD_INIT;
	r = layout_open(path, &ret->layout, err);
	if (r == 0)
		r = layout_images(ret->layout, tag, &ret->set, err);
	if (r == 0)
		r = open_images(ret, ret->layout, err);
	if (r < 0)
		old_release(ret);
	return r;
}

void old_release(struct old *old)
{
	for (uint32_t i = 0; i < old->n; i++) {
		old_contents_free(old->contents[i]);
		image_close(old->images[i]);
	}
	free(old->contents);
	free(old->images);
	free(old->plain);
	image_set_release(&old->set);
	layout_close(old->layout);
	*old = OLD_INIT;
}

unsigned old_number_for(const struct old *old, const char *platform)
{
	unsigned any = 0;

	for (uint32_t i = 0; i < old->n; i++) {
		const char *name = old->set.manifests[i].platform.name;

		if (strcmp(name, platform) == 0)
			return i;
		if (strcmp(name, FORMAT_PLATFORM_ANY) == 0)
			any = i;
	}
	return any;
}

struct image *old_for(const struct old *old, const char *platform)
{
	return old->n > 0 ? old->images[old_number_for(old, platform)] : NULL;
}

const struct digest *old_plain_index(const struct old *old, const struct manifest *m)
{
	for (uint32_t i = 0; i < old->n; i++) {
		if (digest_equal(&old->set.manifests[i].self.digest, &m->self.digest))
			return &old->plain[i];
	}
	return NULL;
}

int old_sections(const struct old *old, const struct manifest *m, struct sections *ret,
                 struct err *err)
{
	int r = sections_read(old->layout, m, ret, err);

	return r < 0 ? r : 0;
}

/* Where the chunks of an image go. */
struct registration {
	struct packs *packs;
	uint32_t *records; /* of each of the image's packs */
	unsigned image;
};

static int register_chunk(void *arg, const struct chunk *chunk)
{
	const struct registration *reg = arg;

	return packs_add_old_chunk(reg->packs, reg->records[chunk->pack - 1], reg->image, chunk);
}

static int register_image(const struct old *old, unsigned i, struct packs *packs, struct err *err)
{
	struct image *img = old->images[i];
	const struct manifest *m = image_manifest(img);
	CLEANUP(free) uint32_t *records = calloc(m->n_packs + 1u, sizeof(*records));
	struct registration reg = { .packs = packs, .records = records, .image = i };

	if (!records)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t k = 0; k < m->n_packs; k++) {
		int r = packs_add_old(packs, &m->packs[k], err);

		if (r < 0)
			return r;
		records[k] = (uint32_t)r;
	}
	return index_each_chunk(image_index(img), register_chunk, &reg, err);
}

int old_register(const struct old *old, struct packs *packs, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < old->n; i++)
		r = register_image(old, i, packs, err);
	return r;
}
