/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "build.h"
#include "commands.h"
#include "metadata.h"
#include "notes.h"
#include "options.h"
#include "summary.h"
#include "tagged.h"

enum {
	TARGET_DEFAULT = 256 << 10,
	GROUP_TARGET_DEFAULT = 256 << 10,
	LEVEL_DEFAULT = 3,
	LEVEL_MAX = 19,
	JOBS_MAX = 256,
	NS_PER_MS = 1000000,
};

static const char help[] =
	"Usage: assetpack build [OPTION]... SOURCE IMAGE\n"
	"Pack the directory SOURCE and let IMAGE, LAYOUT[:TAG], name the result.\n"
	"Prints the digest of the image index.\n\n"
	"  -p, --platform OS/ARCH=DIR  make an image for this platform: SOURCE with DIR\n"
	"                              laid over it; may be repeated. Without it, one\n"
	"                              image serves every platform\n"
	"      --format FORMAT         assetfs (default), or image: for container engines\n"
	"                              and Kubernetes, which unpack all of it; takes no\n"
	"                              options about chunks and updates\n"
	"      --level N               zstd level, 1 to 19 (default 3)\n"
	"      --chunk-size SIZE       target size of chunks, a power of two, 4K to 4M\n"
	"                              (default 256K)\n"
	"  -j, --jobs N                threads that compress (default: one a core)\n"
	"      --from IMAGE            start from this image of the same layout, or from\n"
	"                              none (default: what IMAGE names now, if it does)\n"
	"      --trace FILE            put what FILE lists first, in order of first use\n"
	"      --no-deltas             make no delta layers for nodes that have that one\n"
	"      --keep-mtime            keep modification times (default: 1970-01-01, or\n"
	"                              $SOURCE_DATE_EPOCH; with both, the earlier one)\n"
	"      --keep-owner            keep owner and group (default: 0)\n"
	"      --xattrs                keep extended attributes user.*\n"
	"      --max-update SIZE       fail with status 4, and leave the tag, when nodes\n"
	"                              with the image before would have to fetch more\n"
	"      --metadata-file FILE    write digest, sizes and counts as JSON\n"
	"      --progress KIND         auto (default), tty, plain, json or none\n"
	"  -h, --help                  show this help\n";

enum {
	OPT_FORMAT = 256,
	OPT_LEVEL,
	OPT_CHUNK_SIZE,
	OPT_FROM,
	OPT_TRACE,
	OPT_NO_DELTAS,
	OPT_KEEP_MTIME,
	OPT_KEEP_OWNER,
	OPT_XATTRS,
	OPT_PROGRESS,
	OPT_MAX_UPDATE,
	OPT_METADATA_FILE,
};

static const struct option options[] = {
	{ "platform", required_argument, NULL, 'p' },
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "level", required_argument, NULL, OPT_LEVEL },
	{ "chunk-size", required_argument, NULL, OPT_CHUNK_SIZE },
	{ "jobs", required_argument, NULL, 'j' },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ "no-deltas", no_argument, NULL, OPT_NO_DELTAS },
	{ "keep-mtime", no_argument, NULL, OPT_KEEP_MTIME },
	{ "keep-owner", no_argument, NULL, OPT_KEEP_OWNER },
	{ "xattrs", no_argument, NULL, OPT_XATTRS },
	{ "max-update", required_argument, NULL, OPT_MAX_UPDATE },
	{ "metadata-file", required_argument, NULL, OPT_METADATA_FILE },
	{ "progress", required_argument, NULL, OPT_PROGRESS },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* What the command line says. */
struct build_args {
	struct build_options o;
	struct image_ref image;    /* owned */
	const char *metadata_file; /* borrowed, or NULL */
	const char *of_assetfs; /* an option that was given and means nothing to others; or NULL */
};

static void build_args_release_cleanup(struct build_args *args)
{
	image_ref_release(&args->image);
	image_ref_release(&args->o.from);
}

