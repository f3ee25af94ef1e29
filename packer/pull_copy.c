/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs on their way into the layout. Without the names of digests until they are known to be right. */
#include <errno.h>
#include <stdlib.h>

#include "blob_part.h"
#include "blob_writer.h"
#include "crew.h"
#include "pull_internal.h"

void pull_progress(struct pull *p, uint64_t bytes)
{
	uint64_t done = __atomic_add_fetch(&p->done, bytes, __ATOMIC_RELAXED);

	if (pthread_mutex_trylock(&p->progress_lock) != 0)
		return;
	progress_update(&p->progress, done);
	(void)pthread_mutex_unlock(&p->progress_lock);
}

static void count_read(struct pull *p, uint64_t bytes)
{
	(void)__atomic_add_fetch(&p->result.read_bytes, bytes, __ATOMIC_RELAXED);
	pull_progress(p, bytes);
}

/* A blob that comes in one go, or not at all. */
struct incoming {
	struct pull *p;
	struct blob_writer writer;
};

static void incoming_release_cleanup(struct incoming *in)
{
	blob_writer_release(&in->writer);
}

static int take_bytes(void *arg, const void *data, size_t len, struct err *err)
{
	struct incoming *in = arg;
	int r = blob_writer_append(&in->writer, data, len, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", in->p->o->image->layout);
	count_read(in->p, len);
	return 0;
}

static int copy_whole(struct pull *p, const char *what, const struct descriptor *d, struct err *err)
{
	CLEANUP(incoming_release) struct incoming in = { .p = p, .writer = BLOB_WRITER_INIT };
	const struct pull_sink sink = { .take = take_bytes, .arg = &in };
	struct registry_sources from = REGISTRY_SOURCES_INIT;
	const struct pull_run run = { .blob = d, .len = d->size, .from = &from };
	const struct pull_source *source = p->o->source;
	const char *path = p->o->image->layout;
	int r = blob_writer_open(&in.writer, layout_writer_blobs(p->writer), what, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", path);
	r = source->read(source, &run, &sink, err);
	if (r < 0)
		return r;
	r = blob_writer_publish_as(&in.writer, &d->digest, err);
	if (r == -EBADMSG)
		return err_wrap(err, r, "'%s': damaged", source->name);
	return r < 0 ? err_wrap(err, r, "'%s'", path) : 0;
}

/* A blob that can come bit by bit. */
struct coming {
	struct pull *p;
	struct blob_part part;
};

static void coming_release_cleanup(struct coming *in)
{
	blob_part_release(&in->part);
}

static int take_part(void *arg, const void *data, size_t len, struct err *err)
{
	struct coming *in = arg;
	int r = blob_part_append(&in->part, data, len, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", in->p->o->image->layout);
	count_read(in->p, len);
	return 0;
}

/*
 * Whether damage may have come from elsewhere than from all who have the blob: from what was
 * there before, with which @from has nothing to do then, or from a mirror.
 */
static bool may_be_better(const struct pull *p, const struct blob_part *part,
                          struct registry_sources *from)
{
	const struct pull_source *source = p->o->source;

	if (part->found > 0)
		*from = REGISTRY_SOURCES_INIT;
	return part->found > 0 || (source->has_other && source->has_other(source, from));
}

/* Copy what is missing of @d. Returns 1 when it is damaged, and another try may go better. */
static int copy_rest(struct pull *p, const struct descriptor *d, struct registry_sources *from,
                     struct err *err)
{
	CLEANUP(coming_release) struct coming in = { .p = p, .part = BLOB_PART_INIT };
	const struct pull_sink sink = { .take = take_part, .arg = &in };
	struct pull_run run = { .blob = d, .from = from };
	const struct pull_source *source = p->o->source;
	const char *path = p->o->image->layout;
	int r = blob_part_open(&in.part, layout_writer_blobs(p->writer), d, err);

	if (r < 0)
		return err_wrap(err, r, "'%s'", path);
	pull_progress(p, in.part.found);
	run.off = in.part.found;
	run.len = d->size - in.part.found;
	r = source->read(source, &run, &sink, err);
	if (r < 0)
		return r;
	r = blob_part_publish(&in.part, err);
	if (r == -EBADMSG && may_be_better(p, &in.part, from)) {
		(void)__atomic_sub_fetch(&p->done, d->size, __ATOMIC_RELAXED);
		return 1;
	}
	if (r == -EBADMSG)
		return err_wrap(err, r, "'%s': damaged", source->name);
	return r < 0 ? err_wrap(err, r, "'%s'", path) : 0;
}

int pull_copy(struct pull *p, const char *what, const struct descriptor *d, struct err *err)
{
	struct registry_sources from = REGISTRY_SOURCES_INIT;
	int r;

	if (!p->o->source->is_far)
		return copy_whole(p, what, d, err);
	do
		r = copy_rest(p, d, &from, err);
	while (r == 1);
	return r;
}

/* Blobs to be copied by several threads. */
struct batch {
	struct pull *p;
	struct crew crew;
	const struct descriptor *list;
	size_t n;
	size_t next; /* atomic */
};

static int copy_some(void *arg, struct progress *progress, struct err *err)
{
	struct batch *b = arg;
	int r = 0;

	(void)progress; /* whoever has something to show shows it */
	while (r == 0 && !crew_failed(&b->crew)) {
		size_t i = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED);

		if (i >= b->n)
			return 0;
		r = pull_copy(b->p, "pack", &b->list[i], err);
	}
	return r;
}

int pull_copy_all(struct pull *p, const struct descriptor *list, size_t n, struct err *err)
{
	struct batch b = { .p = p, .crew = CREW_INIT, .list = list, .n = n };
	unsigned jobs = p->o->source->jobs < n ? p->o->source->jobs : (unsigned)n;

	return n > 0 ? crew_run(&b.crew, jobs, copy_some, &b, &p->progress, err) : 0;
}
