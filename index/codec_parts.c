/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libzstd begins anew with each job of its threads, and only they can do that within a frame: what
 * a block takes from those before it, tables and offsets, must not come from another part. So each
 * part is the second job of a frame of its own, whose head and first job are thrown away; the frame
 * that the parts make is put together here. It has no checksum: whoever reads it has its digest.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "base/aside.h"
#include "base/bytes.h"
#include "base/io.h"
#include "codec.h"

enum {
	WINDOW_LOG_MIN = 10, /* libzstd's */
	JOBS_FROM = 1 << 20, /* bytes of a frame; libzstd has no jobs in much smaller ones */
	NO_OVERLAP = 1,
	ROOM = 1 << 10, /* beside what the part may need */
	JOBS_MAX = 64,
	MATCH_MIN = 5, /* bytes, of the fastest search */
	HEAD = 14,     /* bytes of a frame before the parts */
	LAST = 3,      /* and behind them: a block that is raw and empty */
};

/* One part, and what compressing it needs; used again for the next one. */
struct part {
	int level;
	unsigned hash_log;
	int window_log;
	int fd; /* borrowed */
	uint64_t off;
	size_t size;
	struct codec_ahead *ahead; /* borrowed; who has it, or NULL */

	ZSTD_CCtx *cctx; /* owned */
	uint8_t *packed; /* owned; behind HEAD bytes, and with as many as LAST behind */
	size_t room;     /* bytes of a part that there is room for */
	size_t packed_size;
	struct aside aside; /* who compresses it */
};

struct codec_ahead {
	struct part part; /* the thread's until it has ended */
};

struct parts {
	const struct codec_cut *cut; /* borrowed */
	int in_fd;                   /* borrowed; of size bytes */
	uint64_t size;
	struct part *list; /* owned; a round: a part a job, and the one that is begun ahead */
	unsigned n;
};

static void part_release(struct part *p)
{
	(void)ZSTD_freeCCtx(p->cctx);
	free(p->packed);
}

static void parts_release_cleanup(struct parts *p)
{
	for (unsigned i = 0; i < p->n; i++)
		part_release(&p->list[i]);
	free(p->list);
}

static size_t packed_max(size_t size)
{
	return codec_bound(size) + ROOM;
}

/* Have room for the part. */
static int make_room(struct part *p)
{
	if (!p->cctx)
		p->cctx = ZSTD_createCCtx();
	if (p->size > p->room || !p->packed) {
		free(p->packed);
		p->room = p->size;
		p->packed = malloc(HEAD + packed_max(p->room) + LAST);
	}
	return p->cctx && p->packed ? 0 : -ENOMEM;
}

