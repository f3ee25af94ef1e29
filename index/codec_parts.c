/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libzstd begins anew with each job of its threads, and only they can do that within a frame: what
 * a block takes from those before it, tables and offsets, must not come from another part. So each
 * part is the second job of a frame of its own, whose head and first job are thrown away; the frame
 * that the parts make is put together here. It has no checksum: whoever reads it has its digest.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include <zstd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "codec.h"

enum {
	WINDOW_LOG_MIN = 10, /* libzstd's */
	JOBS_FROM = 1 << 20, /* bytes of a frame; libzstd has no jobs in much smaller ones */
	NO_OVERLAP = 1,
	ROOM = 1 << 10, /* beside what the part may need */
	JOBS_MAX = 64,
};

/* One part, and what compressing it needs. */
struct part {
	const struct codec_cut *cut; /* borrowed */
	int window_log;
	int fd; /* borrowed */
	uint64_t off;
	size_t size;

	ZSTD_CCtx *cctx; /* owned */
	uint8_t *plain;  /* owned */
	uint8_t *packed; /* owned */
	size_t packed_size;
	size_t packed_max;
	struct err err;
	int result;
};

struct parts {
	struct part *jobs; /* owned */
	unsigned n_jobs;
};

static void parts_release_cleanup(struct parts *p)
{
	for (unsigned i = 0; i < p->n_jobs; i++) {
		(void)ZSTD_freeCCtx(p->jobs[i].cctx);
		free(p->jobs[i].plain);
		free(p->jobs[i].packed);
	}
	free(p->jobs);
}

static int set_parameters(const struct part *p)
{
	const uint64_t size = p->size < JOBS_FROM ? JOBS_FROM : p->size + 1;
	const struct {
		ZSTD_cParameter parameter;
		int value;
	} all[] = {
		{ ZSTD_c_compressionLevel, p->cut->level },
		{ ZSTD_c_windowLog, p->window_log },
		{ ZSTD_c_nbWorkers, 1 },
		{ ZSTD_c_jobSize, (int)size },
		{ ZSTD_c_overlapLog, NO_OVERLAP },
	};

	if (ZSTD_isError(ZSTD_CCtx_reset(p->cctx, ZSTD_reset_session_and_parameters)))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (ZSTD_isError(ZSTD_CCtx_setParameter(p->cctx, all[i].parameter, all[i].value)))
			return -EOPNOTSUPP;
	}
	/* Said of a frame that is never ended: only what is chosen by it matters. */
	return ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(p->cctx, size)) ? -EINVAL : 0;
}

/* Compress @len bytes as a job; what comes out is all that p->packed has then. */
static int compress_job(struct part *p, const void *data, size_t len)
{
	ZSTD_inBuffer in = { .src = data, .size = len };
	ZSTD_outBuffer out = { .dst = p->packed, .size = p->packed_max };
	size_t left;

	do {
		left = ZSTD_compressStream2(p->cctx, &out, &in, ZSTD_e_flush);
		if (ZSTD_isError(left))
			return err_set(&p->err, -EINVAL, "not compressed: %s",
			               ZSTD_getErrorName(left));
	} while (left != 0 && out.pos < out.size);
	p->packed_size = out.pos;
	return left == 0 ? 0 : err_set(&p->err, -EINVAL, "not compressed: it becomes larger");
}

static void *compress_part(void *arg)
{
	struct part *p = arg;
	int r = io_pread(p->fd, p->plain, p->size, p->off);

	if (r < 0)
		(void)err_set(&p->err, r, "input could not be read: %s", strerrordesc_np(-r));
	if (r == 0) {
		r = set_parameters(p);
		if (r < 0)
			(void)err_set(&p->err, r, "compression in parts could not be set up");
	}
	if (r == 0)
		r = compress_job(p, "", 1);
	if (r == 0)
		r = compress_job(p, p->plain, p->size);
	p->result = r;
	return NULL;
}

/* Compress the first @n of the parts at once: by threads, and this one. */
static void compress_all(struct part *parts, unsigned n)
{
	pthread_t threads[JOBS_MAX];
	bool started[JOBS_MAX] = { false };

	for (unsigned i = 1; i < n; i++)
		started[i] = pthread_create(&threads[i], NULL, compress_part, &parts[i]) == 0;
	for (unsigned i = 0; i < n; i++) {
		if (!started[i])
			(void)compress_part(&parts[i]);
	}
	for (unsigned i = 1; i < n; i++) {
		if (started[i])
			(void)pthread_join(threads[i], NULL);
	}
}

static int window_log(uint64_t size)
{
	int log = WINDOW_LOG_MIN;

	while ((uint64_t)1 << log < size)
		log++;
	return log;
}

