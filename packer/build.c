/* SPDX-License-Identifier: Apache-2.0 */
#include "build.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/stat.h>

#include "base/aside.h"
#include "base/io.h"
#include "budget.h"
#include "cache.h"
#include "contents.h"
#include "format.h"
#include "last_build.h"
#include "notes.h"
#include "oci_image.h"
#include "old_early.h"
#include "plan.h"
#include "publish.h"
#include "reuse.h"
#include "trace.h"

struct build {
	const struct build_options *options;
	struct source sources[PLATFORMS_MAX + 1]; /* the common one first */
	unsigned n_sources;
	struct platform_tree trees[PLATFORMS_MAX]; /* one for each image */
	unsigned n_trees;
	char *trace; /* owned; its text, or NULL */
	size_t trace_len;
	struct first_uses uses;
	struct contents contents;
	struct layout_writer *writer; /* owned */
	struct cache *cache;          /* owned */
	struct old_early *early;      /* owned; NULL: nothing is opened early */
	struct old old;
	struct last_build last;
	bool last_known;     /* last.seen is what this build sees */
	struct packs *packs; /* owned */
	struct manifest manifests[PLATFORMS_MAX];
	unsigned n_manifests;
	uint64_t oci_bytes; /* of all blobs of an image for container engines */
};

static void build_free(struct build *b)
{
	for (unsigned i = 0; i < b->n_manifests; i++)
		manifest_release(&b->manifests[i]);
	packs_free(b->packs);
	contents_release(&b->contents);
	first_uses_release(&b->uses);
	free(b->trace);
	old_early_free(b->early);
	old_release(&b->old);
	cache_close(b->cache);
	layout_writer_close(b->writer);
	for (unsigned i = 0; i < b->n_trees; i++)
		platform_tree_release(&b->trees[i]);
	for (unsigned i = 0; i < b->n_sources; i++)
		source_release(&b->sources[i]);
	free(b);
}
DEFINE_CLEANUP(struct build *, build_free)

/* Open the deepest directory on @path that exists. */
static int open_existing(const char *path)
{
	CLEANUP(free) char *copy = strdup(path);
	int fd;

	if (!copy)
		return -ENOMEM;
	for (;;) {
		char *slash = strrchr(copy, '/');

		fd = open(copy[0] != '\0' ? copy : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT)
			return fd >= 0 ? fd : -errno;
		if (!slash)
			return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		*slash = '\0';
	}
}

static bool same_dir(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* An image must not become part of its own source: refuse a layout inside @source. */
static int check_outside(const char *layout, const char *source, struct err *err)
{
	CLEANUP(close) int fd = open_existing(layout);
	struct stat root, here, up = { .st_ino = 0 };

	if (fd < 0)
		return err_set(err, fd, "'%s': %s", layout, strerrordesc_np(-fd));
	if (stat(source, &root) < 0)
		return err_set_errno(err, "'%s'", source);
	for (;;) {
		int parent;

		if (fstat(fd, &here) < 0)
			return err_set_errno(err, "'%s'", layout);
		if (same_dir(&here, &root))
			return err_set(err, -EINVAL, "layout '%s' is inside '%s'; put it elsewhere",
			               layout, source);
		if (same_dir(&here, &up))
			return 0;
		up = here;
		parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		/* Above what this user may enter there is no source that it could read. */
		if (parent < 0)
			return errno == EACCES ? 0 : err_set_errno(err, "'%s'", layout);
		(void)close(fd);
		fd = parent;
	}
}

static int walk_sources(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	int r = 0;

	for (unsigned i = 0; r == 0 && i <= o->n_overlays; i++) {
		const char *path = i == 0 ? o->source : o->overlays[i - 1].dir;

		r = check_outside(o->image->layout, path, err);
		if (r == 0) {
			b->n_sources++;
			r = walk(path, i, &o->walk, &b->sources[i], err);
		}
	}
	return r;
}

static int build_trees(struct build *b, struct err *err)
{
	unsigned n = b->options->n_overlays > 0 ? b->options->n_overlays : 1;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i++) {
		struct source *over = b->options->n_overlays > 0 ? &b->sources[i + 1] : NULL;

		r = platform_tree_build(&b->sources[0], over, i, &b->trees[i], err);
		if (r == 0)
			b->n_trees++;
	}
	return r;
}

