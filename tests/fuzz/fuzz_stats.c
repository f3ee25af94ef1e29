/* SPDX-License-Identifier: Apache-2.0 */
/* A page that is taken is one that this version writes: it can be read again and told as text. */
#include <string.h>

#include "control.h"
#include "fuzz.h"
#include "prometheus.h"
#include "stats_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(json_decref) json_t *report = NULL;
	CLEANUP(free) char *text = NULL;
	static struct stats page;
	static struct stats again;
	size_t len = 0;

	if (stats_parse(data, size, &page) < 0)
		return 0;
	must(stats_parse(&page, sizeof(page), &again) == 0);
	must(memcmp(page.counter, again.counter, sizeof(page.counter)) == 0);
	report = stats_page_json(&page);
	must(report && prometheus_text(report, EXPOSITION_TEXT, &text, &len) == 0);
	must(strlen(text) == len);
	return 0;
}