/* Cores that this process may use. */
static unsigned online_cores(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* -p OS/ARCH=DIR. Returns 0 or -EINVAL with a message. */
static int add_overlay(struct build_options *o, const char *text, struct err *err)
{
	const char *equals = strchr(text, '=');
	struct overlay *overlay = &o->overlays[o->n_overlays];
	char name[PLATFORM_MAX];

	if (!equals || equals[1] == '\0' || (size_t)(equals - text) >= sizeof(name))
		return err_set(err, -EINVAL, "'%s' is not OS/ARCH=DIR", text);
	if (o->n_overlays == PLATFORMS_MAX)
		return err_set(err, -EINVAL, "more than %d platforms", PLATFORMS_MAX);
	(void)snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	if (platform_parse(name, &overlay->platform, err) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < o->n_overlays; i++) {
		if (strcmp(o->overlays[i].platform.name, overlay->platform.name) == 0)
			return err_set(err, -EINVAL, "platform '%s' is named twice", name);
	}
	overlay->dir = equals + 1;
	o->n_overlays++;
	return 0;
}

static int set_chunk_size(struct build_options *o, const char *text, struct err *err)
{
	uint64_t size;

	if (text_parse_size(text, &size) < 0 || size < CHUNKER_TARGET_MIN ||
	    size > CHUNKER_TARGET_MAX || (size & (size - 1)) != 0)
		return err_set(err, -EINVAL, "'%s' is not a power of two from 4K to 4M", text);
	chunker_init(&o->pipeline.chunker, (uint32_t)size);
	o->pipeline.group_target = (uint32_t)size;
	return 0;
}

static int parse_number(const char *text, unsigned max, unsigned *ret, struct err *err)
{
	uint64_t value;

	if (text_parse_uint(text, max, &value) < 0 || value < 1)
		return err_set(err, -EINVAL, "'%s' is not a number from 1 to %u", text, max);
	*ret = (unsigned)value;
	return 0;
}

static int set_max_update(struct build_options *o, const char *text, struct err *err)
{
	if (text_parse_size(text, &o->max_update) < 0)
		return err_set(err, -EINVAL, "'%s' is not a size, as in 200M", text);
	o->has_max_update = true;
	return 0;
}

static int set_from(struct build_options *o, const char *text, struct err *err)
{
	image_ref_release(&o->from);
	o->no_from = strcmp(text, "none") == 0;
	return o->no_from ? 0 : image_ref_parse(text, &o->from, err);
}

static int set_format(struct build_options *o, const char *text, struct err *err)
{
	if (strcmp(text, "assetfs") == 0)
		o->format = BUILD_ASSETFS;
	else if (strcmp(text, "image") == 0)
		o->format = BUILD_OCI_IMAGE;
	else
		return err_set(err, -EINVAL, "format '%s' is neither assetfs nor image", text);
	return 0;
}

/* The name of @option when it is of use for images of ours only; else NULL. */
static const char *of_assetfs(int option)
{
	static const int list[] = { OPT_LEVEL,     OPT_CHUNK_SIZE, OPT_FROM,         OPT_TRACE,
		                    OPT_NO_DELTAS, OPT_MAX_UPDATE, OPT_METADATA_FILE };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		for (const struct option *o = options; list[i] == option && o->name; o++) {
			if (o->val == option)
				return o->name;
		}
	}
	return NULL;
}

/* Returns 0 or -EINVAL with a message. */
static int apply_option(int option, void *arg, struct err *err)
{
	struct build_args *args = arg;
	struct build_options *o = &args->o;
	unsigned level = 0;
	int r;

	if (of_assetfs(option))
		args->of_assetfs = of_assetfs(option);
	switch (option) {
	case OPT_FORMAT:
		return set_format(o, optarg, err);
	case 'p':
		return add_overlay(o, optarg, err);
	case 'j':
		return parse_number(optarg, JOBS_MAX, &o->pipeline.jobs, err);
	case OPT_LEVEL:
		r = parse_number(optarg, LEVEL_MAX, &level, err);
		if (r == 0)
			o->pipeline.level = (int)level;
		return r;
	case OPT_CHUNK_SIZE:
		return set_chunk_size(o, optarg, err);
	case OPT_FROM:
		return set_from(o, optarg, err);
	case OPT_TRACE:
		o->trace = optarg;
		return 0;
	case OPT_NO_DELTAS:
		o->pipeline.deltas = false;
		return 0;
	case OPT_KEEP_MTIME:
		o->walk.flags |= WALK_KEEP_MTIME;
		return 0;
	case OPT_KEEP_OWNER:
		o->walk.flags |= WALK_KEEP_OWNER;
		return 0;
	case OPT_XATTRS:
		o->walk.flags |= WALK_XATTRS;
		return 0;
	case OPT_MAX_UPDATE:
		return set_max_update(o, optarg, err);
	case OPT_METADATA_FILE:
		args->metadata_file = optarg;
		return 0;
	default:
		return progress_parse(optarg, &o->progress, err);
	}
}

