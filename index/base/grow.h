/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow by doubling. */
#pragma once

#include <stddef.h>
#include <stdlib.h>

#include "base/err.h"

enum { GROW_FIRST = 16 };

/*
 * Make room for an element after the @n that @array (or NULL) holds; *@max is
 * what it has room for. Returns the array, which may have moved, or NULL when
 * memory runs out, with the old one untouched.
 */
MUST_CHECK static inline void *array_grow(void *array, size_t n, size_t *max, size_t size)
{
	size_t wanted = *max > 0 ? *max * 2 : GROW_FIRST;
	void *grown;

	if (n < *max)
		return array;
	grown = reallocarray(array, wanted, size);
	if (grown)
		*max = wanted;
	return grown;
}
