/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "client.h"
#include "fsstat.h"

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

static void print_region(const json_t *stats, FILE *out)
{
	const json_t *region = json_object_get(stats, "region");
	const json_t *passthrough = json_object_get(stats, "passthrough");
	char used[TEXT_SIZE_MAX];
	char size[TEXT_SIZE_MAX];
	char uptime[DURATION_MAX];

	(void)fprintf(out, "daemon   up %s, passthrough %s\n",
	              client_duration(fsstat_number(stats, "uptime_seconds"), uptime),
	              json_is_true(passthrough)      ? "on"
	              : json_is_boolean(passthrough) ? "off: reads go through the daemon"
	                                             : "not known before the first mount");
	(void)fprintf(out, "region   %s of %s of %s, objects: %llu, %llu have left for others\n",
	              text_size(fsstat_number(region, "used_bytes"), used),
	              text_size(fsstat_number(region, "size_bytes"), size),
	              client_text(region, "kind"),
	              (unsigned long long)fsstat_number(region, "objects"),
	              (unsigned long long)fsstat_number(region, "evictions_total"));
}

/* Of registries; nothing where none was used. */
static void print_fetch(const json_t *cache, FILE *out)
{
	char bytes[TEXT_SIZE_MAX];

	if (fsstat_number(cache, "fetch_requests_total") == 0)
		return;
	(void)fprintf(
		out,
		"fetched  %s by %llu transfers, of which %llu failed; %llu times wrong bytes, "
		"%llu waits in vain\n",
		text_size(fsstat_number(cache, "bytes_fetched_total"), bytes),
		(unsigned long long)fsstat_number(cache, "fetches_total"),
		(unsigned long long)fsstat_number(cache, "fetch_errors_total"),
		(unsigned long long)fsstat_number(cache, "fetch_damaged_total"),
		(unsigned long long)fsstat_number(cache, "fetch_timeouts_total"));
}

static void print_cache(const json_t *cache, FILE *out)
{
	char rate[RATE_MAX];
	char bytes[TEXT_SIZE_MAX];

	(void)fprintf(out, "opens    %llu, hits %s\n",
	              (unsigned long long)fsstat_number(cache, "opens_total"),
	              percent(cache, "open_hit_rate", rate));
	(void)fprintf(out, "chunks   %llu requested, hits %s\n",
	              (unsigned long long)fsstat_number(cache, "chunk_requests_total"),
	              percent(cache, "chunk_hit_rate", rate));
	(void)fprintf(out, "         %llu decompressed (%s), %llu of them again, %llu copied\n",
	              (unsigned long long)fsstat_number(cache, "chunks_decompressed_total"),
	              text_size(fsstat_number(cache, "bytes_decompressed_total"), bytes),
	              (unsigned long long)fsstat_number(cache, "chunks_decompressed_again_total"),
	              (unsigned long long)fsstat_number(cache, "chunks_copied_total"));
}

/* A latency that a person reads at a glance, e.g. "1.3 ms". */
static const char *duration(const json_t *latency, const char *key, char buf[static RATE_MAX])
{
	const json_t *value = json_object_get(latency, key);
	double seconds = json_real_value(value);

	if (!json_is_real(value))
		(void)snprintf(buf, RATE_MAX, "-");
	else if (seconds < 1e-3)
		(void)snprintf(buf, RATE_MAX, "%.0f us", seconds * 1e6);
	else if (seconds < 1)
		(void)snprintf(buf, RATE_MAX, "%.1f ms", seconds * 1e3);
	else
		(void)snprintf(buf, RATE_MAX, "%.1f s", seconds);
	return buf;
}

void fsstat_print_latency(const json_t *stats, FILE *out)
{
	const json_t *latency = json_object_get(stats, "latency");
	const json_t *open = json_object_get(latency, "open");
	const json_t *fill = json_object_get(latency, "chunk_fill");
	char text[4][RATE_MAX];

	(void)fprintf(out, "latency  opens: half %s, 99 %% %s; fills: half %s, 99 %% %s\n",
	              duration(open, "p50_seconds", text[0]),
	              duration(open, "p99_seconds", text[1]),
	              duration(fill, "p50_seconds", text[2]),
	              duration(fill, "p99_seconds", text[3]));
}

void fsstat_print_sharing(const json_t *stats, FILE *out)
{
	const json_t *sharing = json_object_get(stats, "sharing");
	char private[TEXT_SIZE_MAX];
	char shared[TEXT_SIZE_MAX];
	char saved[TEXT_SIZE_MAX];

	(void)fprintf(out,
	              "sharing  users: %llu; %s if each had its own copy, %s shared, %s saved\n",
	              (unsigned long long)fsstat_number(sharing, "users"),
	              text_size(fsstat_number(sharing, "bytes_if_private"), private),
	              text_size(fsstat_number(sharing, "bytes_shared"), shared),
	              text_size(fsstat_number(sharing, "bytes_saved"), saved));
}

