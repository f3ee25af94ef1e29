/* SPDX-License-Identifier: Apache-2.0 */
#include "unpacker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

enum section_state {
	SECTION_MISSING,
	SECTION_ASKED, /* somebody who needs it is at it */
	SECTION_THERE,
};

/* Each takes 2 MiB, which the daemon's memory must have room for. */
enum { ASKED_MAX = 4 };

struct unpacker {
	/* constant */
	int blob_fd;              /* owned */
	int out_fd;               /* owned */
	struct sections sections; /* owned */

	/* atomic */
	unsigned n_owners;
	bool cancelled;
	uint8_t *state; /* owned; enum section_state of each; read without the lock, written under it */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a section is not SECTION_ASKED any more */
	/* under lock */
	unsigned n_asked; /* sections that are SECTION_ASKED, or were when unpacker_finish() came first */
};

/* What unpacking one section after another needs. */
struct bench {
	struct codec *codec; /* owned */
	uint8_t *packed;     /* owned; with room before and after the section */
	uint8_t *plain;      /* owned */
};

#define BENCH_INIT ((struct bench){ .codec = NULL })

static int bench_init(struct bench *b, struct err *err)
{
	b->codec = codec_new();
	b->packed = malloc(CODEC_SECTION_HEAD + SECTION_PACKED_MAX + CODEC_SECTION_TAIL);
	b->plain = malloc(CODEC_SECTION);
	return b->codec && b->packed && b->plain ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static void bench_release_cleanup(struct bench *b)
{
	codec_free(b->codec);
	free(b->packed);
	free(b->plain);
}

static void unpacker_free(struct unpacker *u)
{
	if (u->blob_fd >= 0)
		(void)close(u->blob_fd);
	if (u->out_fd >= 0)
		(void)close(u->out_fd);
	sections_release(&u->sections);
	free(u->state);
	(void)pthread_cond_destroy(&u->changed);
	(void)pthread_mutex_destroy(&u->lock);
	free(u);
}

/* The whole file's room is taken now, so that no section finds the disk full later. */
static int make_room(int fd, uint64_t size, struct err *err)
{
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set_errno(err, "size of the index");
	if (fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP && errno != ENOSYS)
		return err_set_errno(err, "room for the index");
	return 0;
}

int unpacker_new(int blob_fd, int out_fd, struct sections *sections, struct unpacker **ret,
                 struct err *err)
{
	CLEANUP(unpacker_unref) struct unpacker *u = calloc(1, sizeof(*u));
	int r;

	if (!u) {
		(void)close(blob_fd);
		(void)close(out_fd);
		sections_release(sections);
		return err_set(err, -ENOMEM, "out of memory");
	}
	u->blob_fd = blob_fd;
	u->out_fd = out_fd;
	u->sections = *sections;
	*sections = SECTIONS_INIT;
	u->n_owners = 1;
	(void)pthread_mutex_init(&u->lock, NULL);
	(void)pthread_cond_init(&u->changed, NULL);
	u->state = calloc(u->sections.n, sizeof(*u->state));
	if (!u->state)
		return err_set(err, -ENOMEM, "out of memory");
	r = make_room(out_fd, u->sections.plain_size, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(u);
	return 0;
}

struct unpacker *unpacker_ref(struct unpacker *u)
{
	(void)__atomic_add_fetch(&u->n_owners, 1, __ATOMIC_RELAXED);
	return u;
}

void unpacker_unref(struct unpacker *u)
{
	if (u && __atomic_sub_fetch(&u->n_owners, 1, __ATOMIC_ACQ_REL) == 0)
		unpacker_free(u);
}

static enum section_state state_of(const struct unpacker *u, uint32_t i)
{
	return (enum section_state)__atomic_load_n(&u->state[i], __ATOMIC_ACQUIRE);
}

/* Under the lock. */
static void set_state(struct unpacker *u, uint32_t i, enum section_state state)
{
	__atomic_store_n(&u->state[i], (uint8_t)state, __ATOMIC_RELEASE);
}

static int read_section(const struct unpacker *u, const struct section *s, uint8_t *packed,
                        struct err *err)
{
	struct digest digest;
	int r = io_pread(u->blob_fd, packed, s->size, s->off);

	/* It is read once. */
	(void)posix_fadvise(u->blob_fd, (off_t)s->off, s->size, POSIX_FADV_DONTNEED);
	if (r < 0)
		return err_set(err, r == -ENODATA ? -EBADMSG : r, "%s",
		               r == -ENODATA ? "damaged: it is too short" : strerrordesc_np(-r));
	sha256(packed, s->size, &digest);
	return digest_equal(&digest, &s->digest)
	               ? 0
	               : err_set(err, -EBADMSG, "damaged: its digest is another");
}

static int unpack_section(const struct unpacker *u, uint32_t i, const struct bench *b,
                          struct err *err)
{
	const struct section *s = &u->sections.list[i];
	uint32_t size = section_plain_size(&u->sections, i);
	int r = read_section(u, s, b->packed + CODEC_SECTION_HEAD, err);

	if (r == 0)
		r = codec_decompress_section(b->codec, b->packed, s->size, b->plain, size, err);
	if (r < 0)
		return err_wrap(err, r, "section %u", i);
	r = io_pwrite(u->out_fd, b->plain, size, (uint64_t)i * CODEC_SECTION);
	return r < 0 ? err_set(err, r, "section %u could not be written: %s", i,
	                       strerrordesc_np(-r))
	             : 0;
}

/* What unpacking section @i has come to, for somebody who @asked for it or not. */
static void settle(struct unpacker *u, uint32_t i, bool there, bool asked)
{
	(void)pthread_mutex_lock(&u->lock);
	u->n_asked -= asked;
	/* unpacker_finish() may have been faster. */
	if (state_of(u, i) != SECTION_THERE)
		set_state(u, i, there ? SECTION_THERE : SECTION_MISSING);
	(void)pthread_cond_broadcast(&u->changed);
	(void)pthread_mutex_unlock(&u->lock);
}

/* Whether section @i is the caller's to unpack; else it is there. */
static bool claim(struct unpacker *u, uint32_t i)
{
	bool mine;

	(void)pthread_mutex_lock(&u->lock);
	while (state_of(u, i) == SECTION_ASKED ||
	       (state_of(u, i) == SECTION_MISSING && u->n_asked == ASKED_MAX))
		(void)pthread_cond_wait(&u->changed, &u->lock);
	mine = state_of(u, i) == SECTION_MISSING;
	if (mine) {
		set_state(u, i, SECTION_ASKED);
		u->n_asked++;
	}
	(void)pthread_mutex_unlock(&u->lock);
	return mine;
}

static int need_section(struct unpacker *u, uint32_t i, struct err *err)
{
	CLEANUP(bench_release) struct bench b = BENCH_INIT;
	int r;

	if (state_of(u, i) == SECTION_THERE || !claim(u, i))
		return 0;
	r = bench_init(&b, err);
	if (r == 0)
		r = unpack_section(u, i, &b, err);
	settle(u, i, r == 0, /* asked= */ true);
	return r;
}

int unpacker_need(struct unpacker *u, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t size = u->sections.plain_size;
	uint64_t end = off < size && len < size - off ? off + len : size;
	int r = 0;

	for (uint64_t i = off / CODEC_SECTION; r == 0 && i * CODEC_SECTION < end; i++)
		r = need_section(u, (uint32_t)i, err);
	return r;
}

int unpacker_finish(struct unpacker *u, struct err *err)
{
	CLEANUP(bench_release) struct bench b = BENCH_INIT;
	int r = bench_init(&b, err);
	struct err other = ERR_INIT;

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < u->sections.n; i++) {
		int failed;

		if (__atomic_load_n(&u->cancelled, __ATOMIC_RELAXED))
			return err_set(err, -ECANCELED, "ended before it was whole");
		if (state_of(u, i) == SECTION_THERE)
			continue;
		failed = unpack_section(u, i, &b, r == 0 ? err : &other);
		if (failed == 0)
			settle(u, i, /* there= */ true, /* asked= */ false);
		else if (r == 0)
			r = failed;
	}
	/* Pages that two sections share are left. */
	(void)posix_fadvise(u->blob_fd, 0, 0, POSIX_FADV_DONTNEED);
	return r;
}

void unpacker_cancel(struct unpacker *u)
{
	__atomic_store_n(&u->cancelled, true, __ATOMIC_RELAXED);
}
