/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deltas of images whose packs a source brings: what of the base came for earlier mounts saves bytes of this one.
 *
 * Only a base is looked at whose manifest and whole index are here; nothing is fetched to find out. From then on it is a matter
 * of bytes, chunk by chunk. Whatever fails, the chunk's own frame is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "image_delta_internal.h"

/* Let the source of @img bring a range, if it has one. Returns as delta_hold(). */
int delta_hold(const struct image *img, const struct descriptor *blob, struct pack_hold *range,
               struct err *err)
{
	return img ? img->source.hold(img->source.arg, blob, range, err) : 0;
}

/* It was read, with the result @r. */
void delta_let_go(const struct image *img, const struct descriptor *blob,
                  const struct pack_hold *range, int r)
{
	if (img)
		(void)img->source.release(img->source.arg, blob, range,
		                          /* damaged= */ r == -EBADMSG);
}

static uint64_t lacks(const struct image *img, const struct descriptor *blob, uint64_t off,
                      uint64_t len)
{
	const struct blob_range range = { .off = off, .len = len };

	return img->source.lacks(img->source.arg, blob, &range);
}

/* How many of the last bytes of the delta @blob, which the source of @img brings, are its table. */
static int find_table(const struct image *img, const struct descriptor *blob, size_t *ret,
                      struct err *err)
{
	struct pack_hold end = { .range = { .off = blob->size - DELTA_END, .len = DELTA_END } };
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close) int fd = -1;
	uint8_t bytes[DELTA_END];
	int r = delta_hold(img, blob, &end, err);

	if (r < 0)
		return r;
	fd = openat(layout_blobs(img->layout), digest_hex(&blob->digest, hex),
	            O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? err_set_errno(err, "delta '%.12s'", hex)
	           : io_pread(fd, bytes, DELTA_END, end.range.off);
	if (r == 0)
		r = delta_tail_needed(bytes, blob->size, ret, err);
	delta_let_go(img, blob, &end, r);
	return r;
}

/* Whether the base of @layer may be here, of an image with a source. */
static bool may_have_base(const struct image *img, const struct delta_layer *layer)
{
	CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;

	return layout_manifest(img->layout, &layer->base, &manifest, NULL) == 0 &&
	       lacks(img, &manifest.index, 0, manifest.index.size) == 0;
}

/* As delta_load_table(), of a delta that the source of @img brings. */
int delta_bring_table(const struct image *img, const struct delta_layer *layer, struct delta *delta,
                      struct err *err)
{
	const struct descriptor *blob = &layer->blob;
	struct pack_hold tail = { .range = { .off = 0 } };
	size_t size = 0;
	int r = !may_have_base(img, layer) ? err_set(err, -ENOENT, "its base is not here")
	        : blob->size < DELTA_END   ? err_set(err, -EBADMSG, "a delta of %llu bytes",
	                                             (unsigned long long)blob->size)
	                                   : find_table(img, blob, &size, err);

	if (r < 0)
		return r;
	tail.range = (struct blob_range){ .off = blob->size - size, .len = size };
	r = delta_hold(img, blob, &tail, err);
	if (r < 0)
		return r;
	r = delta_load_table(img->layout, blob, delta, err);
	delta_let_go(img, blob, &tail, r);
	return r;
}

/*
 * As delta_open_base(), of an image with a source: what of the base is here from earlier mounts, which its index must be as
 * a whole.
 */
int delta_open_far_base(struct deltas *deltas, const struct image *img, const struct digest *digest,
                        struct base *base, struct err *err)
{
	CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
	struct pack_hold all = { .range = { .off = 0 } };
	int r = layout_manifest(img->layout, digest, &manifest, err);

	if (r < 0)
		return r;
	all.range.len = manifest.index.size;
	if (lacks(img, &manifest.index, 0, manifest.index.size) > 0)
		return err_set(err, -ENOENT, "its index is not here");
	r = delta_hold(img, &manifest.index, &all, err);
	if (r < 0)
		return r;
	r = delta_open_base(deltas, img->layout, digest, base, err);
	delta_let_go(img, &manifest.index, &all, r);
	base->far = img;
	return r;
}

/* How many bytes have to come for @frame; more than there are when it cannot be used. */
static uint64_t cost_of(const struct delta *delta, const struct delta_frame *frame)
{
	const struct image *base = delta->base->img;
	uint64_t cost = lacks(delta->far, &delta->blob, frame->off, frame->size);

	if (delta_check_prefix(delta, frame, NULL) < 0)
		return UINT64_MAX;
	for (uint32_t i = 0; i < frame->n_bases; i++) {
		const struct chunk *chunk = delta_base_chunk(delta, frame, i);

		cost += lacks(delta->far, &base->manifest.packs[chunk->pack - 1], chunk->frame_off,
		              chunk->frame_size);
	}
	return cost;
}

int deltas_read_far(const struct image *img, struct chunk_reader *reader, const struct chunk *chunk,
                    struct err *err)
{
	const struct descriptor *pack = &img->manifest.packs[chunk->pack - 1];
	uint64_t least = lacks(img, pack, chunk->frame_off, chunk->frame_size);
	uint32_t best = UINT32_MAX, best_number = 0;
	int r = least == 0 ? -ENOENT : deltas_open(img, err);

	for (uint32_t i = 0; r == 0 && i < img->deltas->n; i++) {
		const struct delta *delta = &img->deltas->list[i];
		struct delta_frame frame;
		uint32_t number;
		uint64_t cost;

		if (!delta->table || !delta->base->img ||
		    !delta_table_find(delta->table, &chunk->digest, &number))
			continue;
		frame = delta_table_frame(delta->table, number);
		cost = frame.plain_size == chunk->size ? cost_of(delta, &frame) : UINT64_MAX;
		if (cost < least) {
			least = cost;
			best = i;
			best_number = number;
		}
	}
	if (r < 0)
		return r;
	return best == UINT32_MAX ? -ENOENT
	                          : delta_read(img, best, best_number, reader, chunk, err);
}
