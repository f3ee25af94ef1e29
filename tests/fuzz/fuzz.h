/* SPDX-License-Identifier: Apache-2.0 */
/* What fuzz targets share. A property that does not hold ends the process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(bool property)
{
	if (!property)
		abort();
}

/* A failure has a negative code, the same in @err, and a message of one plain line. */
static inline void must_explain(int code, const struct err *err)
{
	must(code < 0 && err->code == code && err->msg[0] != '\0');
	for (const char *p = err->msg; *p != '\0'; p++)
		must((unsigned char)*p >= ' ' && *p != 0x7f);
}
