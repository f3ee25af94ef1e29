/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a frame claims is compared with what the index says before anything is
 * decompressed: the header is looked at by hand where libzstd's stable
 * interface does not tell (window, kind of magic), so that no frame can make
 * this process allocate or run one of the decoders for formats before zstd 1.0.
 */
#include "codec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "base/feed.h"
#include "base/io.h"
#include "format.h"

enum {
	LEVEL_MAX = 19,           /* higher levels need windows that readers refuse */
	FILE_WINDOW_LOG_MAX = 27, /* 128 MiB: the largest that zstd -d takes by default */
	FILE_WINDOW_LOG = 25,     /* of what is written: more costs memory and saves nothing */
	LONG_DISTANCE = 4 << 20,  /* files up to this have none: they fit the levels' tables */
	WINDOW_LOG_MIN = 10,      /* libzstd's */
	PIECE = 2 << 10,          /* bytes that tell, */
	PIECE_EVERY = 16 << 10,   /* out of so many, whether a chunk can be compressed: */
	SAMPLE_GAIN = 1024,       /* less than 1/1024 of them saved is not worth the time, */
	SAMPLED_LEVEL_MAX = 9,    /* unless size counts for more: at high levels, */
	SAMPLED_MAX = 512 << 10,  /* and in chunks larger than this */
	SAMPLE_LEVEL = 1,
	STORE_LEVEL = -1000,   /* what libzstd does at this one is little more than to copy */
	FRAME_HEADER_MIN = 6,  /* magic, descriptor, and a byte of window or content size */
	HAS_CHECKSUM = 1 << 2, /* descriptor bit: the frame ends with it */
	CHECKSUM_SIZE = 4,
	SINGLE_SEGMENT = 1 << 5, /* descriptor bit: no window byte, the content is the window */
};

struct codec {
	ZSTD_CCtx *cctx; /* owned; NULL until used */
	ZSTD_DCtx *dctx; /* owned; NULL until used */
};

struct codec *codec_new(void)
{
	return calloc(1, sizeof(struct codec));
}

void codec_free(struct codec *codec)
{
	if (!codec)
		return;
	(void)ZSTD_freeCCtx(codec->cctx);
	(void)ZSTD_freeDCtx(codec->dctx);
	free(codec);
}

const char *codec_version(void)
{
	return ZSTD_versionString();
}

size_t codec_bound(size_t size)
{
	return ZSTD_compressBound(size);
}

/* Frames must not depend on what a context did before, so everything is set each time. */
static int prepare_compression(struct codec *codec, int level)
{
	if (!codec->cctx)
		codec->cctx = ZSTD_createCCtx();
	if (!codec->cctx)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_CCtx_reset(codec->cctx, ZSTD_reset_session_and_parameters)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_contentSizeFlag, 1)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_checksumFlag, 1)))
		return -EINVAL;
	return 0;
}

static int zstd_errno(size_t code, int otherwise)
{
	return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? -ENOMEM : otherwise;
}

/* Compress with the parameters that are set. The caller has checked sizes. */
static int compress(struct codec *codec, const void *data, size_t size, void *frame,
                    size_t frame_cap, size_t *ret_frame_size)
{
	size_t n = ZSTD_compress2(codec->cctx, frame, frame_cap, data, size);

	if (ZSTD_isError(n))
		return zstd_errno(n, -EINVAL);
	*ret_frame_size = n;
	return 0;
}

/* Two buffers with their sizes make seven. NOLINTNEXTLINE(readability-function-size) */
int codec_compress_table(struct codec *codec, int level, const void *data, size_t size, void *frame,
                         size_t frame_cap, size_t *ret_frame_size)
{
	int r;

	if (level < 1 || level > LEVEL_MAX || size < 1 || frame_cap < codec_bound(size))
		return -EINVAL;
	r = prepare_compression(codec, level);
	return r < 0 ? r : compress(codec, data, size, frame, frame_cap, ret_frame_size);
}

