/* SPDX-License-Identifier: Apache-2.0 */
#include "summary.h"

#include <errno.h>
#include <stdio.h>

#include "base/text.h"
#include "github.h"
#include "metadata.h"
#include "notes.h"
#include "report.h"

static void print_text(const struct build_report *built, const struct report *report)
{
	char in[TEXT_SIZE_MAX], unique[TEXT_SIZE_MAX], out[TEXT_SIZE_MAX], update[TEXT_SIZE_MAX];
	char hex[DIGEST_HEX_SIZE];
	double seconds = (double)report->duration_ms / 1e3;
	double ratio = built->bytes > 0 ? (double)built->image_bytes / (double)built->bytes : 0;

	note("%llu files, %s; unique %s; image %s (%.1f%%); %.1f s, %.0f MB/s",
	     (unsigned long long)built->files, text_size(built->bytes, in),
	     text_size(built->unique_bytes, unique), text_size(built->image_bytes, out),
	     ratio * 100, seconds, seconds > 0 ? (double)built->bytes / seconds / 1e6 : 0);
	if (report->has_base)
		note("%s are not in the image before", text_size(report->upload_bytes, update));
	note("image index sha256:%s", digest_hex(&built->digest, hex));
}

static void print_json(const char *name, const struct build_report *built,
                       const struct report *report)
{
	char digest[sizeof("sha256:") + DIGEST_HEX_SIZE] = "sha256:";

	(void)digest_hex(&built->digest, digest + strlen("sha256:"));
	note_event("done", json_pack("{s:s*, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "image", name,
	                             "digest", digest, "files", (json_int_t)built->files,
	                             "input_bytes", (json_int_t)built->bytes, "stored_bytes",
	                             (json_int_t)report->stored_bytes, "upload_bytes",
	                             (json_int_t)report->upload_bytes, "update_bytes",
	                             (json_int_t)report->update_bytes, "duration_ms",
	                             (json_int_t)report->duration_ms));
}

/* Let the report count chunks. An image before that is damaged must not fail the one after. */
static int count(const struct tagged *now, const struct tagged *base, struct report *report,
                 struct err *err)
{
	const struct report_source image = { .layout = now->layout, .images = &now->images };
	struct report_source before;
	int r;

	if (base) {
		before = (struct report_source){ .layout = base->layout, .images = &base->images };
		r = report_count(report, &image, &before, err);
		if (r == 0 || r == -ENOMEM)
			return r;
		note("the image before is not counted: %s", err->msg);
		r = report_make(&now->images, NULL, report, err);
		if (r < 0)
			return r;
	}
	return report_count(report, &image, NULL, err);
}

static int make(const struct summary_options *o, const struct build_report *built,
                struct report *ret, struct err *err)
{
	CLEANUP(tagged_release) struct tagged now = TAGGED_INIT;
	int r = tagged_load(o->image, &now, err);

	if (r == 0)
		r = report_make(&now.images, o->base ? &o->base->images : NULL, ret, err);
	if (r == 0 && (o->metadata_file || github_wants_report()))
		r = count(&now, o->base, ret, err);
	ret->input_bytes = built->bytes;
	ret->unique_bytes = built->unique_bytes;
	ret->duration_ms = o->duration_ms;
	return r;
}

int summary_write(const struct summary_options *o, const struct build_report *built,
                  struct err *err)
{
	CLEANUP(free) char *name = NULL;
	struct report report = { .n_platforms = 0 };
	int r = make(o, built, &report, err);

	if (r < 0)
		return r;
	if (asprintf(&name, "%s:%s", o->image->layout, o->image->tag) < 0) {
		name = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (o->metadata_file)
		r = metadata_write(o->metadata_file, &report, name, err);
	if (r == 0)
		r = github_report(&report, name, err);
	if (r < 0)
		return r;
	if (o->progress == PROGRESS_JSON)
		print_json(name, built, &report);
	else if (o->progress != PROGRESS_NONE)
		print_text(built, &report);
	return 0;
}
