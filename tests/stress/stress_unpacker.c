/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers need random ranges of a packed index while a thread unpacks all of it: nobody may see
 * another byte than the plain ones in what was needed, nor a section missing at the end. In every
 * other round a section is damaged: ranges that touch it fail, all others do not. In every third the
 * thread is stopped on its way.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "prng.h"
#include "unpacker.h"

enum {
	N = 12,
	SIZE = (N - 1) * (1 << 20) + 5000,
	ROUNDS = 12,
	READERS = 7,
	READS = 200,
	RANGE_MAX = 100 << 10,
	DAMAGED = 5,
};

struct unpacking {
	uint8_t *plain; /* owned */
	int packed, out;
	struct sections sections;
	struct unpacker *u;
	uint8_t *map; /* of out */
	bool damaged;
	bool failed; /* atomic */
};

struct reader {
	struct unpacking *c;
	uint64_t seed;
};

static void complain(struct unpacking *c, const char *what, uint64_t off)
{
	(void)fprintf(stderr, "%s at %llu\n", what, (unsigned long long)off);
	__atomic_store_n(&c->failed, true, __ATOMIC_RELAXED);
}

static void *run_reader(void *arg)
{
	const struct reader *reader = arg;
	struct unpacking *c = reader->c;
	struct prng prng = PRNG_INIT(reader->seed);

	for (int i = 0; i < READS; i++) {
		uint64_t off = prng_next(&prng) % (SIZE - RANGE_MAX);
		uint64_t len = 1 + prng_next(&prng) % RANGE_MAX;
		bool bad = c->damaged && off < (DAMAGED + 1) * (uint64_t)CODEC_SECTION &&
		           off + len > DAMAGED * (uint64_t)CODEC_SECTION;
		int r = unpacker_need(c->u, off, len, NULL);

		if (r != (bad ? -EBADMSG : 0))
			complain(c, bad ? "no error" : "an error", off);
		else if (r == 0 && memcmp(c->map + off, c->plain + off, len) != 0)
			complain(c, "wrong bytes", off);
	}
	return NULL;
}

static void *run_finisher(void *arg)
{
	struct unpacking *c = arg;
	int r = unpacker_finish(c->u, NULL);

	if (r != -ECANCELED && r != (c->damaged ? -EBADMSG : 0))
		complain(c, "finishing failed", 0);
	return NULL;
}

/* Flip a bit of a section, or flip it back. */
static int flip(const struct unpacking *c)
{
	uint64_t at = c->sections.list[DAMAGED].off + 1000;
	uint8_t byte;
	int r = io_pread(c->packed, &byte, 1, at);

	byte ^= 1;
	return r < 0 ? r : io_pwrite(c->packed, &byte, 1, at);
}

static int begin(struct unpacking *c, struct err *err)
{
	struct sections copy = c->sections;
	void *map;
	int r;

	copy.list = calloc(N, sizeof(*copy.list));
	c->out = memfd_create("out", MFD_CLOEXEC);
	if (!copy.list || !c->sections.list || c->out < 0)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(copy.list, c->sections.list, N * sizeof(*copy.list));
	r = unpacker_new(fcntl(c->packed, F_DUPFD_CLOEXEC, 0), fcntl(c->out, F_DUPFD_CLOEXEC, 0),
	                 &copy, &c->u, err);
	if (r < 0)
		return r;
	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, c->out, 0);
	c->map = map;
	return map == MAP_FAILED ? err_set_errno(err, "map") : 0;
}

static int run_round(struct unpacking *c, int round, struct err *err)
{
	pthread_t thread[READERS + 1];
	struct reader reader[READERS];
	int r;

	c->damaged = round % 2 == 1;
	r = c->damaged ? flip(c) : 0;
	if (r == 0)
		r = begin(c, err);
	if (r < 0)
		return r;
	for (int i = 0; i < READERS; i++) {
		reader[i] = (struct reader){ .c = c, .seed = (uint64_t)(round * READERS + i + 1) };
		if (pthread_create(&thread[i], NULL, run_reader, &reader[i]) != 0)
			abort();
	}
	if (pthread_create(&thread[READERS], NULL, run_finisher, c) != 0)
		abort();
	if (round % 3 == 2)
		unpacker_cancel(c->u);
	for (int i = 0; i <= READERS; i++)
		(void)pthread_join(thread[i], NULL);
	for (uint32_t i = 0; round % 3 != 2 && i < N; i++) {
		if (c->damaged && i == DAMAGED)
			continue;
		if (memcmp(c->map + (size_t)i * CODEC_SECTION, c->plain + (size_t)i * CODEC_SECTION,
		           section_plain_size(&c->sections, i)) != 0)
			complain(c, "not finished", i);
	}
	(void)munmap(c->map, SIZE);
	unpacker_unref(c->u);
	(void)close(c->out);
	return c->damaged ? flip(c) : 0;
}

static int make(struct unpacking *c, struct err *err)
{
	CLEANUP(codec_sections_release) struct codec_sections codec = CODEC_SECTIONS_INIT;
	const struct codec_cut cut = { .level = 1, .jobs = 2, .each = CODEC_SECTION };
	CLEANUP(close) int in = memfd_create("plain", MFD_CLOEXEC);
	struct prng prng = PRNG_INIT(1);
	int r;

	c->plain = malloc(SIZE);
	c->packed = memfd_create("packed", MFD_CLOEXEC);
	if (!c->plain || in < 0 || c->packed < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < SIZE; i++)
		c->plain[i] = i % 3 == 0 ? (uint8_t)prng_next(&prng) : (uint8_t)(i / 100);
	r = io_pwrite(in, c->plain, SIZE, 0);
	if (r == 0)
		r = codec_compress_parts(in, c->packed, &cut, &codec, err);
	return r < 0 ? r : sections_describe(c->packed, &codec, SIZE, &c->sections, err);
}

int main(void)
{
	struct unpacking c = { .packed = -1 };
	struct err err = ERR_INIT;
	int r = make(&c, &err);

	for (int round = 0; r == 0 && round < ROUNDS; round++)
		r = run_round(&c, round, &err);
	if (r < 0)
		(void)fprintf(stderr, "stress_unpacker: %s (%d)\n", err.msg, r);
	if (c.packed >= 0)
		(void)close(c.packed);
	sections_release(&c.sections);
	free(c.plain);
	return r < 0 || c.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
