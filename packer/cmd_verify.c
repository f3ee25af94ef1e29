/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "commands.h"
#include "notes.h"
#include "options.h"
#include "registry_args.h"
#include "signed/signed.h"
#include "verify.h"

static const char help[] =
	"Usage: assetpack verify [OPTION]... IMAGE\n"
	"       assetpack verify --verify-key FILE [OPTION]... REFERENCE\n"
	"Check every byte of IMAGE against its digests, and every rule of the format.\n"
	"Each finding is a line on standard error; with any, the exit status is 3. Of\n"
	"REFERENCE, in a registry, check the signature, and print the digest.\n\n"
	"      --platform OS/ARCH   only this platform's image (default: all)\n"
	"      --verify-key FILE    it has to be signed by the owner of this public key\n"
	"With a registry:\n" REGISTRY_ARGS_HELP REGISTRY_MIRROR_HELP
	"  -h, --help               show this help\n";

enum {
	OPT_PLATFORM = 256,
	OPT_VERIFY_KEY,
};

static const struct option options[] = {
	{ "platform", required_argument, NULL, OPT_PLATFORM },
	{ "verify-key", required_argument, NULL, OPT_VERIFY_KEY },
	{ "help", no_argument, NULL, 'h' },
	REGISTRY_ARGS_TABLE,
	REGISTRY_MIRROR_TABLE,
	{ NULL, 0, NULL, 0 },
};

/* What the command line says. */
struct verify_args {
	struct image_ref image;  /* owned; empty when it is a registry's */
	struct reference remote; /* owned; empty when it is not */
	struct registry_args registry;
	bool has_platform;
	struct platform platform;
	const char *key; /* a file; or NULL */
};

static void verify_args_release_cleanup(struct verify_args *args)
{
	image_ref_release(&args->image);
	reference_release(&args->remote);
}

/* Returns 0 or -EINVAL with a message. */
static int apply_option(int option, void *arg, struct err *err)
{
	struct verify_args *args = arg;

	switch (option) {
	case OPT_PLATFORM:
		args->has_platform = true;
		return platform_parse(optarg, &args->platform, err);
	case OPT_VERIFY_KEY:
		args->key = optarg;
		return 0;
	default:
		return registry_args_apply(&args->registry, option, optarg, err);
	}
}

static const struct option_spec spec = {
	.command = "verify",
	.help = help,
	.shorts = "hj:",
	.options = options,
	.min_arguments = 1,
	.max_arguments = 1,
	.wants = "IMAGE",
	.apply = apply_option,
};

/* Without a key there is nothing to be done at a registry. */
static int parse_image(const char *text, struct verify_args *args, struct err *err)
{
	if (!args->key || registry_args_is_layout(text))
		return image_ref_parse(text, &args->image, err);
	return reference_parse(text, &args->remote, err);
}

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char *argv[], struct verify_args *args)
{
	struct err err = ERR_INIT;
	int status = options_parse(&spec, argc, argv, args);

	if (status >= 0)
		return status;
	if (parse_image(argv[optind], args, &err) < 0)
		return fail_usage("verify", "%s", err.msg);
	return -1;
}

/* Check the signature of what @args->remote names; *@ret is its digest. */
static int check_remote(const struct verify_args *args, const struct signature_key *key,
                        struct digest *ret, struct err *err)
{
	CLEANUP(registry_close) struct registry *reg = NULL;
	CLEANUP(registry_manifest_release) struct registry_manifest m = REGISTRY_MANIFEST_INIT;
	CLEANUP(free) char *target = reference_target(&args->remote);
	const struct digest *pin = args->remote.pinned ? &args->remote.digest : NULL;
	int r = target ? registry_args_open(&args->registry, &args->remote, &reg, err)
	               : err_set(err, -ENOMEM, "out of memory");

	if (r == 0)
		r = registry_get_manifest(reg, target, pin, &m, err);
	if (r == 0)
		r = signature_verify_registry(key, reg, &m.digest, err);
	if (r == 0)
		*ret = m.digest;
	return r;
}

static int check_layout(const struct verify_args *args, const struct signature_key *key,
                        struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	struct descriptor d;
	bool is_index;
	int r = layout_open(args->image.layout, &layout, err);

	if (r == 0)
		r = layout_find_tag(layout, args->image.tag, &d, &is_index, err);
	return r < 0 ? r : signed_check(key, layout, &d.digest, err);
}

static int verify_remote(const struct verify_args *args)
{
	CLEANUP(signature_key_free) struct signature_key *key = NULL;
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;

	if (signature_key_load(args->key, &key, &err) < 0 ||
	    check_remote(args, key, &digest, &err) < 0)
		return fail(&err);
	(void)printf("sha256:%s\n", digest_hex(&digest, hex));
	return cli_finish(STATUS_OK);
}

static int verify_local(const struct verify_args *args)
{
	CLEANUP(signature_key_free) struct signature_key *key = NULL;
	struct err err = ERR_INIT;
	int r = args->key ? signature_key_load(args->key, &key, &err) : 0;

	if (r == 0 && key)
		r = check_layout(args, key, &err);
	if (r == 0)
		r = verify(args->image.layout, args->image.tag,
		           args->has_platform ? &args->platform : NULL, &err);
	if (r < 0)
		return fail(&err);
	if (r > 1)
		note("%d findings", r);
	return r > 0 ? STATUS_DAMAGED : STATUS_OK;
}

int cmd_verify(int argc, char *argv[])
{
	CLEANUP(verify_args_release)
	struct verify_args args = {
		.image = IMAGE_REF_INIT,
		.remote = REFERENCE_INIT,
		.registry = REGISTRY_ARGS_INIT,
	};
	int status = parse_options(argc, argv, &args);

	if (status >= 0)
		return status;
	return args.remote.host ? verify_remote(&args) : verify_local(&args);
}
