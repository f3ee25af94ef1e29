/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs are read, never mapped: a pack that is cut short while it is in use
 * must give an error to one reader, not a signal to the process. Their descriptors
 * come and go (pack_fds.h) and are the only thing that threads write to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image_internal.h"

static void hash_seen(void *arg, const void *data, size_t len)
{
	sha256_update(arg, data, len);
}

/* Decompress the blob open at @fd and compare it with @expected. */
static int unpack(int fd, const struct descriptor *expected, int out_fd, uint64_t max,
                  struct err *err)
{
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	struct digest digest;
	struct stat st;
	int r;

	if (!hash)
		return err_set(err, -ENOMEM, "out of memory");
	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != expected->size)
		return err_set(err, -EBADMSG, "damaged: it has %lld bytes instead of %llu",
		               (long long)st.st_size, (unsigned long long)expected->size);
	r = codec_decompress_file(fd, out_fd, max, hash_seen, hash, err);
	/* It is not read again. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (r < 0)
		return r;
	sha256_final(hash, &digest);
	if (!digest_equal(&digest, &expected->digest))
		return err_set(err, -EBADMSG, "damaged: its digest is another");
	return 0;
}

int image_unpack_index(const struct layout *layout, const struct manifest *manifest, int out_fd,
                       struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(layout_blobs(layout), digest_hex(&manifest->index.digest, hex),
	                O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	r = fd < 0 ? err_set_errno(err, "blob")
	           : unpack(fd, &manifest->index, out_fd, FORMAT_INDEX_MAX, err);
	return r < 0 ? err_wrap(err, r, "'%s': index '%.12s'", layout_path(layout), hex) : 0;
}

/* Decompress the trace @d to new memory. */
static int unpack_trace(const struct layout *layout, const struct descriptor *d, char **ret,
                        size_t *ret_len, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(layout_blobs(layout), digest_hex(&d->digest, hex),
	                O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	CLEANUP(close) int plain = memfd_create("trace", MFD_CLOEXEC);
	CLEANUP(free) char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0 || plain < 0)
		return err_set_errno(err, "blob");
	r = unpack(fd, d, plain, FORMAT_TRACE_MAX, err);
	if (r < 0)
		return r;
	text = fstat(plain, &st) == 0 ? malloc((size_t)st.st_size + 1) : NULL;
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_pread(plain, text, (size_t)st.st_size, 0);
	if (r < 0)
		return err_set(err, r, "%s", strerrordesc_np(-r));
	*ret_len = (size_t)st.st_size;
	*ret = TAKE_PTR(text);
	return 0;
}

/* As unpack_trace(), of a trace that a source brings. */
static int unpack_brought_trace(const struct image *img, char **ret, size_t *ret_len,
                                struct err *err)
{
	const struct descriptor *d = &img->manifest.trace;
	struct pack_hold all = { .range = { .off = 0, .len = d->size } };
	bool again = true;
	int r = -EBADMSG;

	for (int i = 0; i < IMAGE_SOURCE_TRIES && again; i++) {
		r = img->source.hold(img->source.arg, d, &all, err);
		if (r < 0)
			return r;
		r = unpack_trace(img->layout, d, ret, ret_len, err);
		again = img->source.release(img->source.arg, d, &all,
		                            /* damaged= */ r == -EBADMSG);
	}
	return r;
}

int image_read_trace(const struct image *img, char **ret, size_t *ret_len, struct err *err)
{
	const struct descriptor *d = &img->manifest.trace;
	char hex[DIGEST_HEX_SIZE];
	int r;

	if (d->size == 0)
		return 0;
	r = image_is_remote(img) ? unpack_brought_trace(img, ret, ret_len, err)
	                         : unpack_trace(img->layout, d, ret, ret_len, err);
	if (r < 0)
		return err_wrap(err, r, "'%s': trace '%.12s'", layout_path(img->layout),
		                digest_hex(&d->digest, hex));
	return 1;
}

