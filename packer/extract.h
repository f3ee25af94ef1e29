/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the tree of an image, or a part of it, to a file system. */
#pragma once

#include "image.h"

/*
 * Write node @node, called @path in the image, into directory @dir, which is
 * made when it is missing: what is in it if it is a directory, else itself
 * under its last name. Nothing that exists is replaced, but directories are
 * entered; symbolic links below @dir are never followed. A file has its name
 * only once it is complete.
 *
 * Files with damaged bytes are reported and left out, the others are written.
 * Returns 0; -EBADMSG when some were left out; -EEXIST; -errno.
 */
MUST_CHECK int extract(struct image *img, const struct node *node, const char *path,
                       const char *dir, struct err *err);
