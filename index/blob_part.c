/* SPDX-License-Identifier: Apache-2.0 */
#include "blob_part.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define PREFIX ".part-"

enum {
	BLOB_MODE = 0444,
	STEP = 1 << 18,
	WRITEBACK_STEP = 4 << 20, /* bytes */
};

bool blob_part_is_name(const char *name)
{
	struct digest digest;

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
	       digest_parse(name + strlen(PREFIX), strlen(name) - strlen(PREFIX), &digest) == 0;
}

/* Hash the bytes that there are, and find their end. */
static int read_back(struct blob_part *part, struct err *err)
{
	CLEANUP(free) void *buf = malloc(STEP);
	struct stat st;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	if (fstat(part->fd, &st) < 0)
		return err_set_errno(err, "'%s'", part->name);
	if ((uint64_t)st.st_size > part->d.size) {
		if (ftruncate(part->fd, 0) < 0)
			return err_set_errno(err, "'%s' could not be cut", part->name);
		return 0;
	}
	while (part->size < (uint64_t)st.st_size) {
		uint64_t left = (uint64_t)st.st_size - part->size;
		size_t n = left < STEP ? (size_t)left : STEP;
		int r = io_pread(part->fd, buf, n, part->size);

		if (r < 0)
			return err_set(err, r, "'%s' could not be read: %s", part->name,
			               strerrordesc_np(-r));
		sha256_update(part->hash, buf, n);
		part->size += n;
	}
	return 0;
}

int blob_part_open(struct blob_part *part, int dirfd, const struct descriptor *d, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	int r;

	*part = BLOB_PART_INIT;
	part->dirfd = dirfd;
	part->d = *d;
	(void)snprintf(part->name, sizeof(part->name), PREFIX "%s", digest_hex(&d->digest, hex));
	part->hash = sha256_new();
	if (!part->hash)
		return err_set(err, -ENOMEM, "out of memory");
	part->fd = openat(dirfd, part->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (part->fd < 0)
		return err_set_errno(err, "'%s' could not be opened", part->name);
	r = read_back(part, err);
	part->found = part->size;
	part->begun = part->size;
	return r;
}

/* As blob_writer.c has it: what is on its way to the disk is not waited for in the end. */
static void begin_writeback(struct blob_part *part)
{
	if (part->size - part->begun < WRITEBACK_STEP)
		return;
	(void)sync_file_range(part->fd, (off_t)part->begun, (off_t)(part->size - part->begun),
	                      SYNC_FILE_RANGE_WRITE);
	part->begun = part->size;
}

int blob_part_append(struct blob_part *part, const void *data, size_t len, struct err *err)
{
	int r = io_pwrite(part->fd, data, len, part->size);

	if (r < 0)
		return err_set(err, r, "'%s' could not be written: %s", part->name,
		               strerrordesc_np(-r));
	sha256_update(part->hash, data, len);
	part->size += len;
	begin_writeback(part);
	return 0;
}

int blob_part_publish(struct blob_part *part, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;

	(void)digest_hex(&part->d.digest, hex);
	sha256_final(part->hash, &digest);
	if (!digest_equal(&digest, &part->d.digest)) {
		(void)unlinkat(part->dirfd, part->name, 0);
		part->name[0] = '\0';
		return err_set(err, -EBADMSG, "blob '%.12s' has another digest", hex);
	}
	if (fchmod(part->fd, BLOB_MODE) < 0 || fsync(part->fd) < 0)
		return err_set_errno(err, "'%s' could not be written", part->name);
	if (renameat(part->dirfd, part->name, part->dirfd, hex) < 0)
		return err_set_errno(err, "'%s' could not be put in place", hex);
	part->name[0] = '\0';
	return 0;
}

void blob_part_release(struct blob_part *part)
{
	if (part->fd >= 0)
		(void)close(part->fd);
	if (part->name[0] != '\0' && part->size == 0)
		(void)unlinkat(part->dirfd, part->name, 0);
	sha256_free(part->hash);
	*part = BLOB_PART_INIT;
}
