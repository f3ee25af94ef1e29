/* SPDX-License-Identifier: Apache-2.0 */
#include "stats_json.h"

#include <errno.h>

#include "control.h"

/* Object @key of @report, which is made when it is not there. Borrowed; NULL without memory. */
static json_t *object_of(json_t *report, const char *key)
{
	json_t *object = json_object_get(report, key);

	if (object)
		return object;
	return json_object_set_new(report, key, json_object()) == 0 ? json_object_get(report, key)
	                                                            : NULL;
}

/* A share of nothing is nothing: null. */
static json_t *rate_json(uint64_t part, uint64_t whole)
{
	return whole > 0 ? json_real((double)part / (double)whole) : json_null();
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/* The latency that the share @q of @count stays within: the limit of the bucket that it falls in. */
static json_t *quantile_json(const uint64_t bucket[static LATENCY_BUCKETS], uint64_t count,
                             double q)
{
	double rank = q * (double)count;
	uint64_t sum = 0;

	if (count == 0)
		return json_null();
	for (unsigned i = 0; i < LATENCY_BUCKETS - 1; i++) {
		sum += bucket[i];
		if ((double)sum >= rank)
			return json_real(seconds(stats_bucket_limit(i)));
	}
	return json_real(seconds((uint64_t)1 << LATENCY_MAX_BITS));
}

/* Buckets that are empty are left out. */
static json_t *latency_json(const struct stats_latency *latency)
{
	uint64_t bucket[LATENCY_BUCKETS];
	json_t *buckets = json_array();
	uint64_t count = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		uint64_t limit = stats_bucket_limit(i);

		bucket[i] = __atomic_load_n(&latency->bucket[i], __ATOMIC_RELAXED);
		count += bucket[i];
		if (bucket[i] > 0)
			(void)json_array_append_new(
				buckets, json_pack("{so sI}", "le_seconds",
			                           limit == UINT64_MAX ? json_null()
			                                               : json_real(seconds(limit)),
			                           "count", (json_int_t)bucket[i]));
	}
	return json_pack("{sI sf so so so so}", "count", (json_int_t)count, "sum_seconds",
	                 seconds(__atomic_load_n(&latency->sum_ns, __ATOMIC_RELAXED)),
	                 "p50_seconds", quantile_json(bucket, count, 0.5), "p90_seconds",
	                 quantile_json(bucket, count, 0.9), "p99_seconds",
	                 quantile_json(bucket, count, 0.99), "buckets", buckets);
}

int stats_add_json(const struct stats *s, json_t *report)
{
	json_t *latency = object_of(report, "latency");
	json_t *cache = object_of(report, "cache");
	uint64_t opens = stats_get(s, STAT_OPENS);
	uint64_t requests = stats_get(s, STAT_CHUNK_REQUESTS);
	int r = 0;

	for (unsigned i = 0; i < STAT_COUNTERS; i++)
		r |= json_object_set_new(object_of(report, stat_counters[i].object),
		                         stat_counters[i].name,
		                         json_integer((json_int_t)stats_get(s, i)));
	r |= json_object_set_new(cache, "open_hit_rate",
	                         rate_json(stats_get(s, STAT_OPEN_HITS), opens));
	r |= json_object_set_new(cache, "chunk_hit_rate",
	                         rate_json(stats_get(s, STAT_CHUNK_HITS), requests));
	for (unsigned i = 0; i < STAT_LATENCIES; i++)
		r |= json_object_set_new(latency, stat_latencies[i].name,
		                         latency_json(&s->latency[i]));
	r |= json_object_set_new(report, "counting_since", json_integer((json_int_t)s->since));
	return r != 0 ? -ENOMEM : 0;
}

json_t *stats_page_json(const struct stats *s)
{
	CLEANUP(json_decref)
	json_t *report = json_pack("{si ss si}", "version", CONTROL_VERSION, "source", "page",
	                           "pid", (int)s->pid);

	if (!report || stats_add_json(s, report) < 0)
		return NULL;
	return TAKE_PTR(report);
}
