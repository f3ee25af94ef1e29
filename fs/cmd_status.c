/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "control.h"

static const char help[] = "Usage: assetfs status [OPTION]...\n"
			   "Show the daemon of a store and its mounts.\n\n"
			   "      --json       as JSON\n"
			   "      --store DIR  the daemon's store (default $ASSETFS_STORE, else\n"
			   "                   /var/lib/assetfs)\n"
			   "  -h, --help       show this help\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char *yes_or_no(const json_t *value)
{
	if (!json_is_boolean(value))
		return "not known before the first mount";
	return json_is_true(value) ? "yes" : "no";
}

static void print_mount(const json_t *mount)
{
	const json_t *point;
	size_t i;

	(void)printf("\n%s\n", client_text(mount, "image"));
	(void)printf("  digest      %s\n", client_text(mount, "digest"));
	(void)printf("  platform    %s\n", client_text(mount, "platform"));
	if (json_is_false(json_object_get(mount, "opens_seen")))
		(void)printf("  open files  not seen: the kernel opens them by itself\n");
	else
		(void)printf("  open files  %lld\n",
		             (long long)json_integer_value(json_object_get(mount, "open_files")));
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

static void print_status(const json_t *status)
{
	char uptime[DURATION_MAX];
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
}

int cmd_status(int argc, char *argv[])
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", "status");
	CLEANUP(json_decref) json_t *answer = NULL;
	const char *store = default_store();
	struct err err = ERR_INIT;
	bool as_json = false;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(help, stdout);
			return STATUS_OK;
		}
		if (option == 's')
			store = optarg;
		else if (option == 'j')
			as_json = true;
		else
			return STATUS_USAGE;
	}
	if (optind < argc) {
		(void)fprintf(stderr, "assetfs status: unexpected argument '%s'\n", argv[optind]);
		return STATUS_USAGE;
	}
	if (control_call(store, request, &answer, NULL, &err) < 0)
		return fail("status", &err);
	(void)json_object_del(answer, "ok");
	if (as_json) {
		(void)json_dumpf(answer, stdout, JSON_INDENT(2));
		(void)putchar('\n');
	} else {
		print_status(answer);
	}
	return STATUS_OK;
}
