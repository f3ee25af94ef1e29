/* SPDX-License-Identifier: Apache-2.0 */
#include "prometheus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "stats.h"

/* A number of the report that is not in the page of counters. */
struct number {
	const char *object; /* NULL: of the report itself */
	const char *name;
	const char *metric;
	const char *help;
};

static const struct number gauges[] = {
	{ NULL, "uptime_seconds", "assetfs_uptime_seconds", "Age of the daemon." },
	{ NULL, "passthrough", "assetfs_passthrough",
	  "Whether files that are filled are read without the daemon." },
	{ "region", "size_bytes", "assetfs_region_size_bytes", "Memory that the region may take." },
	{ "region", "used_bytes", "assetfs_region_used_bytes", "Memory that the region takes." },
	{ "region", "huge_bytes", "assetfs_region_huge_bytes",
	  "Memory of the region that is on huge pages." },
	{ "region", "objects", "assetfs_region_objects", "Files in the region." },
	{ "store", "used_bytes", "assetfs_store_used_bytes",
	  "Bytes of blobs of registries in the store." },
	{ "sharing", "users", "assetfs_users",
	  "Mount namespaces that have opened a file and have a living process." },
	{ "sharing", "bytes_if_private", "assetfs_private_bytes",
	  "What the users would hold if each had its own copy." },
	{ "sharing", "bytes_shared", "assetfs_shared_bytes",
	  "What the users have opened, counted once." },
	{ "sharing", "bytes_saved", "assetfs_saved_bytes",
	  "Difference of assetfs_private_bytes and assetfs_shared_bytes." },
};

static const struct number image_numbers[] = {
	{ NULL, "files", "assetfs_image_files", "Regular files of a mounted image." },
	{ NULL, "bytes", "assetfs_image_bytes", "Size of a mounted image's files." },
	{ NULL, "resident_bytes", "assetfs_image_resident_bytes",
	  "Bytes of a mounted image's files that are in the region." },
	{ NULL, "opens_total", "assetfs_image_opens_total",
	  "Opens of files of a mounted image that are not empty." },
	{ NULL, "errors_total", "assetfs_image_errors_total",
	  "Requests to a mounted image that failed." },
};

static const char *const image_labels[] = { "image", "digest", "platform" };

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

const char *prometheus_content_type(enum exposition format)
{
	return format == EXPOSITION_OPENMETRICS
	               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
	               : "text/plain; version=0.0.4; charset=utf-8";
}

enum exposition prometheus_accepted(const char *accept)
{
	return accept && strcasestr(accept, "application/openmetrics-text") ? EXPOSITION_OPENMETRICS
	                                                                    : EXPOSITION_TEXT;
}

struct writer {
	FILE *out;
	enum exposition format;
};

static bool is_total(const char *metric)
{
	size_t len = strlen(metric);

	return len > 6 && strcmp(metric + len - 6, "_total") == 0;
}

/* OpenMetrics names the family of a counter without the ending that its sample has. */
static void write_family(const struct writer *w, const char *metric, const char *type,
                         const char *help)
{
	bool cut = w->format == EXPOSITION_OPENMETRICS && is_total(metric);
	int len = (int)(strlen(metric) - (cut ? 6 : 0));

	(void)fprintf(w->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", len, metric, help, len, metric,
	              type);
}

static void write_value(const struct writer *w, const json_t *value)
{
	if (json_is_real(value))
		(void)fprintf(w->out, " %.17g\n", json_real_value(value));
	else if (json_is_boolean(value))
		(void)fprintf(w->out, " %d\n", json_is_true(value));
	else
		(void)fprintf(w->out, " %lld\n", (long long)json_integer_value(value));
}

static bool is_number(const json_t *value)
{
	return json_is_number(value) || json_is_boolean(value);
}

static void write_gauges(const struct writer *w, const json_t *report)
{
	for (size_t i = 0; i < N_ELEMENTS(gauges); i++) {
		const struct number *n = &gauges[i];
		const json_t *object = n->object ? json_object_get(report, n->object) : report;
		const json_t *value = json_object_get(object, n->name);

		if (!is_number(value))
			continue;
		write_family(w, n->metric, "gauge", n->help);
		(void)fputs(n->metric, w->out);
		write_value(w, value);
	}
}

static void write_counters(const struct writer *w, const json_t *report)
{
	for (unsigned i = 0; i < STAT_COUNTERS; i++) {
		const struct stat_info *info = &stat_counters[i];
		const json_t *value =
			json_object_get(json_object_get(report, info->object), info->name);

		if (!is_number(value))
			continue;
		write_family(w, info->metric, "counter", info->help);
		(void)fputs(info->metric, w->out);
		write_value(w, value);
	}
}

