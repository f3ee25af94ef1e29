/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the commands that talk to a registry. */
#pragma once

#include "oci/registry.h"

struct registry_args {
	struct registry_options options; /* strings are the command line's */
	unsigned jobs;                   /* connections */
	const char *mirrors[16];         /* likewise; options.mirrors */
};

#define REGISTRY_ARGS_INIT ((struct registry_args){ .jobs = 4 })

enum {
	OPT_PLAIN_HTTP = 512,
	OPT_CA_FILE,
	OPT_RETRIES,
	OPT_TIMEOUT,
	OPT_MIRROR,
};

/* For tables of getopt. */
/* clang-format off */
#define REGISTRY_ARGS_TABLE \
	{ "jobs", required_argument, NULL, 'j' }, \
	{ "plain-http", no_argument, NULL, OPT_PLAIN_HTTP }, \
	{ "ca-file", required_argument, NULL, OPT_CA_FILE }, \
	{ "retries", required_argument, NULL, OPT_RETRIES }, \
	{ "timeout", required_argument, NULL, OPT_TIMEOUT }
/* clang-format on */

#define REGISTRY_ARGS_HELP                                                                \
	"  -j, --jobs N             connections to a registry (default: 4)\n"             \
	"      --plain-http         speak http, not https; with this machine itself\n"    \
	"                           that is found out\n"                                  \
	"      --ca-file FILE       trust these certificates instead of the system's\n"   \
	"      --retries N          try again so often when nothing comes (default: 5)\n" \
	"      --timeout SECONDS    give a transfer up after so long without a byte\n"    \
	"                           (default: 60)\n"

/* Of commands that read. */
#define REGISTRY_MIRROR_TABLE                                 \
	{                                                     \
		"mirror", required_argument, NULL, OPT_MIRROR \
	}

#define REGISTRY_MIRROR_HELP                                                              \
	"      --mirror HOST=URL    read from the mirror at URL what the registry HOST\n" \
	"                           has; may be repeated: in this order\n"

/* Whether @text is a path of a layout, and not a name in a registry. */
bool registry_args_is_layout(const char *text);

/* Take over one of the options above. Returns 0 or -EINVAL. */
MUST_CHECK int registry_args_apply(struct registry_args *args, int option, const char *value,
                                   struct err *err);

/* Open the repository of @ref as the options say. From then on SIGPIPE is ignored. */
MUST_CHECK int registry_args_open(const struct registry_args *args, const struct reference *ref,
                                  struct registry **ret, struct err *err);
