/* SPDX-License-Identifier: Apache-2.0 */
#include "pull_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "signed/signed.h"

enum { READ_STEP = 1 << 20 };

struct layout_source {
	struct layout *layout; /* owned */
	char *tag;             /* owned */
};

static int layout_source_images(const struct pull_source *source, struct image_set *ret,
                                struct err *err)
{
	const struct layout_source *from = source->arg;

	return layout_images(from->layout, from->tag, ret, err);
}

static int open_blob(const struct layout_source *from, const struct descriptor *d, const char *hex,
                     int *ret, struct err *err)
{
	const char *path = layout_path(from->layout);
	CLEANUP(close)
	int fd = openat(layout_blobs(from->layout), hex, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(err, -ENOENT, "'%s': blob %.12s is missing", path, hex);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "'%s': blob %.12s", path, hex);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->size)
		return err_set(err, -EBADMSG,
		               "'%s': blob %.12s is damaged: %lld bytes instead of %llu", path, hex,
		               (long long)st.st_size, (unsigned long long)d->size);
	*ret = TAKE_FD(fd);
	return 0;
}

static int layout_source_read(const struct pull_source *source, const struct pull_run *run,
                              const struct pull_sink *sink, struct err *err)
{
	const struct layout_source *from = source->arg;
	const struct descriptor *d = run->blob;
	uint64_t off = run->off, len = run->len;
	CLEANUP(free) void *buf = malloc(READ_STEP);
	CLEANUP(close) int fd = -1;
	char hex[DIGEST_HEX_SIZE];
	int r = buf ? 0 : err_set(err, -ENOMEM, "out of memory");

	if (r == 0)
		r = open_blob(from, d, digest_hex(&d->digest, hex), &fd, err);
	while (r == 0 && len > 0) {
		size_t n = len < READ_STEP ? (size_t)len : READ_STEP;

		r = io_pread(fd, buf, n, off);
		if (r < 0)
			return err_set(err, r, "'%s': blob %.12s could not be read: %s",
			               layout_path(from->layout), hex, strerrordesc_np(-r));
		r = sink->take(sink->arg, buf, n, err);
		off += n;
		len -= n;
	}
	return r;
}

static int layout_source_check(const struct pull_source *source, const struct signature_key *key,
                               const struct digest *image, struct err *err)
{
	const struct layout_source *from = source->arg;

	return signed_check(key, from->layout, image, err);
}

static void layout_source_release(struct pull_source *source)
{
	struct layout_source *from = source->arg;

	if (from) {
		layout_close(from->layout);
		free(from->tag);
	}
	free(from);
	free(source->name);
	*source = PULL_SOURCE_INIT;
}

/* Fill in what belongs to the layout; what was made when that fails is @source's. */
static int open_layout_source(const struct image_ref *ref, struct pull_source *source,
                              struct err *err)
{
	struct layout_source *from = source->arg;

	if (!from || asprintf(&source->name, "%s:%s", ref->layout, ref->tag) < 0) {
		source->name = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	from->tag = strdup(ref->tag);
	if (!from->tag)
		return err_set(err, -ENOMEM, "out of memory");
	return layout_open(ref->layout, &from->layout, err);
}

int pull_source_open_layout(const struct image_ref *ref, struct pull_source *ret, struct err *err)
{
	int r;

	*ret = (struct pull_source){
		.arg = calloc(1, sizeof(struct layout_source)),
		.jobs = 1,
		.images = layout_source_images,
		.read = layout_source_read,
		.check = layout_source_check,
		.release = layout_source_release,
	};
	r = open_layout_source(ref, ret, err);
	if (r < 0)
		layout_source_release(ret);
	return r;
}
