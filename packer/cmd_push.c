/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/text.h"
#include "commands.h"
#include "notes.h"
#include "options.h"
#include "push.h"
#include "registry_args.h"

static const char help[] =
	"Usage: assetpack push [OPTION]... IMAGE HOST[:PORT]/REPOSITORY[:TAG]\n"
	"Copy what IMAGE names to a registry, digests included, and let the tag name it.\n"
	"Sends only what is not there. Prints the digest of the image index.\n\n"
	"      --mount-from REPO    repository of the registry that may have blobs, too\n"
	"      --upload-chunk SIZE  send blobs in requests of at most this size\n"
	"      --progress KIND      auto (default), tty, plain, json or none\n" REGISTRY_ARGS_HELP
	"  -h, --help               show this help\n";

enum {
	OPT_MOUNT_FROM = 256,
	OPT_UPLOAD_CHUNK,
	OPT_PROGRESS,
};

static const struct option options[] = {
	{ "mount-from", required_argument, NULL, OPT_MOUNT_FROM },
	{ "upload-chunk", required_argument, NULL, OPT_UPLOAD_CHUNK },
	{ "progress", required_argument, NULL, OPT_PROGRESS },
	{ "help", no_argument, NULL, 'h' },
	REGISTRY_ARGS_TABLE,
	{ NULL, 0, NULL, 0 },
};

/* What the command line says. */
struct push_args {
	struct image_ref image; /* owned */
	struct reference to;    /* owned */
	struct registry_args registry;
	enum progress_kind progress;
};

static void push_args_release_cleanup(struct push_args *args)
{
	image_ref_release(&args->image);
	reference_release(&args->to);
}

static int set_mount_from(struct push_args *args, const char *text, struct err *err)
{
	if (!reference_is_repository(text))
		return err_set(err, -EINVAL, "'%s' is no repository", text);
	args->registry.options.mount_from = text;
	return 0;
}

/* Returns 0 or -EINVAL with a message. */
static int apply_option(int option, void *arg, struct err *err)
{
	struct push_args *args = arg;

	switch (option) {
	case OPT_MOUNT_FROM:
		return set_mount_from(args, optarg, err);
	case OPT_UPLOAD_CHUNK:
		if (text_parse_size(optarg, &args->registry.options.upload_chunk) < 0)
			return err_set(err, -EINVAL, "'%s' is not a size", optarg);
		return 0;
	case OPT_PROGRESS:
		return progress_parse(optarg, &args->progress, err);
	default:
		return registry_args_apply(&args->registry, option, optarg, err);
	}
}

static const struct option_spec spec = {
	.command = "push",
	.help = help,
	.shorts = "hj:",
	.options = options,
	.min_arguments = 2,
	.max_arguments = 2,
	.wants = "IMAGE and HOST/REPOSITORY:TAG",
	.apply = apply_option,
};

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char *argv[], struct push_args *args)
{
	struct err err = ERR_INIT;
	int status = options_parse(&spec, argc, argv, args);

	if (status >= 0)
		return status;
	if (image_ref_parse(argv[optind], &args->image, &err) < 0 ||
	    reference_parse(argv[optind + 1], &args->to, &err) < 0)
		return fail_usage("push", "%s", err.msg);
	if (args->to.pinned)
		return fail_usage("push", "'%s' has a digest: an image is pushed to a tag",
		                  argv[optind + 1]);
	return -1;
}

static void say_result(const struct push_args *args, const struct registry *reg,
                       const struct push_result *res)
{
	char bytes[TEXT_SIZE_MAX], hex[DIGEST_HEX_SIZE];
	unsigned long long n = res->n_blobs;

	if (args->progress == PROGRESS_NONE)
		return;
	if (args->progress == PROGRESS_JSON)
		note_event("done", json_pack("{s:s++, s:s+, s:I, s:I, s:I, s:I}", "image",
		                             registry_name(reg), ":", args->to.tag, "digest",
		                             "sha256:", digest_hex(&res->image.digest, hex),
		                             "sent_bytes", (json_int_t)res->sent_bytes, "blobs",
		                             (json_int_t)n, "sent", (json_int_t)res->n_sent,
		                             "mounted", (json_int_t)res->n_mounted));
	else if (res->n_mounted > 0)
		note("sent %s to '%s:%s': %llu of %llu blobs; %llu came from another repository",
		     text_size(res->sent_bytes, bytes), registry_name(reg), args->to.tag,
		     (unsigned long long)res->n_sent, n, (unsigned long long)res->n_mounted);
	else
		note("sent %s to '%s:%s': %llu of %llu blobs", text_size(res->sent_bytes, bytes),
		     registry_name(reg), args->to.tag, (unsigned long long)res->n_sent, n);
}

static int run(const struct push_args *args, struct push_result *ret, struct err *err)
{
	CLEANUP(registry_close) struct registry *reg = NULL;
	struct push_options o = {
		.image = &args->image,
		.tag = args->to.tag,
		.jobs = args->registry.jobs,
		.progress = args->progress,
	};
	int r = registry_args_open(&args->registry, &args->to, &reg, err);

	if (r < 0)
		return r;
	o.registry = reg;
	r = push(&o, ret, err);
	if (r == 0)
		say_result(args, reg, ret);
	return r;
}

int cmd_push(int argc, char *argv[])
{
	CLEANUP(push_args_release)
	struct push_args args = {
		.image = IMAGE_REF_INIT,
		.to = REFERENCE_INIT,
		.registry = REGISTRY_ARGS_INIT,
		.progress = progress_auto(),
	};
	struct push_result res = { .n_blobs = 0 };
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];
	int status;

	args.registry.options.push = true;
	status = parse_options(argc, argv, &args);
	if (status >= 0)
		return status;
	if (args.progress == PROGRESS_JSON)
		notes_use_json();
	if (run(&args, &res, &err) < 0)
		return fail(&err);
	(void)printf("sha256:%s\n", digest_hex(&res.image.digest, hex));
	return cli_finish(STATUS_OK);
}