/*
 * Whether the @size bytes look as if they were compressed already: sound, pictures and archives
 * take longest and give least. Tries pieces of them. Returns 1, 0 or -errno.
 */
static int sample(struct codec *codec, const uint8_t *data, size_t size, uint8_t *frame,
                  size_t frame_cap)
{
	size_t n = 0, used = 0;
	int r = prepare_compression(codec, SAMPLE_LEVEL);

	/* The frame's place has room for both: pieces are a small share. */
	for (size_t off = 0; off + PIECE <= size; off += PIECE_EVERY) {
		memcpy(frame + used, data + off, PIECE);
		used += PIECE;
	}
	if (r == 0)
		r = compress(codec, frame, used, frame + used, frame_cap - used, &n);
	return r < 0 ? r : n > used - used / SAMPLE_GAIN;
}

/* Two buffers with their sizes make seven. NOLINTNEXTLINE(readability-function-size) */
int codec_compress(struct codec *codec, int level, const void *data, size_t size, void *frame,
                   size_t frame_cap, size_t *ret_frame_size)
{
	int r = 0;

	if (level < 1 || level > LEVEL_MAX || size < 1 || size > FORMAT_CHUNK_MAX ||
	    frame_cap < codec_bound(size))
		return -EINVAL;
	if (level <= SAMPLED_LEVEL_MAX && size >= PIECE_EVERY && size <= SAMPLED_MAX)
		r = sample(codec, data, size, frame, frame_cap);
	if (r < 0)
		return r;
	r = prepare_compression(codec, r > 0 ? STORE_LEVEL : level);
	return r < 0 ? r : compress(codec, data, size, frame, frame_cap, ret_frame_size);
}

/* The smallest window that reaches from the end of @size bytes to their start. */
static int window_log(size_t size)
{
	int log = WINDOW_LOG_MIN;

	while ((size_t)1 << log < size)
		log++;
	return log;
}

/*
 * The lower levels' tables are too small for a large prefix: libzstd would load its end only. Beyond
 * LARGE_WINDOW_LOG this gives more room than any of these levels has by itself.
 */
static int set_delta_parameters(ZSTD_CCtx *cctx, int level, int log)
{
	enum { LARGE_WINDOW_LOG = 21, LOW_LEVEL_MAX = 8 };

	if (ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_windowLog, log)))
		return -EINVAL;
	if (log >= LARGE_WINDOW_LOG && level <= LOW_LEVEL_MAX &&
	    ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_hashLog, log - 1)))
		return -EINVAL;
	return 0;
}

/* Three buffers with their sizes make nine. NOLINTNEXTLINE(readability-function-size) */
int codec_compress_delta(struct codec *codec, int level, const void *prefix, size_t prefix_size,
                         const void *data, size_t size, void *frame, size_t frame_cap,
                         size_t *ret_frame_size)
{
	int r;

	if (level < 1 || level > LEVEL_MAX || size < 1 || size > FORMAT_CHUNK_MAX ||
	    prefix_size < 1 || prefix_size > FORMAT_PREFIX_MAX || frame_cap < codec_bound(size))
		return -EINVAL;
	r = prepare_compression(codec, level);
	if (r == 0)
		r = set_delta_parameters(codec->cctx, level, window_log(prefix_size + size));
	if (r < 0)
		return r;
	if (ZSTD_isError(ZSTD_CCtx_refPrefix(codec->cctx, prefix, prefix_size)))
		return -EINVAL;
	return compress(codec, data, size, frame, frame_cap, ret_frame_size);
}

/* Whether the bytes begin as a frame of zstd 1.0 or later: neither skippable nor older. */
static bool has_magic(const void *frame, size_t frame_size)
{
	le32 magic;

	if (frame_size < FRAME_HEADER_MIN)
		return false;
	memcpy(&magic, frame, sizeof(magic));
	return le32_get(magic) == ZSTD_MAGICNUMBER;
}

