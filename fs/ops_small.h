/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of small files.
 *
 * Where files are small, opening them is what costs, and most of that is asking
 * the daemon. In such a session it answers that it knows no open: the kernel
 * then opens and closes files by itself, and keeps what was read of them.
 * Passthrough is not to be had with that, for it is agreed on at open; so the
 * bytes of files end in the kernel's page cache of each such session, and the
 * region only passes them on (pusher.h). Who opens what is not seen.
 */
#pragma once

#include "image.h"
#include "ops.h"

/*
 * Whether @img is an image of small files: at least 1000 contents, those above
 * 1 MiB together at most a twentieth of the bytes. Where the manifest does not know, of an image
 * with more than 16384 contents it looks at some 4096: an estimate, the same each time.
 */
bool small_files_image(const struct image *img);

/* Put the operations of such a session in the place of others in *@ops. */
void ops_small(struct fuse_lowlevel_ops *ops);
