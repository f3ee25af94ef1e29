/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "prometheus.h"
#include "stats.h"
#include "stats_json.h"

Test(stats, every_time_lies_below_the_limit_of_its_bucket_and_above_that_of_the_one_before)
{
	for (uint64_t ns = 1; ns < (uint64_t)1 << 40; ns += ns / 7 + 1) {
		unsigned i = stats_bucket(ns);

		cr_assert_lt(i, (unsigned)LATENCY_BUCKETS);
		cr_assert_leq(ns, stats_bucket_limit(i));
		cr_assert(i == 0 || ns > stats_bucket_limit(i - 1), "%llu", (unsigned long long)ns);
	}
	cr_assert_eq(stats_bucket(0), 0u);
	cr_assert_eq(stats_bucket(UINT64_MAX), (unsigned)LATENCY_BUCKETS - 1);
}

Test(stats, limits_belong_to_the_bucket_below_and_are_an_eighth_apart)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS - 1; i++) {
		uint64_t limit = stats_bucket_limit(i);

		cr_assert_eq(stats_bucket(limit), i);
		cr_assert_eq(stats_bucket(limit + 1), i + 1);
		cr_assert(i == 0 || limit - stats_bucket_limit(i - 1) <= limit / 8);
	}
	cr_assert_eq(stats_bucket_limit(LATENCY_BUCKETS - 2), (uint64_t)1 << LATENCY_MAX_BITS);
}

