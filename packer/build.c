/* SPDX-License-Identifier: Apache-2.0 */
#include "build.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/table.h"
#include "budget.h"
#include "contents.h"
#include "format.h"
#include "notes.h"
#include "plan.h"
#include "publish.h"

struct build {
	const struct build_options *options;
	struct source sources[PLATFORMS_MAX + 1]; /* the common one first */
	unsigned n_sources;
	struct platform_tree trees[PLATFORMS_MAX]; /* one for each image */
	unsigned n_trees;
	struct contents contents;
	struct layout_writer *writer; /* owned */
	struct packs *packs;          /* owned */
	struct manifest manifests[PLATFORMS_MAX];
	unsigned n_manifests;
};

static void build_free(struct build *b)
{
	for (unsigned i = 0; i < b->n_manifests; i++)
		manifest_release(&b->manifests[i]);
	packs_free(b->packs);
	layout_writer_close(b->writer);
	contents_release(&b->contents);
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
		const struct source *over = b->options->n_overlays > 0 ? &b->sources[i + 1] : NULL;

		r = platform_tree_build(&b->sources[0], over, i, &b->trees[i], err);
		if (r == 0)
			b->n_trees++;
	}
	return r;
}

static int store_contents(struct build *b, struct err *err)
{
	const struct build_options *o = b->options;
	struct progress progress;
	uint64_t total = 0;
	int r = layout_writer_open(o->image->layout, &b->writer, err);

	if (r < 0)
		return r;
	b->packs = packs_new(layout_writer_blobs(b->writer), layout_writer_path(b->writer));
	if (!b->packs)
		return err_set(err, -ENOMEM, "out of memory");
	plan_order(b->contents.list, b->contents.n, o->pipeline.group_target);
	for (size_t i = 0; i < b->contents.n; i++)
		total += b->contents.list[i]->size;
	progress_start(&progress, o->progress, "packed", total);
	return pipeline_run(b->contents.list, b->contents.n, &o->pipeline, b->packs, &progress,
	                    err);
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

static int publish_all(struct build *b, struct descriptor *ret, struct err *err)
{
	const struct build_options *o = b->options;
	const struct publication pub = {
		.writer = b->writer,
		.packs = b->packs,
		.plan = b->contents.list,
		.n = b->contents.n,
		.options = &o->pipeline,
	};
	struct platform any = { .name = FORMAT_PLATFORM_ANY };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->n_trees; i++) {
		const struct platform *p = o->n_overlays > 0 ? &o->overlays[i].platform : &any;

		r = publish_image(&pub, p, i, &b->trees[i], &b->manifests[i], err);
		if (r == 0)
			b->n_manifests++;
	}
	if (r == 0)
		r = check_budget(b, err);
	if (r < 0)
		return r;
	return layout_writer_tag(b->writer, o->image->tag, b->manifests, b->n_manifests, ret, err);
}

/* Files that some platform has. */
static void count_files(const struct build *b, struct build_report *ret)
{
	for (unsigned i = 0; i < b->n_sources; i++) {
		for (const struct tree_node *n = b->sources[i].nodes; n; n = n->next) {
			if (!S_ISREG(n->mode) || n->platforms == 0)
				continue;
			ret->files++;
			ret->bytes += n->size;
		}
	}
}

static int compare_digests(const void *a, const void *b)
{
	const struct new_content *x = *(struct new_content *const *)a;
	const struct new_content *y = *(struct new_content *const *)b;

	return digest_cmp(&x->digest, &y->digest);
}

/* Reorders the contents: nothing needs the plan's order any more. */
static void count_unique(struct build *b, struct build_report *ret)
{
	struct new_content **list = b->contents.list;

	if (b->contents.n > 1)
		qsort(list, b->contents.n, sizeof(struct new_content *), compare_digests);
	for (size_t i = 0; i < b->contents.n; i++) {
		if (i == 0 || !digest_equal(&list[i - 1]->digest, &list[i]->digest))
			ret->unique_bytes += list[i]->size;
	}
}

static void count_image(const struct build *b, struct build_report *ret)
{
	uint32_t n;
	const struct pack_record *packs = packs_records(b->packs, &n);

	for (uint32_t i = 0; i < n; i++)
		ret->image_bytes += packs[i].size;
	for (unsigned i = 0; i < b->n_manifests; i++) {
		const struct manifest *m = &b->manifests[i];

		ret->image_bytes += m->self.size + m->config.size + m->index.size;
	}
}

int build(const struct build_options *options, struct build_report *ret, struct err *err)
{
	CLEANUP(build_free) struct build *b = calloc(1, sizeof(*b));
	struct build_report report = { .files = 0 };
	struct descriptor image = { .size = 0 };
	const struct contents_options collecting = {
		.small_max = options->pipeline.chunker.target,
		.jobs = options->pipeline.jobs,
		.progress = options->progress,
	};
	int r;

	if (!b)
		return err_set(err, -ENOMEM, "out of memory");
	b->options = options;
	progress_phase(options->progress, "walk");
	r = walk_sources(b, err);
	warnings_end();
	if (r == 0)
		r = build_trees(b, err);
	if (r == 0)
		r = contents_collect(b->trees, b->n_trees, &collecting, &b->contents, err);
	if (r == 0)
		r = store_contents(b, err);
	if (r == 0)
		progress_phase(options->progress, "publish");
	if (r == 0)
		r = publish_all(b, &image, err);
	if (r < 0)
		return r;
	count_files(b, &report);
	count_unique(b, &report);
	count_image(b, &report);
	report.digest = image.digest;
	report.image_bytes += image.size;
	*ret = report;
	return 0;
}
