/* SPDX-License-Identifier: Apache-2.0 */
/* Byte by byte, the lowest first; bytes that all keys have in common cost nothing. */
#include "keyed.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { BYTES = 8, VALUES = 256 };

static uint8_t byte_of(const struct keyed *k, unsigned i)
{
	return (uint8_t)(k->key >> (8 * i));
}

/* Turn how many there are of each value into where these begin. Returns whether there is but one value. */
static bool begin_values(size_t *counts, size_t n)
{
	size_t sum = 0;

	for (size_t v = 0; v < VALUES; v++) {
		size_t count = counts[v];

		if (count == n)
			return true;
		counts[v] = sum;
		sum += count;
	}
	return false;
}

int keyed_sort(struct keyed *list, size_t n)
{
	CLEANUP(free) struct keyed *room = calloc(n + 1, sizeof(*room));
	size_t counts[BYTES][VALUES] = { 0 };
	struct keyed *from = list, *to = room;

	if (!room)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		for (unsigned b = 0; b < BYTES; b++)
			counts[b][byte_of(&list[i], b)]++;
	}
	for (unsigned b = 0; b < BYTES; b++) {
		struct keyed *swapped = from;

		if (begin_values(counts[b], n))
			continue;
		for (size_t i = 0; i < n; i++)
			to[counts[b][byte_of(&from[i], b)]++] = from[i];
		from = to;
		to = swapped;
	}
	if (from != list)
		memcpy(list, from, n * sizeof(*list));
	return 0;
}