/* Bytes of part @i of a file of @size. */
static uint64_t part_size(const struct codec_cut *cut, uint64_t size, uint64_t off)
{
	uint64_t want = off == 0 && cut->first > 0 ? cut->first : cut->each;

	return want < size - off ? want : size - off;
}

static uint64_t largest_part(const struct codec_cut *cut, uint64_t size)
{
	uint64_t most = cut->first > cut->each ? cut->first : cut->each;

	return most < size ? most : size;
}

static int parts_init(struct parts *p, const struct codec_cut *cut, int fd, uint64_t size)
{
	uint64_t most = largest_part(cut, size);
	uint64_t n_parts = (size - 1) / cut->each + 2; /* at most */
	unsigned n = cut->jobs < JOBS_MAX ? cut->jobs : JOBS_MAX;

	if (n > n_parts)
		n = (unsigned)n_parts;
	p->jobs = calloc(n, sizeof(*p->jobs));
	if (!p->jobs)
		return -ENOMEM;
	for (; p->n_jobs < n; p->n_jobs++) {
		struct part *part = &p->jobs[p->n_jobs];

		*part = (struct part){
			.cut = cut,
			.window_log = window_log(most),
			.fd = fd,
			.packed_max = codec_bound(most) + ROOM,
		};
		part->cctx = ZSTD_createCCtx();
		part->plain = malloc(most + 1);
		part->packed = malloc(part->packed_max);
		if (!part->cctx || !part->plain || !part->packed)
			return -ENOMEM;
	}
	return 0;
}

static int write_out(int fd, const void *data, size_t len, struct err *err)
{
	int r = io_write(fd, data, len);

	return r < 0 ? err_set(err, r, "output could not be written: %s", strerrordesc_np(-r)) : 0;
}

/* The head of a frame with a size of 8 bytes and a window, RFC 8878 section 3.1.1.1. */
static int write_head(int fd, int log, uint64_t size, struct err *err)
{
	enum { SIZE_OF_8_BYTES = 3 << 6 };
	struct {
		le32 magic;
		uint8_t descriptor, window;
		le64 size;
	} head = { le32_put(ZSTD_MAGICNUMBER), SIZE_OF_8_BYTES,
		   (uint8_t)((log - WINDOW_LOG_MIN) << 3), le64_put(size) };

	return write_out(fd, &head, sizeof(head), err);
}

/* All parts, in rounds of as many as there are jobs. */
static int compress_parts(struct parts *p, uint64_t size, int out_fd, struct codec_sections *s,
                          struct err *err)
{
	const struct codec_cut *cut = p->jobs[0].cut;
	uint64_t off = 0;
	int r = 0;

	while (r == 0 && off < size) {
		unsigned n = 0;

		for (; n < p->n_jobs && off < size; n++) {
			p->jobs[n].off = off;
			p->jobs[n].size = (size_t)part_size(cut, size, off);
			off += p->jobs[n].size;
		}
		compress_all(p->jobs, n);
		for (unsigned i = 0; r == 0 && i < n; i++) {
			const struct part *part = &p->jobs[i];

			r = part->result < 0 ? err_set(err, part->result, "%s", part->err.msg) : 0;
			/* Before the first byte, so that the caller may do without parts. */
			if (r == 0 && s->n == 0)
				r = write_head(out_fd, part->window_log, size, err);
			if (r == 0)
				r = write_out(out_fd, part->packed, part->packed_size, err);
			s->sizes[s->n++] = (uint32_t)part->packed_size;
		}
	}
	return r;
}

int codec_compress_parts(int in_fd, int out_fd, const struct codec_cut *cut,
                         struct codec_sections *ret, struct err *err)
{
	static const uint8_t last_block[] = { 1, 0, 0 }; /* raw and empty */
	enum { HEAD = 14, LEVEL_MAX = 19, PART_MAX = 1 << 27 };
	CLEANUP(codec_sections_release) struct codec_sections s = CODEC_SECTIONS_INIT;
	CLEANUP(parts_release) struct parts p = { .n_jobs = 0 };
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(in_fd, &st) < 0)
		return err_set_errno(err, "size of the input");
	size = (uint64_t)st.st_size;
	if (size < 1 || cut->jobs < 1 || cut->each < 1 || largest_part(cut, size) > PART_MAX ||
	    cut->level < 1 || cut->level > LEVEL_MAX)
		return err_set(err, -EINVAL, "no file that can be compressed in such parts");
	s.off = HEAD;
	s.sizes = calloc(size / cut->each + 3, sizeof(*s.sizes));
	if (!s.sizes || parts_init(&p, cut, in_fd, size) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	r = compress_parts(&p, size, out_fd, &s, err);
	if (r == 0)
		r = write_out(out_fd, last_block, sizeof(last_block), err);
	if (r < 0)
		return r;
	*ret = s;
	s = CODEC_SECTIONS_INIT;
	return 0;
}
