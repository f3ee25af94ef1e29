/* SPDX-License-Identifier: Apache-2.0 */
#include "open_image.h"

#include <stdio.h>
#include <sys/mman.h>

int open_image(const struct layout *layout, const struct manifest *manifest, struct image **ret,
               struct err *err)
{
	CLEANUP(close) int fd = memfd_create("index", MFD_CLOEXEC);
	char path[32];
	int r;

	if (fd < 0)
		return err_set_errno(err, "memory for the index");
	r = image_unpack_index(layout, manifest, fd, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return image_open(layout, manifest, path, ret, err);
}
