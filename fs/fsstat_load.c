/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "control.h"
#include "fsstat.h"
#include "stats_json.h"

enum {
	ANSWER_SECONDS = 1,
	ANSWER_SECONDS_MAX = 3600,
};

uint64_t fsstat_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* How long to wait for the daemon. */
static unsigned answer_seconds(void)
{
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *text = getenv("FSSTAT_TIMEOUT");
	uint64_t seconds;

	if (!text || text_parse_uint(text, ANSWER_SECONDS_MAX, &seconds) < 0 || seconds == 0)
		return ANSWER_SECONDS;
	return (unsigned)seconds;
}

static bool is_silent(int code)
{
	return code == -ETIMEDOUT || code == -EAGAIN || code == -ENOTCONN || code == -ECONNRESET;
}

static int load_page(const char *store, json_t **ret)
{
	CLEANUP(close) int dir = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct err unread = ERR_INIT;
	struct stats page;

	if (dir < 0)
		return -errno;
	if (stats_read(dir, &page, &unread) < 0)
		return unread.code;
	*ret = stats_page_json(&page);
	return *ret ? 0 : -ENOMEM;
}

int fsstat_load(const struct fsstat_source *source, json_t **ret, struct err *err)
{
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss ss* ss* si}", "version", CONTROL_VERSION, "command",
	                            "stats", "target", source->target, "detail", source->detail,
	                            "files", (int)source->files);
	int r;

	if (!request)
		return err_set(err, -EINVAL, "the target must be named in UTF-8");
	r = control_call_within(source->store, request, answer_seconds(), ret, NULL, err);
	if (r == 0)
		(void)json_object_del(*ret, "ok");
	if (r == 0 || source->target || source->detail || !is_silent(r) ||
	    load_page(source->store, ret) < 0)
		return r;
	if (r == -ENOTCONN) {
		(void)err_set(err, r, "no daemon serves the store '%s': what the last one counted",
		              source->store);
		return 2;
	}
	(void)err_set(err, r, "the daemon of the store '%s' does not answer: what its page tells",
	              source->store);
	return 1;
}