static int set_parameters(const struct part *p)
{
	const uint64_t size = p->size < JOBS_FROM ? JOBS_FROM : p->size + 1;
	const struct {
		ZSTD_cParameter parameter;
		int value;
	} all[] = {
		{ ZSTD_c_compressionLevel, p->level },
		{ ZSTD_c_windowLog, p->window_log },
		{ ZSTD_c_nbWorkers, 1 },
		{ ZSTD_c_jobSize, (int)size },
		{ ZSTD_c_overlapLog, NO_OVERLAP },
		/* 0: as the level has it. */
		{ ZSTD_c_strategy, p->hash_log > 0 ? (int)ZSTD_fast : 0 },
		{ ZSTD_c_hashLog, (int)p->hash_log },
		{ ZSTD_c_minMatch, p->hash_log > 0 ? MATCH_MIN : 0 },
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

/* Compress @len bytes as a job; what comes out is all that p->packed has then, behind the head. */
static int compress_job(struct part *p, const void *data, size_t len, struct err *err)
{
	ZSTD_inBuffer in = { .src = data, .size = len };
	ZSTD_outBuffer out = { .dst = p->packed + HEAD, .size = packed_max(p->room) };
	size_t left;

	do {
		left = ZSTD_compressStream2(p->cctx, &out, &in, ZSTD_e_flush);
		if (ZSTD_isError(left))
			return err_set(err, -EINVAL, "not compressed: %s", ZSTD_getErrorName(left));
	} while (left != 0 && out.pos < out.size);
	p->packed_size = out.pos;
	return left == 0 ? 0 : err_set(err, -EINVAL, "not compressed: it becomes larger");
}

/* The input of a part. */
struct view {
	uint8_t *map; /* owned */
	size_t len;
	const uint8_t *data;
};

static void view_release_cleanup(struct view *v)
{
	if (v->len > 0)
		(void)munmap(v->map, v->len);
}

/* Map the part's bytes: libzstd copies them once more anyway. */
static int view_part(const struct part *p, struct view *ret)
{
	const size_t before = p->off % (size_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	void *map;

	if (fstat(p->fd, &st) < 0)
		return -errno;
	/* What is mapped behind the end of a file would kill us. */
	if ((uint64_t)st.st_size < p->off + p->size)
		return -ENODATA;
	map = mmap(NULL, before + p->size, PROT_READ, MAP_SHARED | MAP_POPULATE, p->fd,
	           (off_t)(p->off - before));
	if (map == MAP_FAILED)
		return -errno;
	*ret = (struct view){ map, before + p->size, (const uint8_t *)map + before };
	return 0;
}

static int compress_part(void *arg, struct err *err)
{
	CLEANUP(view_release) struct view view = { .len = 0 };
	struct part *p = arg;
	int r = make_room(p);

	if (r < 0)
		return err_set(err, r, "out of memory");
	r = view_part(p, &view);
	if (r < 0)
		return err_set(err, r, "input could not be read: %s", strerrordesc_np(-r));
	r = set_parameters(p);
	if (r < 0)
		return err_set(err, r, "compression in parts could not be set up");
	r = compress_job(p, "", 1, err);
	return r < 0 ? r : compress_job(p, view.data, p->size, err);
}

/* What compresses the part: it may have been begun ahead. */
static struct part *begun(struct part *p)
{
	return p->ahead ? &p->ahead->part : p;
}

/* Compress the first @n of the parts at once: by threads, and this one. */
static void compress_all(struct part *parts, unsigned n)
{
	for (unsigned i = n; i-- > 0;) {
		if (!parts[i].ahead)
			aside_begin(&parts[i].aside, compress_part, &parts[i],
			            /* threaded= */ i > 0);
	}
	for (unsigned i = 0; i < n; i++)
		(void)!aside_end(&begun(&parts[i])->aside, NULL);
}

static int window_log(uint64_t size)
{
	int log = WINDOW_LOG_MIN;

	while ((uint64_t)1 << log < size)
		log++;
	return log;
}

/* Bytes of the part at @off of a file of @size. */
static uint64_t part_size(const struct codec_cut *cut, uint64_t size, uint64_t off)
{
	uint64_t want = cut->each;

	if (off < cut->front)
		want = cut->front;
	else if (off == cut->front && cut->first > 0)
		want = cut->first;
	return want < size - off ? want : size - off;
}

static uint64_t largest_part(const struct codec_cut *cut)
{
	uint64_t most = cut->first > cut->each ? cut->first : cut->each;

	return cut->front > most ? cut->front : most;
}

/* Set @p up for the part at @off. */
static void choose(struct part *p, const struct codec_cut *cut, int fd, uint64_t off, size_t size)
{
	p->level = cut->level;
	/* A small part needs no large table. */
	p->hash_log = cut->hash_log;
	if (p->hash_log > (unsigned)window_log(size))
		p->hash_log = (unsigned)window_log(size);
	p->window_log = window_log(largest_part(cut));
	p->fd = fd;
	p->off = off;
	p->size = size;
	p->ahead = NULL;
}

struct codec_ahead *codec_ahead_begin(int in_fd, const struct codec_cut *cut)
{
	struct codec_ahead *ahead = calloc(1, sizeof(*ahead));

	if (!ahead)
		return NULL;
	choose(&ahead->part, cut, in_fd, cut->front, cut->first);
	aside_begin(&ahead->part.aside, compress_part, &ahead->part, /* threaded= */ true);
	return ahead;
}

void codec_ahead_free(struct codec_ahead *ahead)
{
	if (!ahead)
		return;
	(void)!aside_end(&ahead->part.aside, NULL);
	part_release(&ahead->part);
	free(ahead);
}

static int parts_init(struct parts *p)
{
	uint64_t n_parts = (p->size - 1) / p->cut->each + 3; /* at most */
	unsigned n = p->cut->jobs < JOBS_MAX ? p->cut->jobs : JOBS_MAX;

	if (n > n_parts)
		n = (unsigned)n_parts;
	p->n = n + 1;
	p->list = calloc(p->n, sizeof(*p->list));
	return p->list ? 0 : -ENOMEM;
}

/* The parts of one round, from @off on. Returns their number. */
static unsigned choose_round(const struct parts *p, uint64_t off)
{
	struct codec_ahead *ahead = p->cut->ahead;
	unsigned n = 0, n_jobs = 0;

	while (off < p->size && n_jobs + 1 < p->n) {
		struct part *part = &p->list[n++];

		choose(part, p->cut, p->in_fd, off, (size_t)part_size(p->cut, p->size, off));
		if (ahead && off == ahead->part.off && part->size == ahead->part.size)
			part->ahead = ahead;
		else
			n_jobs++;
		off += part->size;
	}
	return n;
}

/* The head of a frame with a size of 8 bytes and a window, RFC 8878 section 3.1.1.1. */
static void put_head(uint8_t *at, int log, uint64_t size)
{
	enum { SIZE_OF_8_BYTES = 3 << 6 };
	const struct {
		le32 magic;
		uint8_t descriptor, window;
		le64 size;
	} head = { le32_put(ZSTD_MAGICNUMBER), SIZE_OF_8_BYTES,
		   (uint8_t)((log - WINDOW_LOG_MIN) << 3), le64_put(size) };

	_Static_assert(sizeof(head) == HEAD, "no gaps");
	memcpy(at, &head, HEAD);
}

/* Write a part of a file of @size bytes, with what the frame has before the first and behind the last one. */
static int write_part(struct part *p, uint64_t size, int fd, struct err *err)
{
	static const uint8_t last[LAST] = { 1, 0, 0 };
	int r = aside_end(&p->aside, err);
	uint8_t *start;
	size_t len;

	if (r < 0)
		return r;
	start = p->packed + HEAD;
	len = p->packed_size;
	if (p->off == 0) {
		start = p->packed;
		len += HEAD;
		put_head(start, p->window_log, size);
	}
	if (p->off + p->size == size) {
		memcpy(start + len, last, LAST);
		len += LAST;
	}
	r = io_write(fd, start, len);
	return r < 0 ? err_set(err, r, "output could not be written: %s", strerrordesc_np(-r)) : 0;
}

/* All parts, in rounds. */
static int compress_parts(const struct parts *p, int out_fd, struct codec_sections *s,
                          struct err *err)
{
	uint64_t off = 0;
	int r = 0;

	while (r == 0 && off < p->size) {
		unsigned n = choose_round(p, off);

		compress_all(p->list, n);
		for (unsigned i = 0; r == 0 && i < n; i++) {
			struct part *part = begun(&p->list[i]);

			/* Fails before the first byte if this libzstd cannot: the caller may do without parts. */
			r = write_part(part, p->size, out_fd, err);
			s->sizes[s->n++] = (uint32_t)part->packed_size;
			off += part->size;
		}
	}
	return r;
}

int codec_compress_parts(int in_fd, int out_fd, const struct codec_cut *cut,
                         struct codec_sections *ret, struct err *err)
{
	enum { LEVEL_MAX = 19, PART_MAX = 1 << 27 };
	CLEANUP(codec_sections_release) struct codec_sections s = CODEC_SECTIONS_INIT;
	CLEANUP(parts_release) struct parts p = { .cut = cut, .in_fd = in_fd };
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(in_fd, &st) < 0)
		return err_set_errno(err, "size of the input");
	size = (uint64_t)st.st_size;
	p.size = size;
	if (size < 1 || cut->jobs < 1 || cut->each < 1 || cut->level < 1 ||
	    cut->level > LEVEL_MAX ||
	    (largest_part(cut) < size ? largest_part(cut) : size) > PART_MAX)
		return err_set(err, -EINVAL, "no file that can be compressed in such parts");
	s.off = HEAD;
	s.sizes = calloc(size / cut->each + 4, sizeof(*s.sizes));
	if (!s.sizes || parts_init(&p) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	r = compress_parts(&p, out_fd, &s, err);
	if (r < 0)
		return r;
	*ret = s;
	s = CODEC_SECTIONS_INIT;
	return 0;
}
