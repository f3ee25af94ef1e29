/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mark, then sweep, both under the writers' lock: a build's blobs are reached
 * by nothing until its last step. What a manifest's layers are does not matter
 * here, so that layers of newer formats are kept as well; but everything that
 * may name others has to be understood, or else nothing is removed.
 */
#include "layout_gc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/table.h"
#include "blob_part.h"
#include "format.h"
#include "layout_writer.h"
#include "reach.h"

/* A blob that a tag reaches. */
struct reached {
	struct table_node hook;
	struct digest digest;
	uint64_t size;        /* as its descriptor says */
	bool queued;          /* has been, or is, in the queue */
	bool may_miss;        /* REACH_SUBJECT */
	struct reached *next; /* in the queue of those to read */
};

struct gc {
	const char *path;             /* borrowed */
	struct layout_writer *writer; /* owned; holds the lock */
	struct layout *layout;        /* owned */
	struct table reached;
	struct reached *queue;
	bool dry_run;
	struct gc_result result;
};

static void gc_release_cleanup(struct gc *gc)
{
	for (struct table_node *n = table_walk(&gc->reached, NULL), *next; n; n = next) {
		next = table_walk(&gc->reached, n);
		free(TABLE_ENTRY(n, struct reached, hook));
	}
	table_release(&gc->reached);
	layout_close(gc->layout);
	layout_writer_close(gc->writer);
}

static struct reached *find(const struct gc *gc, const struct digest *digest)
{
	for (struct table_node *n = table_first(&gc->reached, digest_key(digest)); n;
	     n = table_next(n)) {
		struct reached *blob = TABLE_ENTRY(n, struct reached, hook);

		if (digest_equal(&blob->digest, digest))
			return blob;
	}
	return NULL;
}

/* The entry for @digest, made if need be. NULL when memory runs out. */
static struct reached *find_or_add(struct gc *gc, const struct digest *digest)
{
	struct reached *blob = find(gc, digest);

	if (blob)
		return blob;
	blob = calloc(1, sizeof(*blob));
	if (!blob)
		return NULL;
	blob->digest = *digest;
	if (table_insert(&gc->reached, &blob->hook, digest_key(digest)) < 0) {
		free(blob);
		return NULL;
	}
	return blob;
}

/* Mark a blob, and queue it when it names others. */
static int reach(void *arg, const struct descriptor *d, enum reach_role role, struct err *err)
{
	struct gc *gc = arg;
	struct reached *blob = find_or_add(gc, &d->digest);

	if (!blob)
		return err_set(err, -ENOMEM, "out of memory");
	if (role == REACH_LEAF || blob->queued)
		return 0;
	blob->size = d->size;
	blob->may_miss = role == REACH_SUBJECT;
	blob->queued = true;
	blob->next = gc->queue;
	gc->queue = blob;
	return 0;
}

static int follow_blob(struct gc *gc, const struct reached *blob, struct err *err)
{
	const struct descriptor d = { .digest = blob->digest, .size = blob->size };
	CLEANUP(free) char *text = NULL;
	char what[40], hex[DIGEST_HEX_SIZE];
	struct err reason = ERR_INIT;
	int r = layout_read_blob(gc->layout, &d, &text, &reason);

	if (r == -ENOENT && blob->may_miss)
		return 0;
	if (r < 0) /* missing is damage, too: what it named may still be there */
		return err_set(err, r == -ENOENT ? -EBADMSG : r, "%s", reason.msg);
	(void)snprintf(what, sizeof(what), "blob %.12s", digest_hex(&blob->digest, hex));
	r = reach_parse(text, d.size, what, reach, gc, err);
	return r < 0 ? err_wrap(err, r, "'%s'", gc->path) : 0;
}

static int mark(struct gc *gc, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len = 0;
	int r = io_read_file(layout_writer_dir(gc->writer), "index.json", FORMAT_JSON_MAX, &text,
	                     &len, err);

	if (r == 0)
		r = reach_parse(text, len, "'index.json'", reach, gc, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", gc->path);
	while (r == 0 && gc->queue) {
		const struct reached *blob = gc->queue;

		gc->queue = blob->next;
		r = follow_blob(gc, blob, err);
	}
	return r;
}

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* Count file @name of @dirfd as one of @n and @bytes, and remove it unless @keep. */
static int count(int dirfd, const char *name, bool keep, uint64_t *n, uint64_t *bytes)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	if (!keep && unlinkat(dirfd, name, 0) < 0)
		return -errno;
	++*n;
	*bytes += (uint64_t)st.st_size;
	return 0;
}

/* What becomes of file @name; names that are neither digests nor unfinished files' are not ours. */
static int sweep_file(struct gc *gc, int dirfd, const char *name)
{
	struct gc_result *res = &gc->result;
	struct digest digest;

	if (io_is_temp_name(name) || blob_part_is_name(name))
		return count(dirfd, name, gc->dry_run, &res->n_unfinished, &res->unfinished_bytes);
	if (dirfd != layout_writer_blobs(gc->writer) ||
	    digest_parse(name, strlen(name), &digest) < 0)
		return 0;
	if (find(gc, &digest))
		return count(dirfd, name, /* keep= */ true, &res->n_kept, &res->kept_bytes);
	return count(dirfd, name, gc->dry_run, &res->n_blobs, &res->blob_bytes);
}

static int sweep(struct gc *gc, int dirfd, struct err *err)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(closedir) DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int r;

	if (!dir) {
		r = err_set_errno(err, "'%s': directory could not be read", gc->path);
		if (copy >= 0)
			(void)close(copy);
		return r;
	}
	for (;;) {
		errno = 0;
		/* The stream is this function's own. NOLINTNEXTLINE(concurrency-mt-unsafe) */
		entry = readdir(dir);
		if (!entry)
			break;
		r = sweep_file(gc, dirfd, entry->d_name);
		if (r < 0)
			return err_set(err, r, "'%s': '%s' could not be removed: %s", gc->path,
			               entry->d_name, strerrordesc_np(-r));
	}
	return errno != 0 ? err_set_errno(err, "'%s': directory could not be read", gc->path) : 0;
}

int layout_gc(const char *path, bool dry_run, struct gc_result *ret, struct err *err)
{
	CLEANUP(gc_release) struct gc gc = { .path = path, .dry_run = dry_run };
	int r = layout_open(path, &gc.layout, err);

	if (r == 0)
		r = layout_writer_lock(path, &gc.writer, err);
	if (r == 0)
		r = mark(&gc, err);
	if (r == 0)
		r = sweep(&gc, layout_writer_blobs(gc.writer), err);
	if (r == 0)
		r = sweep(&gc, layout_writer_dir(gc.writer), err);
	if (r < 0)
		return r;
	*ret = gc.result;
	return 0;
}
