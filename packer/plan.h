/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which contents are packed, and where groups of small ones end
 * (format.md §5). A function of the contents alone.
 */
#pragma once

#include "new_content.h"

/*
 * Put the @n contents in order: class after class, that is set of platforms,
 * those of more platforms first; in a class small contents, then large ones;
 * in each by extension, then path of the first file. Marks where groups end.
 */
void plan_order(struct new_content **list, size_t n, uint32_t group_target);

/*
 * Whether a group ends after a content of @digest and @size: true for a share
 * @size / @group_target of all digests, whatever came before.
 */
bool plan_cuts_after(const struct digest *digest, uint64_t size, uint32_t group_target);
