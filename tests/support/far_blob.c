/* SPDX-License-Identifier: Apache-2.0 */
#include "far_blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEP = 8192 };

struct descriptor far_blob(uint8_t name, uint64_t size)
{
	struct descriptor d = { .size = size };

	memset(d.digest.bytes, name, sizeof(d.digest.bytes));
	return d;
}

uint8_t far_byte(uint8_t name, uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8) * 7 + name + 1);
}

/* Take one of @count, if there are any. NOLINTNEXTLINE(readability-non-const-parameter) */
static bool take_one(int *count)
{
	int n = __atomic_load_n(count, __ATOMIC_RELAXED);

	while (n > 0) {
		if (__atomic_compare_exchange_n(count, &n, n - 1, /* weak= */ false,
		                                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

static unsigned n_sources(const struct far_place *place)
{
	return place->n_sources > 0 ? place->n_sources : 1;
}

/* The first source that is not in @but. */
static unsigned first_source(const struct far_place *place, uint32_t but)
{
	unsigned i = 0;

	while (i < n_sources(place) && (but >> i & 1))
		i++;
	return i;
}

static uint8_t lies_at(const struct far_place *place, unsigned source, uint64_t off)
{
	uint32_t liars = __atomic_load_n(&place->liars, __ATOMIC_RELAXED);

	return (liars >> source & 1) && off >= FAR_MARK && off < (uint64_t)2 * FAR_MARK;
}

static const char *far_source(void *arg, unsigned i)
{
	static const char *const names[FAR_SOURCES] = { "a", "b", "c", "d" };
	const struct far_place *place = arg;

	return i < n_sources(place) ? names[i] : NULL;
}

static int far_read(void *arg, const struct descriptor *blob, const struct blob_range *range,
                    struct fetch_order *order, struct err *err)
{
	struct far_place *place = arg;
	bool fails = take_one(&place->n_failures);
	uint8_t lie = take_one(&place->n_lies) ? 1 : 0;
	uint64_t end = range->off + (fails ? range->len / 2 : range->len);
	uint8_t bytes[STEP];

	order->now = first_source(place, order->wrong);
	if (order->now >= n_sources(place))
		return err_set(err, -EBADMSG, "nobody else has it");
	(void)__atomic_fetch_add(&place->n_reads, 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(&place->is_down, __ATOMIC_RELAXED))
		return err_set(err, -ECONNREFUSED, "nobody is there");
	if (__atomic_load_n(&place->is_missing, __ATOMIC_RELAXED))
		return err_set(err, -ENOENT, "it is missing");
	for (uint64_t off = range->off; off < end;) {
		size_t len = end - off < STEP ? (size_t)(end - off) : STEP;
		int r;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(far_byte(blob->digest.bytes[0], off + i) + lie +
			                     lies_at(place, order->now, off + i));
		(void)usleep(place->step_us);
		/* Before anybody can see them. */
		(void)__atomic_fetch_add(&place->n_bytes, len, __ATOMIC_RELAXED);
		if (off <= FAR_MARK && off + len > FAR_MARK)
			(void)__atomic_fetch_add(&place->asked[order->now], 1, __ATOMIC_RELAXED);
		r = order->take(order->arg, bytes, len, err);
		if (r < 0) {
			(void)__atomic_fetch_sub(&place->n_bytes, len, __ATOMIC_RELAXED);
			return r;
		}
		off += len;
	}
	return fails ? err_set(err, -ECONNRESET, "the connection broke") : 0;
}

static void far_release(void *arg)
{
	struct far_place *place = arg;

	(void)__atomic_fetch_add(&place->released, 1, __ATOMIC_RELEASE);
}

struct fetch_from far_from(struct far_place *place)
{
	return (struct fetch_from){ .read = far_read,
		                    .source = far_source,
		                    .release = far_release,
		                    .arg = place };
}

int far_wrong_bytes(int dir, const struct descriptor *blob, uint64_t off, size_t len)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close) int fd = openat(dir, digest_hex(&blob->digest, hex), O_RDONLY | O_CLOEXEC);
	CLEANUP(free) uint8_t *bytes = malloc(len);
	int wrong = 0;

	if (fd < 0 || !bytes || io_pread(fd, bytes, len, off) < 0)
		return -1;
	for (size_t i = 0; i < len; i++)
		wrong += bytes[i] != far_byte(blob->digest.bytes[0], off + i);
	return wrong;
}
