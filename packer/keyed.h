/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting what is large, or far away, by numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The key of the element at place @at of some array. */
struct keyed {
	uint64_t key;
	size_t at;
};

/* Sort by key; equal ones stay in their order. Takes as much memory once more. Returns 0 or -ENOMEM. */
MUST_CHECK int keyed_sort(struct keyed *list, size_t n);