/* The window of a frame that has_magic(), RFC 8878 section 3.1.1.1.2. */
static uint64_t window_size(const uint8_t *frame, uint64_t content_size)
{
	uint64_t base;

	if (frame[4] & SINGLE_SEGMENT)
		return content_size;
	base = (uint64_t)1 << (10 + (frame[5] >> 3));
	return base + base / 8 * (frame[5] & 7);
}

static int check_frame(const void *frame, size_t frame_size, size_t size, unsigned window_log_max,
                       struct err *err)
{
	unsigned long long claimed;

	if (!has_magic(frame, frame_size))
		return err_set(err, -EBADMSG, "not a zstd frame");
	claimed = ZSTD_getFrameContentSize(frame, frame_size);
	if (claimed == ZSTD_CONTENTSIZE_ERROR || claimed == ZSTD_CONTENTSIZE_UNKNOWN)
		return err_set(err, -EBADMSG, "frame does not state its content size");
	if (claimed != size)
		return err_set(err, -EBADMSG, "frame claims %llu plain bytes instead of %zu",
		               claimed, size);
	if (window_size(frame, claimed) > (uint64_t)1 << window_log_max)
		return err_set(err, -EBADMSG, "frame asks for a window of more than %u bytes",
		               1u << window_log_max);
	if (ZSTD_getDictID_fromFrame(frame, frame_size) != 0)
		return err_set(err, -EBADMSG, "frame asks for a dictionary");
	if (ZSTD_findFrameCompressedSize(frame, frame_size) != frame_size)
		return err_set(err, -EBADMSG, "frame does not end where the index says");
	return 0;
}

bool codec_has_checksum(const void *frame, size_t frame_size)
{
	return has_magic(frame, frame_size) && (((const uint8_t *)frame)[4] & HAS_CHECKSUM);
}

size_t codec_drop_checksum(void *frame, size_t frame_size)
{
	uint8_t *bytes = frame;

	if (!codec_has_checksum(frame, frame_size) || frame_size < FRAME_HEADER_MIN + CHECKSUM_SIZE)
		return frame_size;
	bytes[4] &= (uint8_t)~HAS_CHECKSUM;
	return frame_size - CHECKSUM_SIZE;
}

