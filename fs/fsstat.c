/* SPDX-License-Identifier: Apache-2.0 */
/* fsstat: what the daemon's cache does and what sharing saves. */
#include "fsstat.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/cli.h"
#include "base/text.h"
#include "client.h"
#include "control.h"
#include "prometheus.h"

static const char help[] =
	"Usage: fsstat [OPTION]... [TARGET]\n"
	"Show hit rates, memory and what sharing saves; of TARGET, a mount point or an\n"
	"image, or of all images that the daemon serves.\n\n"
	"      --json             as JSON\n"
	"      --prometheus       in the text format of Prometheus\n"
	"      --check CONDITION  print nothing; status 1 unless all is so, e.g.\n"
	"                         'open_hit_rate>0.95,errors=0'\n"
	"      --watch[=SECONDS]  on the whole screen, with rates, every 2 SECONDS\n"
	"      --pods             the containers that use the mounts, one by one\n"
	"      --hot N, --cold N  the N files that are opened most, or least while they\n"
	"                         lie in memory\n"
	"      --store DIR        the daemon's store (default $ASSETFS_STORE, else\n"
	"                         /var/lib/assetfs)\n"
	"  -h, --help             show this help\n"
	"      --version          show the version\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "prometheus", no_argument, NULL, 'p' },
	{ "check", required_argument, NULL, 'c' },
	{ "store", required_argument, NULL, 's' },
	{ "watch", optional_argument, NULL, 'w' },
	{ "pods", no_argument, NULL, 'P' },
	{ "hot", required_argument, NULL, 'H' },
	{ "cold", required_argument, NULL, 'C' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

enum { FILES_MAX = 100000 };

enum form { FORM_TABLE, FORM_JSON, FORM_PROMETHEUS, FORM_CHECK, FORM_WATCH };

struct arguments {
	struct fsstat_source source;
	enum form form;
	const char *conditions; /* of FORM_CHECK */
	double seconds;         /* of FORM_WATCH */
};

/* TARGET as the daemon knows it: an absolute mount point or image. The caller frees it. */
static char *resolve_target(const char *target)
{
	char *resolved = NULL;

	if (client_directory(target, &resolved, NULL) == 0 ||
	    client_image_name(target, &resolved, NULL) == 0)
		return resolved;
	return strdup(target);
}

static int print_prometheus(const json_t *stats, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len;
	int r = prometheus_text(stats, EXPOSITION_TEXT, &text, &len);

	if (r < 0)
		return err_set(err, r, "out of memory");
	(void)fwrite(text, 1, len, stdout);
	return 0;
}

static int complain(const struct err *err)
{
	(void)fprintf(stderr, "fsstat: %s\n", err->msg);
	return STATUS_FAILED;
}

/* Returns an exit status. */
static int print_form(const struct arguments *args, const json_t *stats)
{
	struct err err = ERR_INIT;
	int r = 0;

	if (args->form == FORM_CHECK) {
		r = fsstat_check(stats, args->conditions, &err);
		if (r == 1)
			return STATUS_OK;
		(void)complain(&err);
		return r == 0 ? STATUS_FAILED : STATUS_USAGE;
	}
	if (args->form == FORM_TABLE)
		fsstat_print(stats, stdout);
	else if (args->form == FORM_PROMETHEUS)
		r = print_prometheus(stats, &err);
	else if (json_dumpf(stats, stdout, JSON_INDENT(2)) == 0)
		(void)putchar('\n');
	if (r == 0 && fflush(stdout) != 0)
		r = err_set_errno(&err, "standard output");
	return r < 0 ? complain(&err) : STATUS_OK;
}

static int run(const struct arguments *args)
{
	CLEANUP(json_decref) json_t *stats = NULL;
	struct err err = ERR_INIT;
	int from;
	int status;

	if (args->form == FORM_WATCH)
		return fsstat_watch(&args->source, args->seconds, &err) < 0 ? complain(&err)
		                                                            : STATUS_OK;
	from = fsstat_load(&args->source, &stats, &err);
	if (from != 0)
		(void)complain(&err);
	if (from < 0)
		return STATUS_FAILED;
	status = print_form(args, stats);
	return from == 2 && status == STATUS_OK ? STATUS_FAILED : status;
}

static int set_files(struct arguments *args, const char *text)
{
	uint64_t n;

	if (text_parse_uint(text, FILES_MAX, &n) == 0 && n > 0) {
		args->source.files = (unsigned)n;
		return -1;
	}
	(void)fprintf(stderr, "fsstat: '%s' is no number of files from 1 to %d\n", text, FILES_MAX);
	return STATUS_USAGE;
}

static int set_interval(struct arguments *args, const char *text)
{
	char *end;

	args->seconds = text ? strtod(text, &end) : 2;
	if (!text || (end != text && *end == '\0' && args->seconds >= 0.1 && args->seconds <= 3600))
		return -1;
	(void)fprintf(stderr, "fsstat: '%s' is no interval from 0.1 to 3600 seconds\n", text);
	return STATUS_USAGE;
}

/* Returns -1 to go on, or an exit status. */
static int apply_option(int option, struct arguments *args)
{
	switch (option) {
	case 'h':
	case 'V':
		(void)fputs(option == 'h' ? help : "fsstat " ASSETFS_VERSION "\n", stdout);
		return STATUS_OK;
	case 's':
		args->source.store = optarg;
		return -1;
	case 'j':
		args->form = FORM_JSON;
		return -1;
	case 'p':
		args->form = FORM_PROMETHEUS;
		return -1;
	case 'H':
	case 'C':
		args->source.detail = option == 'H' ? "hot" : "cold";
		return set_files(args, optarg);
	case 'P':
		args->source.detail = "pods";
		return -1;
	case 'c':
		args->form = FORM_CHECK;
		args->conditions = optarg;
		return -1;
	case 'w':
		args->form = FORM_WATCH;
		return set_interval(args, optarg);
	default: /* getopt has said what is wrong */
		return STATUS_USAGE;
	}
}

int main(int argc, char *argv[])
{
	struct arguments args = { .source.store = default_store() };
	CLEANUP(free) char *target = NULL;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		int status = apply_option(option, &args);

		if (status >= 0)
			return status;
	}
	if (argc - optind > 1) {
		(void)fprintf(stderr, "fsstat: unexpected argument '%s'\n", argv[optind + 1]);
		return STATUS_USAGE;
	}
	if (optind < argc)
		target = resolve_target(argv[optind]);
	args.source.target = target;
	return run(&args);
}
