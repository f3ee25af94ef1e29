/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large index can be unpacked in two ways, whole or in sections. Whoever made the image could
 * have them differ, and then two nodes would see two trees.
 */
#include "verify_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/io.h"
#include "layout_writer.h"
#include "unpacker.h"

static int digest_of(int fd, struct digest *ret, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return layout_file_digest(path, ret, err);
}

/* The digest of the database, unpacked as one frame. */
static int digest_whole(const struct verifier *v, const struct manifest *m, struct digest *ret,
                        struct err *err)
{
	CLEANUP(close) int fd = memfd_create("index", MFD_CLOEXEC);
	int r = fd < 0 ? err_set_errno(err, "memory for the index")
	               : image_unpack_index(v->layout, m, fd, err);

	return r < 0 ? r : digest_of(fd, ret, err);
}

/* The same of its @sections, which it takes. */
static int digest_sections(const struct verifier *v, const struct manifest *m,
                           struct sections *sections, struct digest *ret, struct err *err)
{
	CLEANUP(unpacker_unref) struct unpacker *unpacker = NULL;
	CLEANUP(close) int fd = memfd_create("sections", MFD_CLOEXEC);
	CLEANUP(close) int out = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int blob = openat(layout_blobs(v->layout), digest_hex(&m->index.digest, hex),
	                  O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (blob < 0 || out < 0)
		return err_set_errno(err, "index '%.12s'", hex);
	r = unpacker_new(TAKE_FD(blob), TAKE_FD(out), sections, &unpacker, err);
	if (r == 0)
		r = unpacker_finish(unpacker, err);
	return r < 0 ? r : digest_of(fd, ret, err);
}

int verify_sections(struct verifier *v, const struct manifest *m, struct err *err)
{
	CLEANUP(sections_release) struct sections sections = SECTIONS_INIT;
	struct digest whole, parts;
	int r = sections_read(v->layout, m, &sections, err);

	if (r == 1)
		r = digest_sections(v, m, &sections, &parts, err);
	else if (r == 0)
		return 0;
	if (r == 0)
		r = digest_whole(v, m, &whole, err);
	if (r < 0)
		return finding_or_error(v, r, err);
	if (!digest_equal(&whole, &parts))
		finding(v, "index: its sections are not what the whole of it is");
	return 0;
}