/* The index numbers the manifest's packs. */
static int compare_packs(const struct image *img, struct err *err)
{
	const struct manifest *m = &img->manifest;
	uint32_t n = index_info(img->index)->n_packs;

	if (n != m->n_packs)
		return err_set(err, -EBADMSG, "index lists %u packs, its manifest %u", n,
		               m->n_packs);
	for (uint32_t i = 0; i < n; i++) {
		const struct pack_info *pack = index_pack(img->index, i + 1);

		if (pack->size != m->packs[i].size ||
		    !digest_equal(&pack->digest, &m->packs[i].digest))
			return err_set(err, -EBADMSG, "pack %u of the index is not the manifest's",
			               i + 1);
	}
	return 0;
}

static int copy_manifest(const struct manifest *m, struct manifest *ret)
{
	struct descriptor *packs = calloc(m->n_packs + 1u, sizeof(*packs));
	struct delta_layer *deltas = calloc(m->n_deltas + 1u, sizeof(*deltas));

	if (!packs || !deltas) {
		free(packs);
		free(deltas);
		return -ENOMEM;
	}
	if (m->n_packs > 0)
		memcpy(packs, m->packs, m->n_packs * sizeof(*packs));
	if (m->n_deltas > 0)
		memcpy(deltas, m->deltas, m->n_deltas * sizeof(*deltas));
	*ret = *m;
	ret->packs = packs;
	ret->deltas = deltas;
	return 0;
}

/* Make an image of its parts. Takes @idx, also when it fails. */
static int image_new(const struct layout *layout, const struct manifest *manifest,
                     struct index *idx, struct image **ret, struct err *err)
{
	CLEANUP(image_close) struct image *img = calloc(1, sizeof(*img));
	int r;

