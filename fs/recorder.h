/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording of what is read of a session's files, in order of first use.
 *
 * While a recording runs, files are opened in cached mode and without what the kernel has
 * of them, so that it asks for what is read and mapped; it asks for some more,
 * by its read-ahead. A file that is open in passthrough mode already counts as used whole.
 *
 * A recording holds at most RECORDER_USES_MAX uses, 40 MiB of memory; what comes after
 * those is left out. Functions may be called from any thread.
 */
#pragma once

#include "index.h"
#include "uses.h"

enum { RECORDER_USES_MAX = 1 << 18 };

struct recorder;

/* A recorder that does not record. Returns NULL when memory runs out. */
struct recorder *recorder_new(void);

/* Accepts NULL. */
void recorder_free(struct recorder *rec);
DEFINE_CLEANUP(struct recorder *, recorder_free)

/*
 * Begin to record what processes of the mount namespace @ns (users.h) do, or all when it is
 * 0. @output (NULL: none) is remembered for who stops. Returns 0, -EALREADY or -ENOMEM.
 */
MUST_CHECK int recorder_start(struct recorder *rec, uint64_t ns, const char *output,
                              struct err *err);

/* Whether it records. Lock-free. */
bool recorder_on(const struct recorder *rec);

/* Process @pid has opened @ino; @unseen: in passthrough mode. Nothing happens while it does not record. */
void recorder_open(struct recorder *rec, int pid, uint64_t ino, bool unseen);

/* Process @pid reads @len bytes at @off of @ino. As recorder_open(). */
void recorder_read(struct recorder *rec, int pid, uint64_t ino, uint64_t off, uint64_t len);

/* What was recorded. Files of uses are inode numbers. */
struct recording {
	struct uses uses;
	char *output; /* owned; or NULL */
	bool cut;     /* there was more */
};

#define RECORDING_INIT ((struct recording){ .uses = USES_INIT(RECORDER_USES_MAX) })

void recording_release(struct recording *recording);

static inline void recording_release_cleanup(struct recording *recording)
{
	recording_release(recording);
}

/* Stop, and hand out what was recorded. Returns 0, or -ESRCH when it does not record. */
MUST_CHECK int recorder_stop(struct recorder *rec, struct recording *ret, struct err *err);

/*
 * Write @recording of files of @idx to @fd as a trace (format.md §7). A file that was only opened is
 * in it when open fills it whole. Looks through the tree once, which takes a second for a million
 * files. Sets *@ret_n to the number of uses written, and @recording->cut when not all had room.
 * Returns 0 or -errno.
 */
MUST_CHECK int recording_write(struct recording *recording, struct index *idx, int fd,
                               uint64_t *ret_n, struct err *err);
