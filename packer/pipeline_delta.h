/* SPDX-License-Identifier: Apache-2.0 */
/* Making deltas of slices whose contents have a base. One thread at a time. */
#pragma once

#include "pipeline_internal.h"

struct delta_maker;

/* Returns NULL when memory runs out. */
struct delta_maker *delta_maker_new(int level);

/* Accepts NULL. */
void delta_maker_free(struct delta_maker *maker);
DEFINE_CLEANUP(struct delta_maker *, delta_maker_free)

/*
 * Compress slice @s of @b, whose frame is made, with what its contents' bases have in its
 * place as prefix; keep that if it is worth its while. Returns 0 or -errno.
 */
MUST_CHECK int delta_maker_try(struct delta_maker *maker, struct block *b, struct slice *s);