static void print_image(const json_t *image, FILE *out)
{
	char bytes[TEXT_SIZE_MAX];
	char resident[TEXT_SIZE_MAX];
	char opens[24];
	const json_t *point;
	size_t i;

	(void)snprintf(opens, sizeof(opens), "%llu",
	               (unsigned long long)fsstat_number(image, "opens_total"));
	(void)fprintf(out, "%10llu %10s %10s %10s %7llu  %s (%s)\n",
	              (unsigned long long)fsstat_number(image, "files"),
	              text_size(fsstat_number(image, "bytes"), bytes),
	              text_size(fsstat_number(image, "resident_bytes"), resident),
	              json_is_false(json_object_get(image, "opens_seen")) ? "not seen" : opens,
	              (unsigned long long)fsstat_number(image, "errors_total"),
	              client_text(image, "image"), client_text(image, "platform"));
	json_array_foreach(json_object_get(image, "mountpoints"), i, point)
		(void)fprintf(out, "%51s  at %s\n", "", json_string_value(point));
}

/* The container, else the command. */
static const char *pod_name(const json_t *pod)
{
	const char *container = client_text(pod, "container");

	return container[0] != '\0' ? container : client_text(pod, "command");
}

/* " of pod NAMESPACE/NAME", else its uid; nothing for what is in no pod. */
static void print_pod_of(const json_t *pod, FILE *out)
{
	const char *name = client_text(pod, "pod_name");
	const char *uid = client_text(pod, "pod_uid");

	if (name[0] != '\0')
		(void)fprintf(out, " of pod %s/%s", client_text(pod, "pod_namespace"), name);
	else if (uid[0] != '\0')
		(void)fprintf(out, " of pod %s", uid);
}

static void print_pods(const json_t *pods, FILE *out)
{
	const json_t *pod;
	size_t i;

	(void)fprintf(out, "\n%10s %10s %8s  %s\n", "PRIVATE", "CHARGED", "PID", "CONTAINER");
	json_array_foreach(pods, i, pod) {
		char private[TEXT_SIZE_MAX];
		char charged[TEXT_SIZE_MAX];

		(void)fprintf(out, "%10s %10s %8llu  %.12s",
		              text_size(fsstat_number(pod, "bytes_if_private"), private),
		              json_is_integer(json_object_get(pod, "memory_bytes"))
		                      ? text_size(fsstat_number(pod, "memory_bytes"), charged)
		                      : "-",
		              (unsigned long long)fsstat_number(pod, "pid"), pod_name(pod));
		print_pod_of(pod, out);
		(void)fprintf(out, "\n%32s%s\n", "", client_text(pod, "cgroup"));
	}
}

static void print_files(const json_t *files, FILE *out)
{
	const json_t *file;
	size_t i;

	(void)fprintf(out, "\n%10s %10s %10s  %s\n", "OPENS", "SIZE", "RESIDENT", "FILE");
	json_array_foreach(files, i, file) {
		char bytes[TEXT_SIZE_MAX];
		char resident[TEXT_SIZE_MAX];

		(void)fprintf(out, "%10llu %10s %10s  %s (%s)\n",
		              (unsigned long long)fsstat_number(file, "opens_total"),
		              text_size(fsstat_number(file, "bytes"), bytes),
		              text_size(fsstat_number(file, "resident_bytes"), resident),
		              client_text(file, "path"), client_text(file, "image"));
	}
}

void fsstat_print(const json_t *stats, FILE *out)
{
	const json_t *image;
	size_t i;

	const json_t *images = json_object_get(stats, "images");

	if (images)
		print_region(stats, out);
	print_cache(json_object_get(stats, "cache"), out);
	print_fetch(json_object_get(stats, "cache"), out);
	fsstat_print_latency(stats, out);
	if (!images)
		return;
	fsstat_print_sharing(stats, out);
	(void)fprintf(out, "\n%10s %10s %10s %10s %7s  %s\n", "FILES", "SIZE", "RESIDENT", "OPENS",
	              "ERRORS", "IMAGE");
	json_array_foreach(images, i, image)
		print_image(image, out);
	if (json_object_get(stats, "files"))
		print_files(json_object_get(stats, "files"), out);
	if (json_object_get(stats, "pods"))
		print_pods(json_object_get(stats, "pods"), out);
}
