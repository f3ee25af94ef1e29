/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "commands.h"
#include "control.h"

enum {
	POLLS = 600, /* for the next daemon: half a minute */
	POLL_NS = 50000000,
};

static const char help[] =
	"Usage: assetfs upgrade [OPTION]...\n"
	"Let another daemon go on with all mounts, which notice nothing.\n\n"
	"      --binary PATH           the program that it is (default: the one that the\n"
	"                              keeper or the service manager starts)\n"
	"      --store DIR             the daemon's store (default $ASSETFS_STORE, else\n"
	"                              /var/lib/assetfs)\n"
	"  -h, --help                  show this help\n";

static const struct option options[] = {
	{ "binary", required_argument, NULL, 'b' },
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* The pid of the daemon, or -errno. Its version goes to *@ret, which the caller gives back. */
static long who_serves(const char *store, json_t **ret, struct err *err)
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", "status");
	int r = control_call(store, request, ret, NULL, err);

	return r < 0 ? r : (long)json_integer_value(json_object_get(*ret, "pid"));
}

/* Wait until another daemon than @before answers. */
static int await_next(const char *store, long before, struct err *err)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };

	for (int i = 0; i < POLLS; i++) {
		CLEANUP(json_decref) json_t *answer = NULL;
		long pid = who_serves(store, &answer, err);

		if (pid > 0 && pid != before) {
			printf("daemon %ld has taken over from %ld\n", pid, before);
			return 0;
		}
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, -ETIMEDOUT, "no other daemon has taken over; see its log");
}

static int upgrade(const char *store, const char *binary, struct err *err)
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss}", "version", CONTROL_VERSION, "command", "upgrade");
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(free) char *path = binary ? realpath(binary, NULL) : NULL;
	int r;

	if (binary && (!path || access(path, X_OK) < 0))
		return err_set_errno(err, "'%s'", binary);
	if (path && json_object_set_new(request, "binary", json_string(path)) < 0)
		return err_set(err, -EINVAL, "the program must be named in UTF-8");
	r = control_call(store, request, &answer, NULL, err);
	return r < 0 ? r
	             : await_next(store, (long)json_integer_value(json_object_get(answer, "pid")),
	                          err);
}

int cmd_upgrade(int argc, char *argv[])
{
	const char *store = default_store();
	const char *binary = NULL;
	struct err err = ERR_INIT;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'b':
			binary = optarg;
			break;
		case 's':
			store = optarg;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return STATUS_OK;
		default: /* getopt has said what is wrong */
			return STATUS_USAGE;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "assetfs upgrade: unexpected argument '%s'\n", argv[optind]);
		return STATUS_USAGE;
	}
	return upgrade(store, binary, &err) < 0 ? fail("upgrade", &err) : STATUS_OK;
}
