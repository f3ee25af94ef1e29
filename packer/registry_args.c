/* SPDX-License-Identifier: Apache-2.0 */
#include "registry_args.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/text.h"
#include "notes.h"

enum {
	JOBS_MAX = 64,
	RETRIES_MAX = 1000,
	TIMEOUT_MAX = 24 * 3600,
};

bool registry_args_is_layout(const char *text)
{
	return text[0] == '/' || text[0] == '.' || strncmp(text, "oci:", strlen("oci:")) == 0;
}

static int parse_number(const char *name, const char *text, uint64_t min, uint64_t max,
                        unsigned *ret, struct err *err)
{
	uint64_t n;

	if (text_parse_uint(text, max, &n) < 0 || n < min)
		return err_set(err, -EINVAL, "%s '%s' is not a number from %llu to %llu", name,
		               text, (unsigned long long)min, (unsigned long long)max);
	*ret = (unsigned)n;
	return 0;
}

static int add_mirror(struct registry_args *args, const char *text, struct err *err)
{
	const unsigned max = sizeof(args->mirrors) / sizeof(args->mirrors[0]);
	unsigned *n = &args->options.n_mirrors;

	if (*n == max)
		return err_set(err, -EINVAL, "more than %u mirrors", max);
	args->mirrors[(*n)++] = text;
	return registry_check_mirror(text, err);
}

int registry_args_apply(struct registry_args *args, int option, const char *value, struct err *err)
{
	unsigned retries = 0;
	int r;

	switch (option) {
	case 'j':
		return parse_number("jobs", value, 1, JOBS_MAX, &args->jobs, err);
	case OPT_PLAIN_HTTP:
		args->options.plain_http = true;
		return 0;
	case OPT_CA_FILE:
		args->options.ca_file = value;
		return 0;
	case OPT_MIRROR:
		return add_mirror(args, value, err);
	case OPT_RETRIES:
		r = parse_number("retries", value, 0, RETRIES_MAX, &retries, err);
		args->options.attempts = retries + 1;
		return r;
	default:
		return parse_number("timeout", value, 1, TIMEOUT_MAX, &args->options.stall_s, err);
	}
}

/* For struct registry_options. */
static void say(void *arg, const char *line)
{
	(void)arg;
	note("%s", line);
}

int registry_args_open(const struct registry_args *args, const struct reference *ref,
                       struct registry **ret, struct err *err)
{
	struct registry_options options = args->options;

	/* A server that hangs up is an error code. */
	(void)signal(SIGPIPE, SIG_IGN);
	options.mirrors = args->mirrors;
	options.note = say;
	return registry_open(ref, &options, ret, err);
}
