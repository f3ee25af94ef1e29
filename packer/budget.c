/* SPDX-License-Identifier: Apache-2.0 */
#include "budget.h"

#include <errno.h>

#include "base/text.h"
#include "diff.h"

enum { COSTLIEST_SHOWN = 10 };

static int name_costliest(const struct report_source *image, const struct report_source *base,
                          uint32_t i, struct err *err)
{
	CLEANUP(image_close) struct image *old = NULL;
	CLEANUP(image_close) struct image *new = NULL;
	CLEANUP(diff_release) struct diff d = DIFF_INIT;
	const struct manifest *m = &image->images->manifests[i];
	const struct manifest *before = image_set_find(base->images, &m->platform, err);
	int r = before ? image_open_in_memory(base->layout, before, &old, err) : -ENOENT;

	if (r == 0)
		r = image_open_in_memory(image->layout, m, &new, err);
	if (r == 0)
		r = diff_images(old, new, &d, err);
	if (r == 0)
		diff_print_costliest(&d, COSTLIEST_SHOWN);
	return r;
}

int budget_check(const struct report_source *image, const struct report_source *base, uint64_t max,
                 struct err *err)
{
	char size[TEXT_SIZE_MAX], limit[TEXT_SIZE_MAX];
	struct report report;
	uint64_t most = 0;
	uint32_t worst = 0;
	int r;

	if (!base)
		return 0;
	r = report_make(image->images, base->images, &report, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < report.n_platforms; i++) {
		const struct platform_report *p = &report.platforms[i];

		if (p->update_bytes > most && image_set_find(base->images, &p->platform, NULL)) {
			most = p->update_bytes;
			worst = i;
		}
	}
	if (most <= max)
		return 0;
	r = name_costliest(image, base, worst, err);
	if (r < 0)
		return r;
	return err_set(err, -EDOM,
	               "the update of %s is %s, above the limit of %s; the tag still names the "
	               "image before",
	               report.platforms[worst].platform.name, text_size(most, size),
	               text_size(max, limit));
}
