/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index that is unpacked while it is in use: section by section, those that somebody asks for
 * first. Each is compared with its digest before a byte of it is written.
 *
 * Any thread may call any function. Whoever needs a section unpacks it, or waits for another one
 * that needs it; never for unpacker_finish(), which may run at the lowest priority.
 */
#pragma once

#include "sections.h"

struct unpacker;

/*
 * Unpack the sections of the blob open at @blob_fd to the file open at @out_fd, which is empty, and
 * gets its whole size here. Takes both descriptors, and what @sections has, also when it fails.
 * Returns 0; -ENOSPC when there is no room for the file; -errno.
 */
MUST_CHECK int unpacker_new(int blob_fd, int out_fd, struct sections *sections,
                            struct unpacker **ret, struct err *err);

/* One more owner. */
struct unpacker *unpacker_ref(struct unpacker *u);

/* Accepts NULL. Freed with the last owner. */
void unpacker_unref(struct unpacker *u);
DEFINE_CLEANUP(struct unpacker *, unpacker_unref)

/*
 * Make the @len plain bytes at @off be in the file. Returns 0; -EBADMSG when a section is damaged;
 * -errno. After a failure the next call tries again.
 */
MUST_CHECK int unpacker_need(struct unpacker *u, uint64_t off, uint64_t len, struct err *err);

/*
 * Unpack everything that is not there, also after a failure, of which the first is returned.
 * -ECANCELED after unpacker_cancel(). One thread.
 */
MUST_CHECK int unpacker_finish(struct unpacker *u, struct err *err);

/* Let unpacker_finish() end soon. What is needed is unpacked all the same. */
void unpacker_cancel(struct unpacker *u);
