/* SPDX-License-Identifier: Apache-2.0 */
#include "secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"

enum { SECRET_MAX = 1 << 20 };

int secret_file_new(const char *text)
{
	CLEANUP(close) int fd = memfd_create("assetfs-secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = fd < 0 ? -errno : io_write(fd, text, strlen(text));

	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return -errno;
	return TAKE_FD(fd);
}

char *secret_file_read(int fd)
{
	CLEANUP(free) char *text = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > SECRET_MAX)
		return NULL;
	text = calloc(1, (size_t)st.st_size + 1);
	if (!text || io_pread(fd, text, (size_t)st.st_size, 0) < 0)
		return NULL;
	return TAKE_PTR(text);
}
