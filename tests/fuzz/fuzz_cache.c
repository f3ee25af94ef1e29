/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A build cache of any bytes is empty or gives digests that it has, by stamp. An
 * input whose first byte is odd gets the right digest at its end, for the bytes
 * behind a checksum are not to be trusted either.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "cache.h"

enum { HEADER = 16, RECORD = 40, CONTENTS = 64 };

static char dir[] = "/tmp/fuzz-cache-XXXXXX";
static int dirfd = -1;

static void remove_dir(void)
{
	(void)unlinkat(dirfd, ".assetpack-cache", 0);
	(void)rmdir(dir);
}

static void write_cache(const uint8_t *data, size_t size)
{
	int fd;

	if (dirfd < 0) {
		must(mkdtemp(dir));
		dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(dirfd >= 0 && atexit(remove_dir) == 0);
	}
	fd = openat(dirfd, ".assetpack-cache", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
}

/* Whether the record of @stamp and @digest is in the file. */
static bool has_record(const uint8_t *data, size_t size, uint64_t stamp,
                       const struct digest *digest)
{
	for (size_t at = HEADER; at + RECORD + DIGEST_SIZE <= size; at += RECORD) {
		if (memcmp(data + at, &stamp, sizeof(stamp)) == 0 &&
		    memcmp(data + at + sizeof(stamp), digest, DIGEST_SIZE) == 0)
			return true;
	}
	return false;
}

static void check(const uint8_t *data, size_t size)
{
	struct tree_node files[CONTENTS] = { 0 };
	struct new_content list[CONTENTS] = { 0 };
	CLEANUP(cache_close) struct cache *cache = cache_open(dirfd);

	must(cache);
	for (size_t i = 0; i < CONTENTS; i++) {
		size_t at = HEADER + i * RECORD;

		/* Some that the file may have, some that it has not. */
		files[i].stamp = i;
		if (i % 8 != 0 && at + sizeof(files[i].stamp) <= size)
			memcpy(&files[i].stamp, data + at, sizeof(files[i].stamp));
		list[i].file = &files[i];
	}
	cache_fill(cache, list, CONTENTS);
	for (size_t i = 0; i < CONTENTS; i++) {
		if (list[i].has_digest)
			must(has_record(data, size, list[i].file->stamp, &list[i].digest));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free) uint8_t *file = NULL;

	if (size < 1)
		return 0;
	file = malloc(size);
	must(file);
	memcpy(file, data + 1, size - 1);
	if (data[0] % 2 && size - 1 > DIGEST_SIZE) {
		struct digest digest;

		sha256(file, size - 1 - DIGEST_SIZE, &digest);
		memcpy(file + size - 1 - DIGEST_SIZE, &digest, DIGEST_SIZE);
	}
	write_cache(file, size - 1);
	check(file, size - 1);
	return 0;
}
