/* SPDX-License-Identifier: Apache-2.0 */
/* assetfs pin, assetfs unpin */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "control.h"

static const char pin_help[] =
	"Usage: assetfs pin [OPTION]... IMAGE\n"
	"Keep what the region has of IMAGE: it does not leave to make room for others.\n\n"
	"      --floor SIZE            keep at least SIZE of it, not all\n"
	"      --for SECONDS           for so long (default: until unpin or the daemon's end)\n"
	"      --platform OS/ARCH      of the image (default: this machine's)\n"
	"      --store DIR             the daemon's store (default $ASSETFS_STORE, else\n"
	"                              /var/lib/assetfs)\n"
	"  -h, --help                  show this help\n";

static const char unpin_help[] =
	"Usage: assetfs unpin [OPTION]... IMAGE\n"
	"End what 'assetfs pin IMAGE' began.\n\n"
	"      --store DIR             the daemon's store (default $ASSETFS_STORE, else\n"
	"                              /var/lib/assetfs)\n"
	"  -h, --help                  show this help\n";

static const struct option pin_options[] = {
	{ "floor", required_argument, NULL, 'f' },    { "for", required_argument, NULL, 't' },
	{ "platform", required_argument, NULL, 'p' }, { "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },           { NULL, 0, NULL, 0 },
};

static const struct option unpin_options[] = {
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* What the command line says, for the daemon. */
struct pinning {
	const char *command;
	const char *store;
	json_t *request; /* owned */
};

/* Returns -1 to go on, or an exit status. */
static int apply_option(struct pinning *pinning, int option, const char *help)
{
	uint64_t value;

	switch (option) {
	case 's':
		pinning->store = optarg;
		return -1;
	case 'p':
		(void)json_object_set_new(pinning->request, "platform", json_string(optarg));
		return -1;
	case 'f':
		if (text_parse_size(optarg, &value) < 0)
			break;
		(void)json_object_set_new(pinning->request, "floor_bytes",
		                          json_integer((json_int_t)value));
		return -1;
	case 't':
		if (text_parse_uint(optarg, INT32_MAX, &value) < 0 || value == 0)
			break;
		(void)json_object_set_new(pinning->request, "seconds",
		                          json_integer((json_int_t)value));
		return -1;
	case 'h':
		(void)fputs(help, stdout);
		return STATUS_OK;
	default: /* getopt has said what is wrong */
		return STATUS_USAGE;
	}
	(void)fprintf(stderr, "assetfs %s: '%s' is not valid; see 'assetfs %s --help'\n",
	              pinning->command, optarg, pinning->command);
	return STATUS_USAGE;
}

static int ask(const struct pinning *pinning, const char *image)
{
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(free) char *name = NULL;
	struct err err = ERR_INIT;
	int r = client_image_name(image, &name, &err);

	if (r == 0 && json_object_set_new(pinning->request, "image", json_string(name)) < 0)
		r = err_set(&err, -EINVAL, "the image must be named in UTF-8");
	if (r == 0)
		r = control_call(pinning->store, pinning->request, &answer, NULL, &err);
	return r < 0 ? fail(pinning->command, &err) : STATUS_OK;
}

static int run(int argc, char *argv[], const char *command, const struct option *options,
               const char *help)
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", command);
	struct pinning pinning = { .command = command,
		                   .store = default_store(),
		                   .request = request };
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		int status = apply_option(&pinning, option, help);

		if (status >= 0)
			return status;
	}
	if (argc - optind != 1) {
		(void)fprintf(stderr, "assetfs %s: needs one IMAGE; see 'assetfs %s --help'\n",
		              command, command);
		return STATUS_USAGE;
	}
	return ask(&pinning, argv[optind]);
}

int cmd_pin(int argc, char *argv[])
{
	return run(argc, argv, "pin", pin_options, pin_help);
}

int cmd_unpin(int argc, char *argv[])
{
	return run(argc, argv, "unpin", unpin_options, unpin_help);
}
