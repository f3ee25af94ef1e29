/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/feed.h"
#include "base/io.h"

/* A file of @size bytes that say where they are. */
static int make_file(size_t size)
{
	CLEANUP(close) int fd = memfd_create("feed", MFD_CLOEXEC);
	CLEANUP(free) uint8_t *bytes = malloc(size + 8);

	cr_assert_geq(fd, 0);
	for (size_t i = 0; i < size; i += 4) {
		uint32_t n = (uint32_t)i * 2654435761u;

		memcpy(bytes + i, &n, sizeof(n));
	}
	cr_assert_eq(io_pwrite(fd, bytes, size, 0), 0);
	return TAKE_FD(fd);
}

struct seen {
	uint8_t *bytes;
	size_t n;
};

static void note(void *arg, const void *data, size_t len)
{
	struct seen *seen = arg;

	memcpy(seen->bytes + seen->n, data, len);
	seen->n += len;
}

/* Read a file of @size bytes by a feed and compare what is given and what is seen. */
static void expect_all(size_t size)
{
	CLEANUP(close) int fd = make_file(size);
	CLEANUP(feed_free) struct feed *feed = NULL;
	CLEANUP(free) uint8_t *bytes = malloc(size + 1);
	CLEANUP(free) uint8_t *noted = malloc(size + 1);
	struct seen seen = { .bytes = noted, .n = 0 };
	const void *data;
	size_t len, off = 0;
	int r;

	cr_assert_eq(io_pread(fd, bytes, size, 0), 0);
	cr_assert_eq(feed_open(fd, size, note, &seen, &feed), 0);
	while ((r = feed_next(feed, &data, &len)) == 1) {
		cr_assert_leq(off + len, size);
		cr_assert_eq(memcmp(bytes + off, data, len), 0, "at %zu of %zu", off, size);
		off += len;
	}
	cr_assert_eq(r, 0);
	cr_assert_eq(off, size);
	cr_assert_eq(seen.n, size);
	cr_assert_eq(memcmp(noted, bytes, size), 0);
	cr_assert_eq(feed_next(feed, &data, &len), 0, "the end stays the end");
}

Test(feed, gives_all_bytes_in_order)
{
	static const size_t sizes[] = { 0,
		                        4,
		                        FEED_BLOCK,
		                        FEED_BLOCK + 4,
		                        4 * FEED_BLOCK,
		                        4 * FEED_BLOCK + 4,
		                        37 * FEED_BLOCK - 8 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		expect_all(sizes[i]);
}

Test(feed, says_when_the_file_has_become_shorter)
{
	static const size_t claimed[] = { 100, 20 * FEED_BLOCK };

	for (size_t i = 0; i < sizeof(claimed) / sizeof(claimed[0]); i++) {
		CLEANUP(close) int fd = make_file(claimed[i] / 2);
		CLEANUP(feed_free) struct feed *feed = NULL;
		const void *data;
		size_t len;
		int r;

		cr_assert_eq(feed_open(fd, claimed[i], NULL, NULL, &feed), 0);
		while ((r = feed_next(feed, &data, &len)) == 1)
			;
		cr_assert_eq(r, -ENODATA);
	}
}

Test(feed, can_be_left_at_any_block)
{
	CLEANUP(close) int fd = make_file(30 * FEED_BLOCK);

	for (int taken = 0; taken < 12; taken++) {
		CLEANUP(feed_free) struct feed *feed = NULL;
		const void *data;
		size_t len;

		cr_assert_eq(feed_open(fd, 30 * FEED_BLOCK, NULL, NULL, &feed), 0);
		for (int i = 0; i < taken; i++)
			cr_assert_eq(feed_next(feed, &data, &len), 1);
	}
}