static const struct option_spec spec = {
	.command = "build",
	.help = help,
	.shorts = "hp:j:",
	.options = options,
	.min_arguments = 2,
	.max_arguments = 2,
	.wants = "SOURCE and IMAGE",
	.apply = apply_option,
};

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char *argv[], struct build_args *args)
{
	struct err err = ERR_INIT;
	int status = options_parse(&spec, argc, argv, args);

	if (status >= 0)
		return status;
	if (image_ref_parse(argv[optind + 1], &args->image, &err) < 0)
		return fail_usage("build", "%s", err.msg);
	if (args->o.format != BUILD_ASSETFS && args->of_assetfs)
		return fail_usage("build", "--%s means nothing to an image for container engines",
		                  args->of_assetfs);
	args->o.source = argv[optind];
	return -1;
}

/* SOURCE_DATE_EPOCH, https://reproducible-builds.org/specs/source-date-epoch/ */
static int read_epoch(struct walk_options *walk, struct err *err)
{
	/* Nothing sets the environment while assetpack runs. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *text = getenv("SOURCE_DATE_EPOCH");
	uint64_t value;

	if (!text || text[0] == '\0')
		return 0;
	if (text_parse_uint(text, INT64_MAX, &value) < 0)
		return err_set(err, -EINVAL, "SOURCE_DATE_EPOCH '%s' is not a number of seconds",
		               text);
	walk->has_epoch = true;
	walk->epoch = (int64_t)value;
	return 0;
}

static void say_oci(const struct build_report *report, enum progress_kind progress)
{
	char in[TEXT_SIZE_MAX], out[TEXT_SIZE_MAX], hex[DIGEST_HEX_SIZE];

	(void)digest_hex(&report->digest, hex);
	if (progress == PROGRESS_JSON) {
		note_event("done", json_pack("{s:s+, s:I, s:I, s:I}", "digest", "sha256:", hex,
		                             "files", (json_int_t)report->files, "input_bytes",
		                             (json_int_t)report->bytes, "stored_bytes",
		                             (json_int_t)report->image_bytes));
	} else if (progress != PROGRESS_NONE) {
		note("%llu files, %s; image %s", (unsigned long long)report->files,
		     text_size(report->bytes, in), text_size(report->image_bytes, out));
		note("image index sha256:%s", hex);
	}
}

static int run_oci(const struct build_args *args, struct build_report *report, struct err *err)
{
	struct build_options o = args->o;
	int r = read_epoch(&o.walk, err);

	if (r == 0)
		r = build(&o, report, err);
	if (r == 0)
		say_oci(report, o.progress);
	return r;
}

/* Returns 0 or -errno. */
static int run(const struct build_args *args, struct build_report *report, struct err *err)
{
	CLEANUP(tagged_release) struct tagged base = TAGGED_INIT;
	struct build_options o = args->o;
	struct summary_options summary = {
		.image = &args->image,
		.metadata_file = args->metadata_file,
		.progress = o.progress,
	};
	uint64_t start = clock_ns();
	int r = read_epoch(&o.walk, err);

	if (r == 0 && args->metadata_file)
		r = metadata_check(args->metadata_file, err);
	if (r < 0)
		return r;
	/* Without an image before, or with a damaged one, there is nothing to compare with. */
	if (!o.no_from && tagged_load(o.from.layout ? &o.from : &args->image, &base, NULL) == 0)
		summary.base = &base;
	o.base = summary.base;
	r = build(&o, report, err);
	if (r < 0)
		return r;
	summary.duration_ms = (clock_ns() - start) / NS_PER_MS;
	return summary_write(&summary, report, err);
}

int cmd_build(int argc, char *argv[])
{
	CLEANUP(build_args_release)
	struct build_args args = {
		.o = {
			.pipeline = { .level = LEVEL_DEFAULT, .jobs = online_cores(), .deltas = true },
			.progress = progress_auto(),
		},
		.image = IMAGE_REF_INIT,
	};
	struct build_report report;
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];
	int status, r;

	args.o.image = &args.image;
	chunker_init(&args.o.pipeline.chunker, TARGET_DEFAULT);
	args.o.pipeline.group_target = GROUP_TARGET_DEFAULT;
	status = parse_options(argc, argv, &args);
	if (status >= 0)
		return status;
	if (args.o.progress == PROGRESS_JSON)
		notes_use_json();
	r = args.o.format == BUILD_OCI_IMAGE ? run_oci(&args, &report, &err)
	                                     : run(&args, &report, &err);
	if (r < 0)
		return fail(&err);
	(void)printf("sha256:%s\n", digest_hex(&report.digest, hex));
	return cli_finish(STATUS_OK);
}
