/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "control.h"

static const char help[] =
	"Usage: assetfs status [OPTION]...\n"
	"       assetfs status --wait resident [OPTION]... [TARGET]\n"
	"Show the daemon of a store and its mounts; or wait until TARGET, a mount point or\n"
	"an image, or else all that is mounted, is filled as its prefetch says.\n\n"
	"      --json              as JSON\n"
	"      --wait resident     return when it is filled; begins a prefetch, unless there\n"
	"                          was one\n"
	"      --timeout SECONDS   fail when that takes longer (default: wait for ever)\n"
	"      --platform OS/ARCH  choose an image (default: of this machine)\n"
	"      --store DIR         the daemon's store (default $ASSETFS_STORE, else\n"
	"                          /var/lib/assetfs)\n"
	"  -h, --help              show this help\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "wait", required_argument, NULL, 'w' },
	{ "timeout", required_argument, NULL, 't' },
	{ "platform", required_argument, NULL, 'p' },
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Seconds that a request may wait without a word about it. */
#define WAITS_LONG 1.0

static const char *yes_or_no(const json_t *value)
{
	if (!json_is_boolean(value))
		return "not known before the first mount";
	return json_is_true(value) ? "yes" : "no";
}

static void print_mount(const json_t *mount)
{
	double waited = json_number_value(json_object_get(mount, "oldest_request_seconds"));
	const json_t *point;
	size_t i;

	(void)printf("\n%s\n", client_text(mount, "image"));
	(void)printf("  digest      %s\n", client_text(mount, "digest"));
	(void)printf("  platform    %s\n", client_text(mount, "platform"));
	if (json_is_string(json_object_get(mount, "newer")))
		(void)printf("  newer       %s has the tag now\n", client_text(mount, "newer"));
	if (json_is_false(json_object_get(mount, "opens_seen")))
		(void)printf("  open files  not seen: the kernel opens them by itself\n");
	else
		(void)printf("  open files  %lld\n",
		             (long long)json_integer_value(json_object_get(mount, "open_files")));
	if (waited >= WAITS_LONG)
		(void)printf("  waiting     %.1f s: the oldest request of the kernel\n", waited);
	json_array_foreach(json_object_get(mount, "mountpoints"), i, point)
		(void)printf("  mounted at  %s\n", json_string_value(point));
}

static void print_pin(const json_t *pin)
{
	const json_t *floor = json_object_get(pin, "floor_bytes");
	const json_t *left = json_object_get(pin, "seconds_left");
	char size[TEXT_SIZE_MAX];

	(void)printf("pinned       %s", client_text(pin, "image"));
	if (floor)
		(void)printf(", at least %s of it",
		             text_size((uint64_t)json_integer_value(floor), size));
	if (left)
		(void)printf(", for %lld s more", (long long)json_integer_value(left));
	(void)putchar('\n');
}

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void print_prefetch(const json_t *prefetch)
{
	char done[TEXT_SIZE_MAX];
	char total[TEXT_SIZE_MAX];
	const char *error = client_text(prefetch, "error");

	(void)printf("\nprefetch of %s\n", client_text(prefetch, "image"));
	(void)printf("  state       %s, %s of %s%s%s\n", client_text(prefetch, "state"),
	             text_size(number(prefetch, "done_bytes"), done),
	             text_size(number(prefetch, "total_bytes"), total),
	             error[0] != '\0' ? ": " : "", error);
}

static void print_status(const json_t *status)
{
	char uptime[DURATION_MAX];
	const json_t *prefetch;
	const json_t *mount;
	const json_t *pin;
	size_t i;

	(void)printf("daemon       pid %lld, up %s\n",
	             (long long)json_integer_value(json_object_get(status, "pid")),
	             client_duration((uint64_t)json_integer_value(
					     json_object_get(status, "uptime_seconds")),
	                             uptime));
	(void)printf("store        %s\n", client_text(status, "store"));
	(void)printf("passthrough  %s\n", yes_or_no(json_object_get(status, "passthrough")));
	json_array_foreach(json_object_get(status, "pins"), i, pin)
		print_pin(pin);
	json_array_foreach(json_object_get(status, "mounts"), i, mount)
		print_mount(mount);
	json_array_foreach(json_object_get(status, "prefetches"), i, prefetch)
		print_prefetch(prefetch);
}

struct status_args {
	struct resident_wait what;
	bool as_json;
	bool wait;
};

/* Returns -1 to go on, or an exit status. */
static int apply_option(int option, struct status_args *args)
{
	switch (option) {
	case 'h':
		(void)fputs(help, stdout);
		return STATUS_OK;
	case 's':
		args->what.store = optarg;
		return -1;
	case 'j':
		args->as_json = true;
		return -1;
	case 'w':
		args->wait = true;
		if (strcmp(optarg, "resident") != 0)
			break;
		return -1;
	case 'p':
		args->what.platform = optarg;
		return -1;
	case 't':
		args->what.has_timeout = true;
		if (text_parse_uint(optarg, UINT32_MAX, &args->what.timeout) < 0)
			break;
		return -1;
	default: /* getopt has said what is wrong */
		return STATUS_USAGE;
	}
	(void)fprintf(stderr, "assetfs status: '%s' is not valid; see 'assetfs status --help'\n",
	              optarg);
	return STATUS_USAGE;
}

static int parse(int argc, char *argv[], struct status_args *args)
{
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		int status = apply_option(option, args);

		if (status >= 0)
			return status;
	}
	if (args->wait && optind < argc)
		args->what.target = argv[optind++];
	if (optind < argc) {
		(void)fprintf(stderr, "assetfs status: unexpected argument '%s'\n", argv[optind]);
		return STATUS_USAGE;
	}
	return -1;
}

static int show(const struct status_args *args, struct err *err)
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", "status");
	CLEANUP(json_decref) json_t *answer = NULL;
	int r = control_call(args->what.store, request, &answer, NULL, err);

	if (r < 0)
		return r;
	(void)json_object_del(answer, "ok");
	if (args->as_json) {
		(void)json_dumpf(answer, stdout, JSON_INDENT(2));
		(void)putchar('\n');
	} else {
		print_status(answer);
	}
	return 0;
}

int cmd_status(int argc, char *argv[])
{
	struct status_args args = { .what.store = default_store() };
	struct err err = ERR_INIT;
	int status = parse(argc, argv, &args);
	int r;

	if (status >= 0)
		return status;
	r = args.wait ? wait_resident(&args.what, &err) : show(&args, &err);
	return r < 0 ? fail("status", &err) : STATUS_OK;
}
