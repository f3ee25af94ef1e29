/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of borders share. */
#pragma once

#include <criterion/criterion.h>
#include <string.h>

#include "base/cleanup.h"
#include "borders.h"
#include "built_file.h"

enum { MIN_RUN = 1000 };

/* A file that counts how it is read, and can fail. */
struct memory {
	const uint8_t *data;
	uint64_t size;
	size_t n_reads;
	size_t fail_at; /* the number of the read that fails; 0: none */
};

static inline int memory_read(void *arg, void *buf, size_t len, uint64_t off)
{
	struct memory *m = arg;

	cr_assert(len > 0 && off <= m->size && len <= m->size - off, "reads %zu at %llu of %llu",
	          len, (unsigned long long)off, (unsigned long long)m->size);
	if (++m->n_reads == m->fail_at)
		return -EIO;
	memcpy(buf, m->data + off, len);
	return 0;
}

/* Find, and check what holds for any file. */
static inline struct borders find(const uint8_t *data, size_t size, uint64_t min_run,
                                  size_t *n_reads)
{
	struct memory m = { .data = data, .size = size };
	struct borders found;

	cr_assert_eq(borders_find(memory_read, &m, size, min_run, &found), 0);
	for (size_t i = 0; i < found.n; i++)
		cr_assert(found.at[i] > (i > 0 ? found.at[i - 1] : 0) && found.at[i] < size);
	cr_assert(m.n_reads <= 16 + size / 30, "%zu reads of %zu bytes", m.n_reads, size);
	if (n_reads)
		*n_reads = m.n_reads;
	return found;
}

static inline void expect(const struct built *b, const uint64_t *wanted, size_t n_wanted)
{
	CLEANUP(borders_release) struct borders found = find(b->data, b->len, MIN_RUN, NULL);

	cr_expect_eq(found.n, n_wanted, "%zu borders, not %zu", found.n, n_wanted);
	for (size_t i = 0; i < found.n && i < n_wanted; i++)
		cr_expect_eq(found.at[i], wanted[i], "border %zu is at %llu, not %llu", i,
		             (unsigned long long)found.at[i], (unsigned long long)wanted[i]);
}

#define EXPECT(b, ...)                                 \
	expect((b), (const uint64_t[]){ __VA_ARGS__ }, \
	       sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))
#define EXPECT_NONE(b) expect((b), NULL, 0)

/* Begin a PNG; returns where the run of image data begins. */
static inline size_t start_png(struct built *b)
{
	built_png_signature(b);
	built_png_chunk(b, "IHDR", 13);
	built_png_chunk(b, "tIME", 7);
	return b->len;
}
