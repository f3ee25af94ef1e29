/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deltas: their frames must give chunks of the image. That can be seen only where
 * the base is; a layout without it is no damage.
 */
#include <errno.h>
#include <stdlib.h>

#include "notes.h"
#include "verify_internal.h"

/* The frames of a delta that are chunks of the image. */
struct matching {
	const struct delta_table *table;
	bool *frames; /* owned */
};

static int match_chunk(void *arg, const struct chunk *chunk)
{
	const struct matching *m = arg;
	uint32_t i;

	if (delta_table_find(m->table, &chunk->digest, &i) &&
	    delta_table_frame(m->table, i).plain_size == chunk->size)
		m->frames[i] = true;
	return 0;
}

/* Compare the chunks that the table names with the index's. Reports one difference. */
static int check_chunks(struct verifier *v, struct image *img, const char *hex,
                        const struct delta_table *table, struct err *err)
{
	uint32_t n = delta_table_count(table);
	CLEANUP(free) bool *frames = calloc(n, sizeof(*frames));
	struct matching m = { .table = table, .frames = frames };
	int r;

	if (!frames)
		return err_set(err, -ENOMEM, "out of memory");
	r = index_each_chunk(image_index(img), match_chunk, &m, err);
	/* Rows that cannot be read have been reported with the data. */
	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	for (uint32_t i = 0; i < n; i++) {
		if (!frames[i]) {
			finding(v, "delta '%.12s': frame %u is no chunk of the index", hex, i);
			break;
		}
	}
	return 0;
}

/* Decompress all frames. Returns 1 when something of the base is missing, 0, or -errno. */
static int check_frames(struct verifier *v, struct image *img, uint32_t layer,
                        const struct delta_table *table, struct err *err)
{
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = chunk_reader_new();
	bool unchecked = false;

	if (!reader)
		return err_set(err, -ENOMEM, "out of memory");
	chunk_reader_set_checks(reader, CHECK_CHECKSUM | CHECK_DIGEST);
	for (uint32_t i = 0; i < delta_table_count(table); i++) {
		const void *plain;
		int r = image_read_delta(img, reader, layer, i, &plain, err);

		if (r == -ENOENT)
			unchecked = true;
		else if (r < 0 && (r = finding_or_error(v, r, err)) < 0)
			return r;
	}
	return unchecked;
}

/* Returns 1 when something of the base is missing, 2 when the delta itself is, 0, or -errno. */
static int check_delta(struct verifier *v, struct image *img, uint32_t layer, struct err *err)
{
	const struct delta_table *table = NULL;
	char hex[DIGEST_HEX_SIZE];
	int r = image_delta_table(img, layer, &table, err);

	if (r < 0)
		return r == -ENOENT ? 2 : finding_or_error(v, r, err);
	(void)digest_hex(&image_manifest(img)->deltas[layer].blob.digest, hex);
	r = check_chunks(v, img, hex, table, err);
	return r < 0 ? r : check_frames(v, img, layer, table, err);
}

int verify_deltas(struct verifier *v, struct image *img, struct err *err)
{
	uint32_t n = image_manifest(img)->n_deltas, n_unchecked = 0, n_missing = 0;

	for (uint32_t i = 0; i < n; i++) {
		int r = check_delta(v, img, i, err);

		if (r < 0)
			return r;
		n_unchecked += r == 1;
		n_missing += r == 2;
	}
	if (n_missing > 0)
		note("%s: %u of %u deltas are not in this layout; nothing needs them", v->image,
		     n_missing, n);
	if (n_unchecked > 0)
		note("%s: %u of %u deltas could not be checked: the image that they are made from "
		     "is not whole in this layout",
		     v->image, n_unchecked, n);
	return 0;
}
