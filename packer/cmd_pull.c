/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/text.h"
#include "commands.h"
#include "notes.h"
#include "options.h"
#include "pull.h"
#include "pull_registry.h"
#include "registry_args.h"
#include "tree.h"

static const char help[] =
	"Usage: assetpack pull [OPTION]... FROM IMAGE\n"
	"Copy what FROM names to the layout and tag of IMAGE. FROM is LAYOUT[:TAG], or\n"
	"HOST[:PORT]/REPOSITORY[:TAG][@DIGEST] in a registry. Reads only what is not\n"
	"there; packs are made from deltas where those have fewer bytes. Prints the\n"
	"digest of the image index.\n\n"
	"      --platform OS/ARCH   copy indexes and packs of this platform only; may be\n"
	"                           repeated (default: all)\n"
	"      --deltas             copy all delta layers, not only those of use here\n"
	"      --verify-key FILE    copy only what the owner of this key has signed\n"
	"      --progress KIND      auto (default), tty, plain, json or none\n" REGISTRY_ARGS_HELP
		REGISTRY_MIRROR_HELP "  -h, --help               show this help\n";

enum {
	OPT_PLATFORM = 256,
	OPT_DELTAS,
	OPT_PROGRESS,
	OPT_VERIFY_KEY,
};

static const struct option options[] = {
	{ "platform", required_argument, NULL, OPT_PLATFORM },
	{ "deltas", no_argument, NULL, OPT_DELTAS },
	{ "progress", required_argument, NULL, OPT_PROGRESS },
	{ "verify-key", required_argument, NULL, OPT_VERIFY_KEY },
	{ "help", no_argument, NULL, 'h' },
	REGISTRY_ARGS_TABLE,
	REGISTRY_MIRROR_TABLE,
	{ NULL, 0, NULL, 0 },
};

/* What the command line says. */
struct pull_args {
	struct image_ref from;   /* owned; empty when it is a registry's */
	struct reference remote; /* owned; empty when it is not */
	struct registry_args registry;
	struct image_ref image; /* owned */
	struct platform platforms[PLATFORMS_MAX];
	unsigned n_platforms;
	bool all_deltas;
	const char *key; /* file of the key that has to have signed; or NULL */
	enum progress_kind progress;
};

static void pull_args_release_cleanup(struct pull_args *args)
{
	image_ref_release(&args->from);
	reference_release(&args->remote);
	image_ref_release(&args->image);
}

static int add_platform(struct pull_args *args, const char *text, struct err *err)
{
	if (args->n_platforms == PLATFORMS_MAX)
		return err_set(err, -EINVAL, "more than %d platforms", PLATFORMS_MAX);
	return platform_parse(text, &args->platforms[args->n_platforms++], err);
}

/* Returns 0 or -EINVAL with a message. */
static int apply_option(int option, void *arg, struct err *err)
{
	struct pull_args *args = arg;
	switch (option) {
	case OPT_PLATFORM:
		return add_platform(args, optarg, err);
	case OPT_DELTAS:
		args->all_deltas = true;
		return 0;
	case OPT_VERIFY_KEY:
		args->key = optarg;
		return 0;
	case OPT_PROGRESS:
		return progress_parse(optarg, &args->progress, err);
	default:
		return registry_args_apply(&args->registry, option, optarg, err);
	}
}

/* Paths are told from names of registries by how they begin. */
static int parse_from(const char *text, struct pull_args *args, struct err *err)
{
	return registry_args_is_layout(text) ? image_ref_parse(text, &args->from, err)
	                                     : reference_parse(text, &args->remote, err);
}

static const struct option_spec spec = {
	.command = "pull",
	.help = help,
	.shorts = "hj:",
	.options = options,
	.min_arguments = 2,
	.max_arguments = 2,
	.wants = "FROM and IMAGE",
	.apply = apply_option,
};

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char *argv[], struct pull_args *args)
{
	struct err err = ERR_INIT;
	int status = options_parse(&spec, argc, argv, args);

	if (status >= 0)
		return status;
	if (parse_from(argv[optind], args, &err) < 0 ||
	    image_ref_parse(argv[optind + 1], &args->image, &err) < 0)
		return fail_usage("pull", "%s", err.msg);
	return -1;
}

static void say_result(const struct pull_args *args, const struct pull_source *source,
                       const struct pull_result *res)
{
	char bytes[TEXT_SIZE_MAX], rebuilt[TEXT_SIZE_MAX], hex[DIGEST_HEX_SIZE];

	(void)text_size(res->read_bytes, bytes);
	if (args->progress == PROGRESS_NONE)
		return;
	if (args->progress == PROGRESS_JSON)
		note_event("done",
		           json_pack("{s:s, s:s+, s:I, s:I}", "image", source->name, "digest",
		                     "sha256:", digest_hex(&res->image.digest, hex), "read_bytes",
		                     (json_int_t)res->read_bytes, "rebuilt_bytes",
		                     (json_int_t)res->rebuilt_bytes));
	else if (res->n_rebuilt > 0)
		note("read %s from '%s'; %llu packs of %s were made from deltas", bytes,
		     source->name, (unsigned long long)res->n_rebuilt,
		     text_size(res->rebuilt_bytes, rebuilt));
	else
		note("read %s from '%s'", bytes, source->name);
}

static int open_source(const struct pull_args *args, struct pull_source *ret, struct err *err)
{
	return args->remote.host
	               ? pull_source_open_registry(&args->remote, &args->registry, ret, err)
	               : pull_source_open_layout(&args->from, ret, err);
}

static int run(const struct pull_args *args, struct pull_result *ret, struct err *err)
{
	CLEANUP(pull_source_release) struct pull_source source = PULL_SOURCE_INIT;
	CLEANUP(signature_key_free) struct signature_key *key = NULL;
	struct pull_options o = {
		.source = &source,
		.image = &args->image,
		.platforms = args->platforms,
		.n_platforms = args->n_platforms,
		.all_deltas = args->all_deltas,
		.progress = args->progress,
	};
	int r = args->key ? signature_key_load(args->key, &key, err) : 0;

	o.key = key;
	if (r == 0)
		r = open_source(args, &source, err);
	if (r == 0)
		r = pull(&o, ret, err);
	if (r == 0)
		say_result(args, &source, ret);
	return r;
}

int cmd_pull(int argc, char *argv[])
{
	CLEANUP(pull_args_release)
	struct pull_args args = {
		.from = IMAGE_REF_INIT,
		.remote = REFERENCE_INIT,
		.registry = REGISTRY_ARGS_INIT,
		.image = IMAGE_REF_INIT,
		.progress = progress_auto(),
	};
	struct pull_result res = { .n_rebuilt = 0 };
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];
	int status = parse_options(argc, argv, &args);

	if (status >= 0)
		return status;
	if (args.progress == PROGRESS_JSON)
		notes_use_json();
	if (run(&args, &res, &err) < 0)
		return fail(&err);
	(void)printf("sha256:%s\n", digest_hex(&res.image.digest, hex));
	return cli_finish(STATUS_OK);
}
