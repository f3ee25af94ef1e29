/* SPDX-License-Identifier: Apache-2.0 */
/* Who has given which bytes of a blob, and whose were wrong. All with the lock of the fetch held. */
#pragma once

#include "fetch_internal.h"

/* The @source-th of @origin has given @range. */
void fetch_note_giver(const struct origin *origin, struct blob *blob, unsigned source,
                      const struct range *range);

/*
 * The bytes of @range are wrong, and no longer there. Returns whether somebody is left who may have
 * others; else the range is hopeless for a moment.
 */
bool fetch_blame(const struct origin *origin, struct blob *blob, const struct range *range);

/*
 * Whether others have found out since @round that bytes of @range are wrong, so that those that are there
 * now may be good.
 */
bool fetch_damage_known(const struct blob *blob, uint64_t round, const struct range *range);

/* Set who of @ret is not to be asked for @range. Read() is going to be told. */
void fetch_wrong_sources(const struct origin *origin, const struct blob *blob,
                         const struct range *range, struct fetch_order *ret);

/* Where, from @pos on and up to @end, others are to be asked than at @pos. */
uint64_t fetch_border(const struct blob *blob, uint64_t pos, uint64_t end);

/* Ask everybody again for what has been hopeless for long enough. */
void fetch_forgive(struct blob *blob);

void fetch_free_givers(struct blob *blob);
