/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fsstat.h"

enum {
	NAME_MAX_BYTES = 64,
	FAILED_MAX = 200,
};

struct condition {
	char name[NAME_MAX_BYTES];
	char op[3];
	double wanted;
};

/* Parse one condition at *@text and step over it and the comma behind it. */
static int parse(const char **text, struct condition *ret)
{
	const char *at = *text;
	size_t name = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
	size_t op = strspn(at + name, "<>=!");
	char *end;

	if (name == 0 || name >= NAME_MAX_BYTES || op == 0 || op > 2)
		return -EINVAL;
	memcpy(ret->name, at, name);
	ret->name[name] = '\0';
	memcpy(ret->op, at + name, op);
	ret->op[op] = '\0';
	at += name + op;
	if (!isdigit((unsigned char)*at) && *at != '.' && *at != '-')
		return -EINVAL;
	ret->wanted = strtod(at, &end);
	if (end == at || (*end != ',' && *end != '\0'))
		return -EINVAL;
	*text = *end == ',' ? end + 1 : end;
	return 0;
}

/* Returns 1, 0, or -EINVAL when there is no such operator. */
static int compare(double value, const char *op, double wanted)
{
	if (strcmp(op, ">") == 0)
		return value > wanted;
	if (strcmp(op, ">=") == 0)
		return value >= wanted;
	if (strcmp(op, "<") == 0)
		return value < wanted;
	if (strcmp(op, "<=") == 0)
		return value <= wanted;
	if (strcmp(op, "=") == 0 || strcmp(op, "==") == 0)
		return fpclassify(value - wanted) == FP_ZERO;
	if (strcmp(op, "!=") == 0)
		return fpclassify(value - wanted) != FP_ZERO;
	return -EINVAL;
}

/* @name, or @name with "_total", in @object. Borrowed; NULL when it has none. */
static const json_t *find_in(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	char total[NAME_MAX_BYTES + sizeof("_total")];

	(void)snprintf(total, sizeof(total), "%s_total", name);
	return value ? value : json_object_get(object, total);
}

/* Quantiles: open_p99_seconds is "p99_seconds" of the latency "open". */
static const json_t *find_latency(const json_t *stats, const char *name)
{
	json_t *latencies = json_object_get(stats, "latency");
	const char *key;
	json_t *latency;

	json_object_foreach(latencies, key, latency)
	{
		size_t len = strlen(key);

		if (strncmp(name, key, len) == 0 && name[len] == '_')
			return find_in(latency, name + len + 1);
	}
	return NULL;
}

static const json_t *find(const json_t *stats, const char *name)
{
	static const char *const objects[] = { "cache", "region", "store", "sharing" };
	const json_t *value = find_in(stats, name);

	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]) && !value; i++)
		value = find_in(json_object_get(stats, objects[i]), name);
	return value ? value : find_latency(stats, name);
}

/* Check one condition; what fails is added to @failed. */
static int check(const json_t *stats, const struct condition *c, char failed[static FAILED_MAX])
{
	const json_t *value = find(stats, c->name);
	double number = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
	int r = compare(number, c->op, c->wanted);
	size_t used = strlen(failed);

	if (r < 0 || !value || json_is_object(value) || json_is_array(value) ||
	    json_is_string(value))
		return -EINVAL;
	if (json_is_null(value))
		(void)snprintf(failed + used, FAILED_MAX - used, "%s%s is not known yet",
		               used > 0 ? "; " : "", c->name);
	else if (r == 0)
		(void)snprintf(failed + used, FAILED_MAX - used, "%s%s is %.6g, not %s %.6g",
		               used > 0 ? "; " : "", c->name, number, c->op, c->wanted);
	return 0;
}

int fsstat_check(const json_t *stats, const char *text, struct err *err)
{
	char failed[FAILED_MAX] = "";
	const char *at = text;

	do {
		struct condition c;

		if (parse(&at, &c) < 0)
			return err_set(err, -EINVAL,
			               "'%s' is no condition like open_hit_rate>0.95,errors=0", at);
		if (check(stats, &c, failed) < 0)
			return err_set(err, -EINVAL, "there is no number '%s' to check by '%s'",
			               c.name, c.op);
	} while (*at != '\0');
	if (failed[0] == '\0')
		return 1;
	(void)err_set(err, -EDOM, "%s", failed);
	return 0;
}
