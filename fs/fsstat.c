/* SPDX-License-Identifier: Apache-2.0 */
/* fsstat: what the daemon's cache does and what sharing saves. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cli.h"
#include "base/text.h"
#include "client.h"
#include "control.h"

static const char help[] =
	"Usage: fsstat [OPTION]... [TARGET]\n"
	"Show hit rates, memory and what sharing saves; of TARGET, a mount point or an\n"
	"image, or of all images that the daemon serves.\n\n"
	"      --json       as JSON\n"
	"      --store DIR  the daemon's store (default $ASSETFS_STORE, else\n"
	"                   /var/lib/assetfs)\n"
	"  -h, --help       show this help\n"
	"      --version    show the version\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "store", required_argument, NULL, 's' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

#define RATE_MAX 16u

/* "94.2 %", or "-" when there was nothing to count. */
static const char *percent(const json_t *object, const char *key, char buf[static RATE_MAX])
{
	const json_t *rate = json_object_get(object, key);

	if (json_is_real(rate))
		(void)snprintf(buf, RATE_MAX, "%.1f %%", 100 * json_real_value(rate));
	else
		(void)snprintf(buf, RATE_MAX, "-");
	return buf;
}

static void print_region(const json_t *stats)
{
	const json_t *region = json_object_get(stats, "region");
	const json_t *passthrough = json_object_get(stats, "passthrough");
	char used[TEXT_SIZE_MAX];
	char size[TEXT_SIZE_MAX];
	char uptime[DURATION_MAX];

	(void)printf("daemon   up %s, passthrough %s\n",
	             client_duration(number(stats, "uptime_seconds"), uptime),
	             json_is_true(passthrough)      ? "on"
	             : json_is_boolean(passthrough) ? "off: reads go through the daemon"
	                                            : "not known before the first mount");
	(void)printf("region   %s of %s of memory, objects: %llu\n",
	             text_size(number(region, "used_bytes"), used),
	             text_size(number(region, "size_bytes"), size),
	             (unsigned long long)number(region, "objects"));
}

static void print_cache(const json_t *cache)
{
	char rate[RATE_MAX];
	char bytes[TEXT_SIZE_MAX];

	(void)printf("opens    %llu, hits %s\n", (unsigned long long)number(cache, "opens_total"),
	             percent(cache, "open_hit_rate", rate));
	(void)printf("chunks   %llu requested, hits %s\n",
	             (unsigned long long)number(cache, "chunk_requests_total"),
	             percent(cache, "chunk_hit_rate", rate));
	(void)printf("         %llu decompressed (%s), %llu of them again, %llu copied\n",
	             (unsigned long long)number(cache, "chunks_decompressed_total"),
	             text_size(number(cache, "bytes_decompressed_total"), bytes),
	             (unsigned long long)number(cache, "chunks_decompressed_again_total"),
	             (unsigned long long)number(cache, "chunks_copied_total"));
}

static void print_sharing(const json_t *sharing)
{
	char private[TEXT_SIZE_MAX];
	char shared[TEXT_SIZE_MAX];
	char saved[TEXT_SIZE_MAX];

	(void)printf("sharing  users: %llu; %s if each had its own copy, %s shared, %s saved\n",
	             (unsigned long long)number(sharing, "users"),
	             text_size(number(sharing, "bytes_if_private"), private),
	             text_size(number(sharing, "bytes_shared"), shared),
	             text_size(number(sharing, "bytes_saved"), saved));
}

static void print_image(const json_t *image)
{
	char bytes[TEXT_SIZE_MAX];
	char resident[TEXT_SIZE_MAX];
	char opens[24];
	const json_t *point;
	size_t i;

	(void)snprintf(opens, sizeof(opens), "%llu",
	               (unsigned long long)number(image, "opens_total"));
	(void)printf("%10llu %10s %10s %10s %7llu  %s (%s)\n",
	             (unsigned long long)number(image, "files"),
	             text_size(number(image, "bytes"), bytes),
	             text_size(number(image, "resident_bytes"), resident),
	             json_is_false(json_object_get(image, "opens_seen")) ? "not seen" : opens,
	             (unsigned long long)number(image, "errors_total"), client_text(image, "image"),
	             client_text(image, "platform"));
	json_array_foreach(json_object_get(image, "mountpoints"), i, point)
		(void)printf("%51s  at %s\n", "", json_string_value(point));
}

static void print_stats(const json_t *stats)
{
	const json_t *image;
	size_t i;

	print_region(stats);
	print_cache(json_object_get(stats, "cache"));
	print_sharing(json_object_get(stats, "sharing"));
	(void)printf("\n%10s %10s %10s %10s %7s  %s\n", "FILES", "SIZE", "RESIDENT", "OPENS",
	             "ERRORS", "IMAGE");
	json_array_foreach(json_object_get(stats, "images"), i, image)
		print_image(image);
}

/* TARGET as the daemon knows it: an absolute mount point or image. The caller frees it. */
static char *resolve_target(const char *target)
{
	char *resolved = NULL;

	if (client_directory(target, &resolved, NULL) == 0 ||
	    client_image_name(target, &resolved, NULL) == 0)
		return resolved;
	return strdup(target);
}

static int show(const char *store, const char *target, bool as_json, struct err *err)
{
	CLEANUP(free) char *resolved = target ? resolve_target(target) : NULL;
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss ss*}", "version", CONTROL_VERSION, "command", "stats",
	                            "target", resolved);
	CLEANUP(json_decref) json_t *stats = NULL;
	int r;

	if (!request)
		return err_set(err, -EINVAL, "the target must be named in UTF-8");
	r = control_call(store, request, &stats, NULL, err);
	if (r < 0)
		return r;
	(void)json_object_del(stats, "ok");
	if (!as_json)
		print_stats(stats);
	else if (json_dumpf(stats, stdout, JSON_INDENT(2)) == 0)
		(void)putchar('\n');
	return fflush(stdout) == 0 ? 0 : err_set_errno(err, "standard output");
}

int main(int argc, char *argv[])
{
	const char *store = default_store();
	struct err err = ERR_INIT;
	bool as_json = false;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			(void)fputs(option == 'h' ? help : "fsstat " ASSETFS_VERSION "\n", stdout);
			return STATUS_OK;
		}
		if (option == 's')
			store = optarg;
		else if (option == 'j')
			as_json = true;
		else
			return STATUS_USAGE;
	}
	if (argc - optind > 1) {
		(void)fprintf(stderr, "fsstat: unexpected argument '%s'\n", argv[optind + 1]);
		return STATUS_USAGE;
	}
	if (show(store, argv[optind], as_json, &err) < 0) {
		(void)fprintf(stderr, "fsstat: %s\n", err.msg);
		return STATUS_FAILED;
	}
	return STATUS_OK;
}