	if (!img) {
		index_close(idx);
		return err_set(err, -ENOMEM, "out of memory");
	}
	img->index = idx;
	img->packs = calloc(manifest->n_packs + 1u, sizeof(*img->packs));
	img->deltas = deltas_new();
	if (!img->packs || !img->deltas || copy_manifest(manifest, &img->manifest) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < manifest->n_packs; i++)
		image_pack_init(&img->packs[i]);
	r = layout_dup(layout, &img->layout, err);
	if (r < 0)
		return r;
	r = compare_packs(img, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", layout_path(layout));
	*ret = TAKE_PTR(img);
	return 0;
}

int image_open(const struct layout *layout, const struct manifest *manifest, const char *index_path,
               struct image **ret, struct err *err)
{
	struct index *idx;
	int r = index_open(index_path, &idx, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", layout_path(layout));
	return image_new(layout, manifest, idx, ret, err);
}

int image_open_source(const struct layout *layout, const struct manifest *manifest, int fd,
                      const struct index_source *source, struct image **ret, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct index *idx;
	int r = index_open_source(fd, source, &idx, err);

	if (r < 0)
		return err_wrap(err, r, "'%s': index '%.12s'", layout_path(layout),
		                digest_hex(&manifest->index.digest, hex));
	return image_new(layout, manifest, idx, ret, err);
}

int image_open_fd(const struct layout *layout, const struct manifest *manifest, int fd,
                  struct image **ret, struct err *err)
{
	return image_open_source(layout, manifest, fd, /* source= */ NULL, ret, err);
}

int image_open_in_memory(const struct layout *layout, const struct manifest *manifest,
                         struct image **ret, struct err *err)
{
	CLEANUP(close) int fd = memfd_create("index", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set_errno(err, "memory for the index");
	r = image_unpack_index(layout, manifest, fd, err);
	return r < 0 ? r : image_open_fd(layout, manifest, TAKE_FD(fd), ret, err);
}

int image_open_ref(const struct image_ref *ref, const struct platform *platform, struct image **ret,
                   struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	struct platform host = platform_of_host();
	const struct manifest *manifest;
	struct err reason = ERR_INIT;
	int r = layout_open(ref->layout, &layout, err);

	if (r == 0)
		r = layout_images(layout, ref->tag, &set, err);
	if (r < 0)
		return r;
	manifest = image_set_find(&set, platform ? platform : &host, &reason);
	if (!manifest)
		return err_set(err, reason.code, "'%s:%s': %s", ref->layout, ref->tag, reason.msg);
	return image_open_in_memory(layout, manifest, ret, err);
}

void image_close(struct image *img)
{
	if (!img)
		return;
	for (uint32_t i = 0; img->packs && i < img->manifest.n_packs; i++)
		image_pack_release(&img->packs[i]);
	if (img->source.close)
		img->source.close(img->source.arg);
	deltas_free(img->deltas);
	index_close(img->index);
	layout_close(img->layout);
	manifest_release(&img->manifest);
	free(img->packs);
	free(img);
}

void image_set_source(struct image *img, const struct pack_source *source)
{
	img->source = *source;
}

bool image_is_remote(const struct image *img)
{
	return img->source.hold != NULL;
}

void image_cancel(struct image *img)
{
	if (img->source.cancel)
		img->source.cancel(img->source.arg);
}

struct index *image_index(const struct image *img)
{
	return img->index;
}

const struct manifest *image_manifest(const struct image *img)
{
	return &img->manifest;
}

int image_check_pack(const struct image *img, uint32_t i, struct err *err)
{
	const struct descriptor *pack = &img->manifest.packs[i];
	const char *path = layout_path(img->layout);
	char hex[DIGEST_HEX_SIZE];
	struct stat st;

	if (fstatat(layout_blobs(img->layout), digest_hex(&pack->digest, hex), &st, 0) < 0)
		return err_set_errno(err, "'%s': pack '%.12s'", path, hex);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != pack->size)
		return err_set(err, -EBADMSG, "'%s': pack '%.12s' has %lld bytes instead of %llu",
		               path, hex, (long long)st.st_size, (unsigned long long)pack->size);
	return 0;
}

/* Packs that are missing, but whose chunks deltas can give. */
struct covered {
	const struct image *img;
	bool *packs; /* by slot */
};

static int strike_uncovered(void *arg, const struct chunk *chunk)
{
	const struct covered *covered = arg;
	bool *pack = &covered->packs[chunk->pack - 1];

	*pack = *pack && deltas_cover(covered->img, chunk);
	return 0;
}

/* By slot, whether deltas cover the pack, of which some are missing; NULL when none do. */
static bool *find_covered(const struct image *img)
{
	CLEANUP(free) bool *packs = calloc(img->manifest.n_packs, sizeof(*packs));
	struct covered covered = { .img = img, .packs = packs };

	if (img->manifest.n_deltas == 0 || !packs)
		return NULL;
	for (uint32_t i = 0; i < img->manifest.n_packs; i++)
		packs[i] = image_check_pack(img, i, NULL) == -ENOENT;
	if (index_each_chunk(img->index, strike_uncovered, &covered, NULL) < 0)
		return NULL;
	return TAKE_PTR(packs);
}

uint32_t image_check_packs(const struct image *img, struct err *err)
{
	CLEANUP(free) bool *covered = NULL;
	bool looked = false;
	uint32_t n_bad = 0;

	for (uint32_t i = 0; !image_is_remote(img) && i < img->manifest.n_packs; i++) {
		struct err bad = ERR_INIT;
		int r = image_check_pack(img, i, &bad);

		if (r == -ENOENT && !looked) {
			looked = true;
			covered = find_covered(img);
		}
		if (r == 0 || (r == -ENOENT && covered && covered[i]))
			continue;
		if (n_bad++ == 0 && err)
			*err = bad;
	}
	return n_bad;
}

struct chunk_reader *chunk_reader_new(void)
{
	CLEANUP(chunk_reader_free) struct chunk_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->checks = CHECK_DIGEST;
	/* Room for the largest, of which the kernel gives only what is used. */
	reader->codec = codec_new();
	reader->frame = malloc(FORMAT_FRAME_MAX);
	reader->plain = malloc(FORMAT_CHUNK_MAX);
	if (!reader->codec || !reader->frame || !reader->plain)
		return NULL;
	return TAKE_PTR(reader);
}

void chunk_reader_set_checks(struct chunk_reader *reader, unsigned checks)
{
	reader->checks = checks;
}

void chunk_reader_free(struct chunk_reader *reader)
{
	if (!reader)
		return;
	codec_free(reader->codec);
	free(reader->frame);
	free(reader->plain);
	free(reader->prefixes[0].bytes);
	free(reader->prefixes[1].bytes);
	free(reader);
}

int image_check_plain(const void *plain, const struct chunk *chunk, struct err *err)
{
	struct digest digest;

	sha256(plain, chunk->size, &digest);
	if (!digest_equal(&digest, &chunk->digest))
		return err_set(err, -EBADMSG, "damaged: its digest is another");
	return 0;
}

int image_trim_frame(const struct chunk_reader *reader, uint32_t *size, struct err *err)
{
	if (!(reader->checks & CHECK_CHECKSUM))
		*size = (uint32_t)codec_drop_checksum(reader->frame, *size);
	else if (!codec_has_checksum(reader->frame, *size))
		return err_set(err, -EBADMSG, "frame has no checksum");
	return 0;
}

/* Read @chunk from a pack that is there. */
static int read_there(const struct image *img, const struct chunk_reader *reader,
                      const struct chunk *chunk, void *plain, struct err *err)
{
	uint32_t size = chunk->frame_size;
	int r = image_pack_read(img, chunk->pack - 1, reader, chunk, err);

	if (r == 0)
		r = image_trim_frame(reader, &size, err);
	if (r == 0)
		r = codec_decompress(reader->codec, reader->frame, size, plain, chunk->size, err);
	return r == 0 && (reader->checks & CHECK_DIGEST) ? image_check_plain(plain, chunk, err) : r;
}

/* Read @chunk from a pack that a source brings; sets *@again when it is damaged, and others may be had. */
static int read_brought(const struct image *img, const struct chunk_reader *reader,
                        const struct chunk *chunk, void *plain, bool *again, struct err *err)
{
	const struct descriptor *pack = &img->manifest.packs[chunk->pack - 1];
	struct pack_hold hold = { .range = { .off = chunk->frame_off, .len = chunk->frame_size } };
	int r = img->source.hold(img->source.arg, pack, &hold, err);

	*again = false;
	if (r < 0)
		return r;
	r = read_there(img, reader, chunk, plain, err);
	*again = img->source.release(img->source.arg, pack, &hold, /* damaged= */ r == -EBADMSG);
	return r;
}

int image_read_packed(const struct image *img, const struct chunk_reader *reader,
                      const struct chunk *chunk, void *plain, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	bool again = image_is_remote(img);
	int r = again ? -EBADMSG : read_there(img, reader, chunk, plain, err);

	for (int i = 0; i < IMAGE_SOURCE_TRIES && again; i++)
		r = read_brought(img, reader, chunk, plain, &again, err);
	(void)digest_hex(&img->manifest.packs[chunk->pack - 1].digest, hex);
	return r < 0 ? err_wrap(err, r, "pack '%.12s': chunk %llu at offset %llu", hex,
	                        (unsigned long long)chunk->id, (unsigned long long)chunk->frame_off)
	             : 0;
}

/* The pack of @chunk is missing, as @err says. */
static int read_without_pack(const struct image *img, struct chunk_reader *reader,
                             const struct chunk *chunk, struct err *err)
{
	struct err why = ERR_INIT, missing = err ? *err : ERR_INIT;
	int r = deltas_read(img, reader, chunk, &why);

	if (r == 0)
		return 0;
	return err_set(err, r == -ENOMEM ? r : -ENOENT, "%s; %s", missing.msg, why.msg);
}

int image_read_chunk_to(struct image *img, struct chunk_reader *reader, const struct chunk *chunk,
                        void *plain, struct err *err)
{
	int r = -ENOENT;

	if (image_is_remote(img) && img->manifest.n_deltas > 0)
		r = deltas_read_far(img, reader, chunk, NULL);
	if (r == 0 && plain != reader->plain)
		memcpy(plain, reader->plain, chunk->size);
	if (r == 0)
		return 0;
	r = image_read_packed(img, reader, chunk, plain, err);
	if (r != -ENOENT || img->manifest.n_deltas == 0 || image_is_remote(img))
		return r;
	r = read_without_pack(img, reader, chunk, err);
	if (r == 0 && plain != reader->plain)
		memcpy(plain, reader->plain, chunk->size);
	return r;
}

int image_read_chunk(struct image *img, struct chunk_reader *reader, const struct chunk *chunk,
                     const void **ret, struct err *err)
{
	int r = image_read_chunk_to(img, reader, chunk, reader->plain, err);

	if (r < 0)
		return r;
	*ret = reader->plain;
	return 0;
}