static int read_trace(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	struct trace_text trace = { .path = o->trace };
	int r;

	if (!o->trace)
		return 0;
	r = io_read_file(AT_FDCWD, o->trace, TRACE_SIZE_MAX, &b->trace, &b->trace_len, err);
	if (r < 0)
		return r;
	trace.text = b->trace;
	trace.len = b->trace_len;
	return first_uses_read(&trace, b->trees, b->n_trees, o->pipeline.chunker.target, &b->uses,
	                       err);
}

static const char *platform_name(const struct build_options *o, unsigned bit)
{
	return o->n_overlays > 0 ? o->overlays[bit].platform.name : FORMAT_PLATFORM_ANY;
}

static bool same_layout(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && same_dir(&x, &y);
}

/*
 * Open the release to start from. One that was named must be there; one that
 * merely was there before may be of no use.
 */
static int open_old(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	bool named = o->from.layout != NULL;
	const struct image_ref *from = named ? &o->from : o->image;
	struct err reason = ERR_INIT;
	int r;

	if (o->no_from)
		return 0;
	if (named && !same_layout(from->layout, o->image->layout))
		return err_set(err, -EINVAL,
		               "'%s' is another layout; copy the image to start from into '%s'",
		               from->layout, o->image->layout);
	r = old_early_take(b->early, from->layout, from->tag, &b->old, &reason);
	if (r < 0 && named)
		return err_set(err, r, "%s", reason.msg);
	if (r < 0 && r != -ENOENT)
		note("packing everything anew: %s", reason.msg);
	if (b->old.n == 0)
		return 0;
	for (unsigned i = 0; i < b->n_trees; i++)
		packs_set_base(b->packs, i, old_number_for(&b->old, platform_name(o, i)));
	return old_register(&b->old, b->packs, err);
}

/* Without a second core, it would only be later. */
static void begin_early(struct build *b)
{
	const struct build_options *o = b->options;
	const struct image_ref *from = o->from.layout ? &o->from : o->image;

	if (!o->no_from && o->format != BUILD_OCI_IMAGE && o->pipeline.jobs > 1)
		b->early = old_early_begin(from->layout, from->tag);
}

