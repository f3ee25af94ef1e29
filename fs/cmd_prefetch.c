/* SPDX-License-Identifier: Apache-2.0 */
/* assetfs prefetch, and waiting for what was prefetched. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "control.h"

static const char help[] =
	"Usage: assetfs prefetch [OPTION]... TARGET\n"
	"Fill the memory with what is going to be read of TARGET, a mount point or an\n"
	"image, in the background: along the trace that the image carries, or else all of\n"
	"it. An image need not be mounted.\n\n"
	"      --trace FILE        along the trace FILE instead\n"
	"      --all               all of it, in order of packs\n"
	"      --wait              return when it is filled\n"
	"      --platform OS/ARCH  choose an image (default: of this machine)\n"
	"      --store DIR         the daemon's store (default $ASSETFS_STORE, else\n"
	"                          /var/lib/assetfs)\n"
	"  -h, --help              show this help\n";

static const struct option options[] = {
	{ "trace", required_argument, NULL, 't' },
	{ "all", no_argument, NULL, 'a' },
	{ "wait", no_argument, NULL, 'w' },
	{ "platform", required_argument, NULL, 'p' },
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct prefetch_args {
	struct resident_wait what;
	const char *trace; /* NULL: none */
	bool all;
	bool wait;
};

/* How long to pause between two questions: the daemon keeps no thread for who waits. */
enum { POLL_MS = 50 };

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ask once. Returns 1 when all is filled, 0 when not yet, or why it will not be. */
static int ask(const struct resident_wait *what, json_t *request, json_t **ret, struct err *err)
{
	CLEANUP(json_decref) json_t *answer = NULL;
	const char *state;
	int r = control_call(what->store, request, &answer, NULL, err);

	if (r < 0)
		return r;
	state = client_text(answer, "state");
	if (strcmp(state, "done") == 0)
		return 1;
	if (strcmp(state, "running") != 0)
		return err_set(err, -EIO, "%s is not resident: %s",
		               what->target ? what->target : "what is mounted",
		               client_text(answer, "error")[0] != '\0'
		                       ? client_text(answer, "error")
		                       : "its prefetch was cancelled");
	json_decref(*ret);
	*ret = TAKE_PTR(answer);
	return 0;
}

static int time_out(const struct resident_wait *what, const json_t *answer, struct err *err)
{
	json_int_t done = json_integer_value(json_object_get(answer, "done_bytes"));
	json_int_t total = json_integer_value(json_object_get(answer, "total_bytes"));
	char done_text[TEXT_SIZE_MAX];
	char total_text[TEXT_SIZE_MAX];

	return err_set(err, -ETIMEDOUT, "%s is not resident after %llu s: %s of %s are filled",
	               what->target ? what->target : "what is mounted",
	               (unsigned long long)what->timeout, text_size((uint64_t)done, done_text),
	               text_size((uint64_t)total, total_text));
}

int wait_resident(const struct resident_wait *what, struct err *err)
{
	CLEANUP(free) char *target = what->target ? client_target(what->target) : NULL;
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss ss* ss*}", "version", CONTROL_VERSION, "command",
	                            "resident", "target", target, "platform", what->platform);
	CLEANUP(json_decref) json_t *answer = NULL;
	struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	double start = now();
	int r;

	if (!request)
		return err_set(err, -EINVAL, "the target must be named in UTF-8");
	while ((r = ask(what, request, &answer, err)) == 0) {
		if (what->has_timeout && now() - start >= (double)what->timeout)
			return time_out(what, answer, err);
		(void)nanosleep(&pause, NULL);
	}
	return r < 0 ? r : 0;
}

const char *prefetch_source_name(const char *argument)
{
	if (!argument)
		return "image";
	return strcmp(argument, "all") == 0 ? "all" : "file";
}

/* Returns -1 to go on, or an exit status. */
static int parse(int argc, char *argv[], struct prefetch_args *args)
{
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(help, stdout);
			return STATUS_OK;
		}
		if (option == 't')
			args->trace = optarg;
		else if (option == 'a')
			args->all = true;
		else if (option == 'w')
			args->wait = true;
		else if (option == 'p')
			args->what.platform = optarg;
		else if (option == 's')
			args->what.store = optarg;
		else
			return STATUS_USAGE;
	}
	if (argc - optind != 1 || (args->all && args->trace)) {
		(void)fprintf(stderr, "assetfs: usage: assetfs prefetch [--trace FILE | --all] "
		                      "[--wait] [--platform OS/ARCH] [--store DIR] TARGET\n");
		return STATUS_USAGE;
	}
	args->what.target = argv[optind];
	return -1;
}

static int prefetch(const struct prefetch_args *args, struct err *err)
{
	const struct resident_wait *what = &args->what;
	CLEANUP(free) char *target = client_target(what->target);
	CLEANUP(json_decref) json_t *request = NULL;
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(close) int fd = -1;
	int r;

	if (args->trace) {
		fd = client_open_trace(args->trace, err);
		if (fd < 0)
			return fd;
	}
	request = json_pack("{si ss ss ss ss*}", "version", CONTROL_VERSION, "command", "prefetch",
	                    "target", target, "source",
	                    args->trace ? "file"
	                    : args->all ? "all"
	                                : "image",
	                    "platform", what->platform);
	if (!request)
		return err_set(err, -EINVAL, "the target must be named in UTF-8");
	r = control_call_with(what->store, request, fd, &answer, NULL, err);
	return r < 0 || !args->wait ? r : wait_resident(what, err);
}

int cmd_prefetch(int argc, char *argv[])
{
	struct prefetch_args args = { .what.store = default_store() };
	struct err err = ERR_INIT;
	int status = parse(argc, argv, &args);

	if (status >= 0)
		return status;
	return prefetch(&args, &err) < 0 ? fail("prefetch", &err) : STATUS_OK;
}