/* Number of values up to @limit seconds. */
static long long count_within(const json_t *buckets, double limit)
{
	long long sum = 0;
	const json_t *bucket;
	size_t i;

	json_array_foreach(buckets, i, bucket) {
		const json_t *le = json_object_get(bucket, "le_seconds");

		if (json_is_real(le) && json_real_value(le) <= limit)
			sum += json_integer_value(json_object_get(bucket, "count"));
	}
	return sum;
}

/* Every second power of two: fourteen series, whatever the page has. */
static void write_latency(const struct writer *w, const struct stat_info *info,
                          const json_t *latency)
{
	const json_t *buckets = json_object_get(latency, "buckets");
	const json_t *count = json_object_get(latency, "count");

	write_family(w, info->metric, "histogram", info->help);
	for (unsigned bits = LATENCY_MIN_BITS; bits <= LATENCY_MAX_BITS; bits += 2) {
		double limit = (double)((uint64_t)1 << bits) / 1e9;

		(void)fprintf(w->out, "%s_bucket{le=\"%.9g\"} %lld\n", info->metric, limit,
		              count_within(buckets, limit));
	}
	(void)fprintf(w->out, "%s_bucket{le=\"+Inf\"}", info->metric);
	write_value(w, count);
	(void)fprintf(w->out, "%s_sum", info->metric);
	write_value(w, json_object_get(latency, "sum_seconds"));
	(void)fprintf(w->out, "%s_count", info->metric);
	write_value(w, count);
}

static void write_label(const struct writer *w, const char *name, const char *value)
{
	(void)fprintf(w->out, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			(void)fputs("\\n", w->out);
		else if (*value == '\\' || *value == '"')
			(void)fprintf(w->out, "\\%c", *value);
		else
			(void)fputc(*value, w->out);
	}
	(void)fputc('"', w->out);
}

static const char *label_of(const json_t *image, size_t i)
{
	const char *text = json_string_value(json_object_get(image, image_labels[i]));

	return text ? text : "";
}

static bool same_labels(const json_t *a, const json_t *b)
{
	for (size_t i = 0; i < N_ELEMENTS(image_labels); i++) {
		if (strcmp(label_of(a, i), label_of(b, i)) != 0)
			return false;
	}
	return true;
}

/* Whether an image before number @i of @images has its labels: a series may be there once. */
static bool is_repeated(const json_t *images, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (same_labels(json_array_get(images, k), json_array_get(images, i)))
			return true;
	}
	return false;
}

static void write_sample(const struct writer *w, const struct number *n, const json_t *image)
{
	(void)fputs(n->metric, w->out);
	for (size_t i = 0; i < N_ELEMENTS(image_labels); i++) {
		(void)fputc(i == 0 ? '{' : ',', w->out);
		write_label(w, image_labels[i], label_of(image, i));
	}
	(void)fputc('}', w->out);
	write_value(w, json_object_get(image, n->name));
}

static void write_images(const struct writer *w, const json_t *images)
{
	for (size_t i = 0; i < N_ELEMENTS(image_numbers); i++) {
		const struct number *n = &image_numbers[i];
		const json_t *image;
		size_t k;

		if (json_array_size(images) > 0)
			write_family(w, n->metric, is_total(n->metric) ? "counter" : "gauge",
			             n->help);
		json_array_foreach(images, k, image) {
			if (!is_repeated(images, k) && is_number(json_object_get(image, n->name)))
				write_sample(w, n, image);
		}
	}
}

int prometheus_text(const json_t *report, enum exposition format, char **ret, size_t *ret_len)
{
	struct writer w = { .format = format };
	char *text = NULL;

	w.out = open_memstream(&text, ret_len);
	if (!w.out)
		return -ENOMEM;
	write_family(&w, "assetfs_build_info", "gauge", "Always 1; the version is a label.");
	(void)fputs("assetfs_build_info{version=\"" ASSETFS_VERSION "\"} 1\n", w.out);
	write_gauges(&w, report);
	write_counters(&w, report);
	for (unsigned i = 0; i < STAT_LATENCIES; i++) {
		const json_t *latency =
			json_object_get(json_object_get(report, "latency"), stat_latencies[i].name);

		if (latency)
			write_latency(&w, &stat_latencies[i], latency);
	}
	write_images(&w, json_object_get(report, "images"));
	if (format == EXPOSITION_OPENMETRICS)
		(void)fputs("# EOF\n", w.out);
	if (fclose(w.out) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}