static int open_layout(struct build *b, struct err *err)
{
	int r = layout_writer_open(b->options->image->layout, &b->writer, err);

	if (r < 0)
		return r;
	b->packs = packs_new(layout_writer_blobs(b->writer), layout_writer_path(b->writer));
	b->cache = cache_open(layout_writer_dir(b->writer));
	return b->packs && b->cache ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/*
 * A layout that exists may have what to start from. One that does not is made
 * once the files have been found to be readable.
 */
static int open_existing_layout(struct build *b, struct err *err)
{
	if (access(b->options->image->layout, F_OK) < 0)
		return b->options->from.layout ? open_old(b, err) : 0;
	return open_layout(b, err);
}

static int collect(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	const struct contents_options options = {
		.small_max = o->pipeline.chunker.target,
		.hash_all = b->old.n > 0,
		.uses = &b->uses,
		.cache = b->cache,
		.jobs = o->pipeline.jobs,
		.progress = o->progress,
	};
	int r = contents_collect(b->trees, b->n_trees, &options, &b->contents, err);

	if (r == 0)
		first_uses_apply(&b->uses, &b->contents);
	return r;
}

static int reuse(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	const char *names[PLATFORMS_MAX];
	const struct reuse_options options = {
		.old = &b->old,
		.platforms = names,
		.packs = b->packs,
		.small_max = o->pipeline.chunker.target,
		.jobs = o->pipeline.jobs,
		.progress = o->progress,
	};

	for (unsigned i = 0; i < b->n_trees; i++)
		names[i] = platform_name(o, i);
	return b->old.n > 0 ? reuse_contents(&b->contents, &options, err) : 0;
}

static int store_contents(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	struct pipeline_options pipeline = o->pipeline;
	CLEANUP(plan_release) struct plan plan = PLAN_INIT;
	struct progress progress;
	int r;

	pipeline.deltas &= b->old.n > 0;
	if (plan_make(&b->contents, pipeline.chunker.target, pipeline.group_target, &plan) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	progress_start(&progress, o->progress, "packed", plan.bytes);
	r = pipeline_run(&plan, &pipeline, b->packs, &progress, err);
	if (r == 0 && contents_settle(&b->contents) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	/* What threads used and freed is of no use to what follows. */
	(void)malloc_trim(0);
	packs_count_use(b->packs, b->contents.list, b->contents.n);
	return packs_rewrite(b->packs, b->contents.list, b->contents.n, err);
}

/* Refuse an update above the limit, when all but the tag is written. */
static int check_budget(struct build *b, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	const struct build_options *o = b->options;
	const struct image_set images = {
		.manifests = b->manifests,
		.n_manifests = b->n_manifests,
	};
	int r;

	if (!o->has_max_update || !o->base)
		return 0;
	r = layout_open(o->image->layout, &layout, err);
	if (r < 0)
		return r;
	return budget_check(&(struct report_source){ .layout = layout, .images = &images },
	                    &(struct report_source){ .layout = o->base->layout,
	                                             .images = &o->base->images },
	                    o->max_update, err);
}

/*
 * The cache is saved while images are published, which changes nothing that it reads. A layout that
 * has no room for it has none for the next build either.
 */
static int save_cache(void *arg, struct err *err)
{
	const struct build *b = arg;
	int r = cache_save(b->cache, layout_writer_dir(b->writer), b->trees, b->n_trees, err);

	return r < 0 ? err_wrap(err, r, "'%s'", layout_writer_path(b->writer)) : 0;
}

static void count_unique(const struct build *b, struct build_report *ret)
{
	for (size_t i = 0; i < b->contents.n; i++) {
		if (!b->contents.list[i].is_twin)
			ret->unique_bytes += content_size(&b->contents.list[i]);
	}
}

static void count_image(const struct build *b, struct build_report *ret)
{
	uint32_t n;
	const struct pack_record *packs = packs_records(b->packs, &n);

	for (uint32_t i = 0; i < n; i++)
		ret->image_bytes += packs[i].used > 0 ? packs[i].size : 0;
	for (unsigned i = 0; i < b->n_manifests; i++) {
		const struct manifest *m = &b->manifests[i];

		ret->image_bytes += m->self.size + m->config.size + m->index.size;
	}
	ret->image_bytes += b->n_manifests > 0 ? b->manifests[0].trace.size : 0;
}

/* Note what was seen and made, when it can be told. */
static int save_last(const struct build *b, struct err *err)
{
	struct last_build last = b->last;
	struct build_report report = { .files = 0 };
	int r;

	if (!b->last_known)
		return 0;
	count_unique(b, &report);
	count_image(b, &report);
	last.unique_bytes = report.unique_bytes;
	last.image_bytes = report.image_bytes;
	if (last_build_made(b->manifests, b->n_manifests, &last.made) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	r = last_build_save(layout_writer_dir(b->writer), &last, err);
	return r < 0 ? err_wrap(err, r, "'%s'", layout_writer_path(b->writer)) : 0;
}

static int publish_all(struct build *b, struct descriptor *ret, struct err *err)
{
	const struct build_options *o = b->options;
	struct publication pub = {
		.writer = b->writer,
		.packs = b->packs,
		.contents = &b->contents,
		.old = &b->old,
		.options = &o->pipeline,
	};
	struct platform any = { .name = FORMAT_PLATFORM_ANY };
	struct aside saving;
	int r = 0, saved;

	aside_begin(&saving, save_cache, b, o->pipeline.jobs > 1);
	if (b->trace)
		r = layout_writer_trace(b->writer, b->trace, b->trace_len, &pub.trace, err);

	for (unsigned i = 0; r == 0 && i < b->n_trees; i++) {
		const struct platform *p = o->n_overlays > 0 ? &o->overlays[i].platform : &any;

		r = publish_image(&pub, p, i, &b->trees[i], &b->manifests[i], err);
		if (r == 0)
			b->n_manifests++;
	}
	if (r == 0)
		r = check_budget(b, err);
	saved = aside_end(&saving, r == 0 ? err : NULL);
	if (r == 0)
		r = saved;
	if (r == 0)
		r = save_last(b, err);
	if (r < 0)
		return r;
	return layout_writer_tag(b->writer, o->image->tag, b->manifests, b->n_manifests, ret, err);
}

/* Files that some platform has. */
static void count_files(const struct build *b, struct build_report *ret)
{
	for (unsigned i = 0; i < b->n_sources; i++) {
		for (const struct tree_node *n = &b->sources[i].root; n; n = tree_next(n)) {
			if (!S_ISREG(n->mode) || n->platforms == 0)
				continue;
			ret->files++;
			ret->bytes += n->size;
		}
	}
}

/* Whether what the tag names is what this build would make. Returns 1, 0 or -errno. */
static int is_made(struct build *b, struct descriptor *ret, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	const struct build_options *o = b->options;
	const char *names[PLATFORMS_MAX];
	struct last_build last;
	struct digest made;
	int r;

	for (unsigned i = 0; i < b->n_trees; i++)
		names[i] = platform_name(o, i);
	/* What these options make depends on more than trees. */
	if (o->no_from || o->from.layout || o->trace)
		return 0;
	r = last_build_seen(b->trees, names, b->n_trees, &o->pipeline, &b->last.seen);
	b->last_known = r > 0;
	if (r < 0)
		return err_set(err, r, "out of memory");
	if (r == 0 || !b->writer || !last_build_read(layout_writer_dir(b->writer), &last) ||
	    !digest_equal(&last.seen, &b->last.seen))
		return 0;
	if (layout_open(o->image->layout, &layout, NULL) < 0 ||
	    layout_images(layout, o->image->tag, &set, NULL) < 0 ||
	    last_build_made(set.manifests, set.n_manifests, &made) < 0 ||
	    !digest_equal(&last.made, &made) || !old_has_blobs(layout, &set))
		return 0;
	b->last = last;
	*ret = set.self;
	return 1;
}

/* Publish the trees as images for container engines. */
static int publish_oci(struct build *b, struct descriptor *ret, struct err *err)
{
	const struct build_options *o = b->options;
	struct platform platforms[PLATFORMS_MAX];
	const struct oci_image_options options = {
		.writer = b->writer,
		.sources = b->sources,
		.n_sources = b->n_sources,
		.trees = b->trees,
		.platforms = o->n_overlays > 0 ? platforms : NULL,
		.n_trees = b->n_trees,
		.created = o->walk.has_epoch ? o->walk.epoch : 0,
		.progress = o->progress,
	};
	int r;

	for (unsigned i = 0; i < o->n_overlays; i++)
		platforms[i] = o->overlays[i].platform;
	r = oci_image_publish(&options, b->manifests, &b->n_manifests, &b->oci_bytes, err);
	if (r < 0)
		return r;
	return layout_writer_tag(b->writer, o->image->tag, b->manifests, b->n_manifests, ret, err);
}

static int build_images(struct build *b, struct descriptor *ret, struct err *err)
{
	enum progress_kind kind = b->options->progress;
	int r;

	progress_phase(kind, "walk");
	begin_early(b);
	r = walk_sources(b, err);
	warnings_end();
	if (r == 0)
		r = build_trees(b, err);
	if (r == 0 && b->options->format == BUILD_OCI_IMAGE) {
		r = open_layout(b, err);
		return r < 0 ? r : publish_oci(b, ret, err);
	}
	if (r == 0)
		r = read_trace(b, err);
	if (r == 0)
		r = open_existing_layout(b, err);
	if (r == 0)
		r = is_made(b, ret, err);
	if (r > 0)
		return r;
	if (r == 0 && b->writer)
		r = open_old(b, err);
	if (r == 0)
		r = collect(b, err);
	if (r == 0 && !b->writer)
		r = open_layout(b, err);
	if (r == 0)
		r = reuse(b, err);
	if (r == 0)
		r = store_contents(b, err);
	if (r < 0)
		return r;
	progress_phase(kind, "publish");
	return publish_all(b, ret, err);
}

int build(const struct build_options *options, struct build_report *ret, struct err *err)
{
	CLEANUP(build_free) struct build *b = calloc(1, sizeof(*b));
	struct build_report report = { .files = 0 };
	struct descriptor image = { .size = 0 };
	int r;

	if (!b)
		return err_set(err, -ENOMEM, "out of memory");
	b->options = options;
	r = build_images(b, &image, err);
	if (r < 0)
		return r;
	count_files(b, &report);
	if (r > 0) {
		report.unique_bytes = b->last.unique_bytes;
		report.image_bytes = b->last.image_bytes;
	} else if (options->format == BUILD_OCI_IMAGE) {
		report.unique_bytes = report.bytes;
		report.image_bytes = b->oci_bytes;
	} else {
		count_unique(b, &report);
		count_image(b, &report);
	}
	report.digest = image.digest;
	report.image_bytes += image.size;
	*ret = report;
	return 0;
}