static int prepare_decompression(struct codec *codec, struct err *err)
{
	if (!codec->dctx)
		codec->dctx = ZSTD_createDCtx();
	if (!codec->dctx ||
	    ZSTD_isError(ZSTD_DCtx_reset(codec->dctx, ZSTD_reset_session_and_parameters)))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* Decompress with what is set; check_frame() has passed. */
static int decompress(struct codec *codec, const void *frame, size_t frame_size, void *data,
                      size_t size, struct err *err)
{
	size_t n = ZSTD_decompressDCtx(codec->dctx, data, size, frame, frame_size);

	if (ZSTD_isError(n))
		return err_set(err, zstd_errno(n, -EBADMSG), "frame is damaged: %s",
		               ZSTD_getErrorName(n));
	if (n != size)
		return err_set(err, -EBADMSG, "frame holds %zu plain bytes instead of %zu", n,
		               size);
	return 0;
}

int codec_decompress(struct codec *codec, const void *frame, size_t frame_size, void *data,
                     size_t size, struct err *err)
{
	int r = check_frame(frame, frame_size, size, FORMAT_WINDOW_LOG_MAX, err);

	if (r == 0)
		r = prepare_decompression(codec, err);
	return r < 0 ? r : decompress(codec, frame, frame_size, data, size, err);
}

/* Three buffers with their sizes make eight. NOLINTNEXTLINE(readability-function-size) */
int codec_decompress_delta(struct codec *codec, const void *prefix, size_t prefix_size,
                           const void *frame, size_t frame_size, void *data, size_t size,
                           struct err *err)
{
	size_t n;
	int r = check_frame(frame, frame_size, size, FORMAT_DELTA_WINDOW_LOG_MAX, err);

	if (r == 0)
		r = prepare_decompression(codec, err);
	if (r < 0)
		return r;
	n = ZSTD_DCtx_refPrefix(codec->dctx, prefix, prefix_size);
	if (ZSTD_isError(n))
		return err_set(err, zstd_errno(n, -EINVAL), "prefix not taken: %s",
		               ZSTD_getErrorName(n));
	return decompress(codec, frame, frame_size, data, size, err);
}

int codec_decompress_table(struct codec *codec, const void *frame, size_t frame_size, void *data,
                           size_t size, struct err *err)
{
	int r = check_frame(frame, frame_size, size, FORMAT_DELTA_WINDOW_LOG_MAX, err);

	if (r == 0)
		r = prepare_decompression(codec, err);
	return r < 0 ? r : decompress(codec, frame, frame_size, data, size, err);
}

/* A file being turned into another, step by step. */
struct copy {
	int in_fd;         /* borrowed */
	int out_fd;        /* borrowed */
	uint64_t size;     /* of the input */
	uint64_t in_off;   /* input read so far */
	uint64_t out_size; /* output written so far */
	uint8_t in[CODEC_STEP];
	uint8_t out[CODEC_STEP];
};

static int copy_init(struct copy *copy, int in_fd, int out_fd, struct err *err)
{
	struct stat st;

	if (fstat(in_fd, &st) < 0)
		return err_set_errno(err, "size of the input");
	copy->in_fd = in_fd;
	copy->out_fd = out_fd;
	copy->size = (uint64_t)st.st_size;
	copy->in_off = 0;
	copy->out_size = 0;
	return 0;
}

/* Read the next step of the input; none is left when *@ret has size 0. */
static int copy_read(struct copy *copy, ZSTD_inBuffer *ret, struct err *err)
{
	uint64_t left = copy->size - copy->in_off;
	size_t n = left < CODEC_STEP ? (size_t)left : CODEC_STEP;
	int r = io_pread(copy->in_fd, copy->in, n, copy->in_off);

	if (r < 0)
		return err_set(err, r, "input could not be read: %s", strerrordesc_np(-r));
	copy->in_off += n;
	*ret = (ZSTD_inBuffer){ .src = copy->in, .size = n };
	return 0;
}

static int copy_write(struct copy *copy, const ZSTD_outBuffer *out, struct err *err)
{
	int r = io_write(copy->out_fd, out->dst, out->pos);

	if (r < 0)
		return err_set(err, r, "output could not be written: %s", strerrordesc_np(-r));
	copy->out_size += out->pos;
	return 0;
}

/* Compress one step of input and write what comes out. */
static int compress_step(ZSTD_CCtx *cctx, struct copy *copy, ZSTD_inBuffer *in, struct err *err)
{
	bool last = copy->in_off == copy->size;
	size_t left;

	do {
		ZSTD_outBuffer out = { .dst = copy->out, .size = CODEC_STEP };
		int r;

		left = ZSTD_compressStream2(cctx, &out, in, last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return err_set(err, zstd_errno(left, -EINVAL), "not compressed: %s",
			               ZSTD_getErrorName(left));
		r = copy_write(copy, &out, err);
		if (r < 0)
			return r;
	} while (last ? left != 0 : in->pos < in->size);
	return 0;
}

int codec_compress_file(int in_fd, int out_fd, int level, struct err *err)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(free) struct copy *copy = calloc(1, sizeof(*copy));
	int r;

	if (!codec || !copy)
		return err_set(err, -ENOMEM, "out of memory");
	r = copy_init(copy, in_fd, out_fd, err);
	if (r < 0)
		return r;
	r = level < 1 || level > LEVEL_MAX ? -EINVAL : prepare_compression(codec, level);
	if (r < 0)
		return err_set(err, r, "compression could not be set up at level %d", level);
	if (ZSTD_isError(ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_windowLog, FILE_WINDOW_LOG)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_enableLongDistanceMatching,
	                                        copy->size > LONG_DISTANCE)) ||
	    ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(codec->cctx, copy->size)))
		return err_set(err, -EINVAL, "libzstd refuses long distance matching");
	do {
		ZSTD_inBuffer in;

		r = copy_read(copy, &in, err);
		if (r == 0)
			r = compress_step(codec->cctx, copy, &in, err);
	} while (r == 0 && copy->in_off < copy->size);
	return r;
}