static int temp_dir(char dir[static 32])
{
	(void)snprintf(dir, 32, "/tmp/stats-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void remove_dir(const char *dir, int fd)
{
	(void)unlinkat(fd, STATS_FILE, 0);
	(void)close(fd);
	cr_assert_eq(rmdir(dir), 0);
}

Test(stats, counting_goes_on_where_the_last_daemon_was_and_can_be_read_meanwhile)
{
	struct err err = ERR_INIT;
	struct stats *page;
	struct stats read;
	char dir[32];
	int fd = temp_dir(dir);

	cr_assert_eq(stats_open(fd, &page, &err), 0, "%s", err.msg);
	stats_add(page, STAT_OPENS, 3);
	stats_took(page, LATENCY_OPEN, stats_clock());
	cr_assert_eq(stats_read(fd, &read, &err), 0, "%s", err.msg);
	cr_assert_eq(stats_get(&read, STAT_OPENS), 3u);
	page->since = 12345;
	stats_close(page); /* a daemon that is killed does not even that */
	cr_assert_eq(stats_open(fd, &page, &err), 0, "%s", err.msg);
	stats_add(page, STAT_OPENS, 1);
	cr_assert_eq(stats_read(fd, &read, &err), 0, "%s", err.msg);
	cr_assert_eq(stats_get(&read, STAT_OPENS), 4u);
	cr_assert_eq(stats_get(&read, STAT_OPEN_HITS), 0u);
	cr_assert_eq(read.since, 12345u);
	cr_assert_eq(read.pid, (int)getpid());
	stats_close(page);
	remove_dir(dir, fd);
}

Test(stats, a_file_that_is_no_page_is_begun_anew)
{
	struct err err = ERR_INIT;
	struct stats *page;
	struct stats read;
	char dir[32];
	int fd = temp_dir(dir);
	int file = openat(fd, STATS_FILE, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	cr_assert_eq(write(file, "rubbish", 7), 7);
	(void)close(file);
	cr_assert_eq(stats_read(fd, &read, &err), -EBADMSG);
	cr_assert_eq(stats_open(fd, &page, &err), 0);
	cr_assert_eq(stats_get(page, STAT_OPENS), 0u);
	stats_close(page);
	(void)unlinkat(fd, STATS_FILE, 0);
	cr_assert_eq(stats_read(fd, &read, &err), -ENOENT);
	remove_dir(dir, fd);
}

Test(stats, counters_are_known_by_their_names)
{
	struct stats *page = stats_private();
	struct stats read;

	stats_add(page, STAT_OPENS, 7);
	stats_add(page, STAT_OPEN_HITS, 5);
	memcpy(page->counter[STAT_OPENS].name, "of_later", sizeof("of_later"));
	cr_assert_eq(stats_parse(page, sizeof(*page), &read), 0);
	cr_assert_eq(stats_get(&read, STAT_OPENS), 0u);
	cr_assert_eq(stats_get(&read, STAT_OPEN_HITS), 5u);
	/* A page of a version with fewer counters. */
	page->n_counters = 2;
	memmove(&page->counter[2], page->latency, sizeof(page->latency));
	cr_assert_eq(stats_parse(page, offsetof(struct stats, counter[2]) + sizeof(page->latency),
	                         &read),
	             0);
	cr_assert_eq(stats_get(&read, STAT_OPEN_HITS), 5u);
	stats_close(page);
}

Test(stats, a_page_that_lies_about_itself_is_refused)
{
	struct stats *good = stats_private();
	struct stats page;
	struct stats read;

	for (size_t len = 0; len < sizeof(*good); len += 8)
		cr_assert_eq(stats_parse(good, len, &read), -EBADMSG);
	for (unsigned lie = 0; lie < 5; lie++) {
		page = *good;
		if (lie == 0)
			page.magic[0] = 'X';
		page.version += lie == 1;
		page.n_counters += lie == 2;
		page.n_latencies = lie == 3 ? UINT32_MAX : page.n_latencies;
		page.n_buckets -= lie == 4;
		cr_assert_eq(stats_parse(&page, sizeof(page), &read), -EBADMSG, "lie %u", lie);
	}
	stats_close(good);
}

static double quantile(const struct stats *page, const char *key)
{
	CLEANUP(json_decref) json_t *report = json_object();
	json_t *open;

	cr_assert_eq(stats_add_json(page, report), 0);
	open = json_object_get(json_object_get(report, "latency"), "open");
	return json_real_value(json_object_get(open, key));
}

Test(stats, quantiles_are_the_limits_of_buckets)
{
	struct stats *page = stats_private();

	page->latency[LATENCY_OPEN].bucket[stats_bucket(1 << 20)] = 98;
	page->latency[LATENCY_OPEN].bucket[stats_bucket(1 << 30)] = 2;
	cr_assert_float_eq(quantile(page, "p50_seconds"), 0.001048576, 1e-12);
	cr_assert_float_eq(quantile(page, "p99_seconds"), 1.073741824, 1e-12);
	page->latency[LATENCY_OPEN].bucket[LATENCY_BUCKETS - 1] = 1000;
	cr_assert_float_eq(quantile(page, "p99_seconds"), 68.719476736, 1e-9);
	stats_close(page);
}

static json_t *sample_report(void)
{
	struct stats *page = stats_private();
	json_t *report = json_pack("{s[{ss ss ss si si si si si} {ss ss ss si si si si si}] sn}",
	                           "images", "image", "/a \"b\"\\\n", "digest", "sha256:0",
	                           "platform", "any", "files", 1, "bytes", 2, "resident_bytes", 3,
	                           "opens_total", 4, "errors_total", 5, "image", "/a \"b\"\\\n",
	                           "digest", "sha256:0", "platform", "any", "files", 1, "bytes", 2,
	                           "resident_bytes", 3, "opens_total", 4, "errors_total", 5,
	                           "passthrough");

	stats_add(page, STAT_OPENS, 7);
	page->latency[LATENCY_OPEN].bucket[0] = 2;
	page->latency[LATENCY_OPEN].bucket[LATENCY_BUCKETS - 1] = 1;
	cr_assert_eq(stats_add_json(page, report), 0);
	stats_close(page);
	return report;
}

/* How often @line stands in @text. */
static unsigned count_lines(const char *text, const char *line)
{
	unsigned n = 0;

	for (; (text = strstr(text, line)) != NULL; text += strlen(line))
		n++;
	return n;
}

Test(stats, exposition_has_each_series_once_and_escapes_labels)
{
	CLEANUP(json_decref) json_t *report = sample_report();
	CLEANUP(free) char *text = NULL;
	size_t len;

	cr_assert_eq(prometheus_text(report, EXPOSITION_TEXT, &text, &len), 0);
	cr_assert_eq(strlen(text), len);
	cr_assert_eq(count_lines(text, "# TYPE assetfs_opens_total counter\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_opens_total 7\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_open_seconds_bucket{le=\"1.024e-06\"} 2\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_open_seconds_bucket{le=\"68.7194767\"} 2\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_open_seconds_bucket{le=\"+Inf\"} 3\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_open_seconds_count 3\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_image_files{image=\"/a \\\"b\\\"\\\\\\n\",digest="
	                               "\"sha256:0\",platform=\"any\"} 1\n"),
	             1u);
	cr_assert_eq(count_lines(text, "assetfs_passthrough"), 0u);
	cr_assert_eq(count_lines(text, "# EOF"), 0u);
}

Test(stats, openmetrics_names_families_without_total_and_has_an_end)
{
	CLEANUP(json_decref) json_t *report = sample_report();
	CLEANUP(free) char *text = NULL;
	size_t len;

	cr_assert_eq(prometheus_text(report, EXPOSITION_OPENMETRICS, &text, &len), 0);
	cr_assert_eq(count_lines(text, "# TYPE assetfs_opens counter\n"), 1u);
	cr_assert_eq(count_lines(text, "\nassetfs_opens_total 7\n"), 1u);
	cr_assert_str_eq(text + len - 6, "# EOF\n");
}

Test(stats, openmetrics_is_for_those_who_accept_it)
{
	cr_assert_eq(prometheus_accepted(NULL), EXPOSITION_TEXT);
	cr_assert_eq(prometheus_accepted("*/*"), EXPOSITION_TEXT);
	cr_assert_eq(prometheus_accepted("Application/OpenMetrics-text;version=1.0.0,*/*;q=0.1"),
	             EXPOSITION_OPENMETRICS);
}
