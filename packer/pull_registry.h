/* SPDX-License-Identifier: Apache-2.0 */
/* Pulling from a registry. As pull_source.h says. */
#pragma once

#include "pull_source.h"
#include "registry_args.h"

/* Open the repository of @ref. Returns 0 or what registry_open() returns. */
MUST_CHECK int pull_source_open_registry(const struct reference *ref,
                                         const struct registry_args *args, struct pull_source *ret,
                                         struct err *err);