int codec_decompress_section(struct codec *codec, uint8_t *buf, size_t section_size, void *data,
                             size_t size, struct err *err)
{
	enum { SIZE_OF_4_BYTES = 2 << 6, LAST_EMPTY_RAW = 1 };
	const le32 magic = le32_put(ZSTD_MAGICNUMBER), content = le32_put((uint32_t)size);

	memcpy(buf, &magic, sizeof(magic));
	buf[4] = SIZE_OF_4_BYTES | SINGLE_SEGMENT;
	memcpy(buf + 5, &content, sizeof(content));
	memset(buf + CODEC_SECTION_HEAD + section_size, 0, CODEC_SECTION_TAIL);
	buf[CODEC_SECTION_HEAD + section_size] = LAST_EMPTY_RAW;
	return codec_decompress(codec, buf, CODEC_SECTION_HEAD + section_size + CODEC_SECTION_TAIL,
	                        data, size, err);
}

/*
 * Decompress one step of input and write what comes out. Returns 1 when the
 * frame wants more input, 0 at its end, or -errno.
 */
static int decompress_step(ZSTD_DCtx *dctx, struct copy *copy, ZSTD_inBuffer *in, uint64_t max,
                           struct err *err)
{
	for (;;) {
		ZSTD_outBuffer out = { .dst = copy->out, .size = CODEC_STEP };
		size_t wanted = ZSTD_decompressStream(dctx, &out, in);
		int r;

		if (ZSTD_isError(wanted))
			return err_set(err, zstd_errno(wanted, -EBADMSG), "damaged: %s",
			               ZSTD_getErrorName(wanted));
		if (out.pos > max - copy->out_size)
			return err_set(err, -EOVERFLOW,
			               "holds more than the %llu bytes that are allowed",
			               (unsigned long long)max);
		r = copy_write(copy, &out, err);
		if (r < 0)
			return r;
		if (wanted == 0)
			return 0;
		if (in->pos == in->size && out.pos < out.size)
			return 1;
	}
}

int codec_decompress_file(int in_fd, int out_fd, uint64_t max, codec_seen_fn seen, void *arg,
                          struct err *err)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(free) struct copy *copy = calloc(1, sizeof(*copy));
	CLEANUP(feed_free) struct feed *feed = NULL;
	ZSTD_inBuffer in = { .src = NULL };
	int r;

	if (!codec || !copy)
		return err_set(err, -ENOMEM, "out of memory");
	r = copy_init(copy, in_fd, out_fd, err);
	if (r == 0 && feed_open(in_fd, copy->size, seen, arg, &feed) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = prepare_decompression(codec, err);
	if (r < 0)
		return r;
	if (ZSTD_isError(
		    ZSTD_DCtx_setParameter(codec->dctx, ZSTD_d_windowLogMax, FILE_WINDOW_LOG_MAX)))
		return err_set(err, -EINVAL, "libzstd refuses a window of 2^%d bytes",
		               FILE_WINDOW_LOG_MAX);
	do {
		bool first = copy->in_off == 0;

		in = (ZSTD_inBuffer){ .src = NULL };
		r = feed_next(feed, &in.src, &in.size);
		if (r < 0)
			return err_set(err, r, "input could not be read: %s", strerrordesc_np(-r));
		copy->in_off += in.size;
		if (first && !has_magic(in.src, in.size))
			return err_set(err, -EBADMSG, "not a zstd frame");
		r = decompress_step(codec->dctx, copy, &in, max, err);
		if (r < 0)
			return r;
	} while (r == 1 && copy->in_off < copy->size);
	if (r == 1)
		return err_set(err, -EBADMSG, "incomplete: the frame goes on after the last byte");
	if (in.pos < in.size || copy->in_off < copy->size)
		return err_set(err, -EBADMSG, "bytes follow the end of the frame");
	return 0;
}
