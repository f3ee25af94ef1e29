/* SPDX-License-Identifier: Apache-2.0 */
/* order: what a trace has and what all is; prefetch: it is filled, and how jobs end. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fixture.h"
#include "order.h"
#include "prefetch.h"

#define TRACE "# assetfs trace 1\n"

static void expect_use(const struct fill_fixture *f, const struct order *order, size_t i,
                       const char *name, uint64_t off, uint64_t len)
{
	const struct use *use = &order->uses.list[i];
	struct content content;

	cr_assert_lt(i, order->uses.n);
	cr_assert_eq(flat_image_content(f->img, name, &content, NULL), 0);
	cr_expect(use->file == content.id && use->off == off && use->len == len,
	          "use %zu: %llu+%llu of %llu, not of %s", i, (unsigned long long)use->off,
	          (unsigned long long)use->len, (unsigned long long)use->file, name);
}

Test(order, has_small_files_whole_and_once)
{
	static const char text[] = TRACE "5 1 03\n0 9 nothing\n100 50 00\n0 0 00\n0 1 03\n0 1 02\n";
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct order order = ORDER_INIT;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(order_add_trace(&order, image_index(f.img), text, strlen(text), &err), 0, "%s",
	             err.msg);
	cr_assert_eq(order.uses.n, 3);
	expect_use(&f, &order, 0, "03", 0, FIXTURE_SMALL + 3);
	expect_use(&f, &order, 1, "00", 0, FIXTURE_BIG);
	expect_use(&f, &order, 2, "02", 0, FIXTURE_SMALL + 2);
	cr_expect_eq(order.n_unknown, 1);
	cr_expect_eq(order.bytes, 2 * FIXTURE_SMALL + 5 + FIXTURE_BIG);
	order_release(&order);
}

Test(order, all_is_every_content_once)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct order order = ORDER_INIT;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_assert_eq(order_add_all(&order, image_index(f.img), &err), 0, "%s", err.msg);
	cr_expect_eq(order.uses.n, FIXTURE_FILES);
	cr_expect_eq(order.bytes, index_info(image_index(f.img))->content_bytes);
	order_release(&order);
}

Test(order, what_is_no_trace_is_refused)
{
	static const char text[] = TRACE "0 1 02\n1 x 02\n";
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct order order = ORDER_INIT;
	struct err err = ERR_INIT;

	make_sample(&f, REGION_SIZE);
	cr_expect_eq(order_add_trace(&order, image_index(f.img), text, strlen(text), &err),
	             -EINVAL);
	cr_expect_str_eq(err.msg, "line 3: not 'OFFSET LENGTH PATH'");
	order_release(&order);
}

static int event = -1; /* of this process's jobs */

static void ended(void *arg)
{
	(void)arg;
	(void)eventfd_write(event, 1);
}

/* Run one job to its end. The caller frees the result. */
static struct prefetch *begin(struct fill_fixture *f, enum prefetch_source source, const char *text)
{
	const struct prefetch_config config = {
		.region = f->region,
		.fill = f->fill,
		.n_threads = 2,
		.ended = ended,
	};
	struct prefetch_order order = {
		.img = f->img,
		.name = "image",
		.source = source,
		.text = text ? strdup(text) : NULL,
		.len = text ? strlen(text) : 0,
	};
	struct prefetch_report report;
	struct prefetch *p = NULL;
	struct err err = ERR_INIT;
	eventfd_t n;

	if (event < 0)
		event = eventfd(0, EFD_CLOEXEC);
	cr_assert_eq(prefetch_new(&config, &p, &err), 0, "%s", err.msg);
	cr_assert_not(prefetch_find(p, &image_manifest(f->img)->self.digest, &report));
	cr_assert_eq(prefetch_start(p, &order, &err), 0, "%s", err.msg);
	cr_assert_eq(eventfd_read(event, &n), 0);
	cr_assert_not(prefetch_busy(p));
	return p;
}

static struct prefetch_report run(struct fill_fixture *f, enum prefetch_source source,
                                  const char *text)
{
	CLEANUP(prefetch_free) struct prefetch *p = begin(f, source, text);
	struct prefetch_report report;

	cr_assert(prefetch_find(p, &image_manifest(f->img)->self.digest, &report));
	return report;
}

static uint64_t placed(struct fill_fixture *f, size_t i)
{
	CLEANUP(extent_map_unref) struct extent_map *map = NULL;
	CLEANUP(object_unref) struct object *obj = NULL;

	cr_assert_eq(fill_fixture_open(f, i, &map, &obj, NULL), 0);
	return object_placed_bytes(obj);
}

Test(prefetch, fills_what_a_trace_has)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct prefetch_report report;

	make_sample(&f, REGION_SIZE);
	report = run(&f, PREFETCH_TRACE, TRACE "1 1 00\n");
	cr_expect_eq(report.state, PREFETCH_DONE, "%s", report.error);
	cr_expect(report.done == FIXTURE_BIG && report.total == FIXTURE_BIG);
	cr_expect_eq(placed(&f, 0), FIXTURE_BIG);
	cr_expect_eq(placed(&f, 5), 0);
	report = run(&f, PREFETCH_TRACE, TRACE);
	cr_expect(report.state == PREFETCH_DONE && report.total == 0);
}

Test(prefetch, fills_all_of_an_image_without_a_trace_and_nothing_twice)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct prefetch_report report;

	make_sample(&f, REGION_SIZE);
	report = run(&f, PREFETCH_IMAGE, NULL);
	cr_expect_eq(report.state, PREFETCH_DONE, "%s", report.error);
	cr_expect_eq(report.done, index_info(image_index(f.img))->content_bytes);
	for (size_t i = 0; i < f.n_files; i++)
		cr_expect_eq(placed(&f, i), f.file[i].size, "file %zu", i);
	cr_expect_eq(stats_get(&f.stats, STAT_CHUNKS_DECOMPRESSED_AGAIN), 0);
	report = run(&f, PREFETCH_ALL, NULL);
	cr_expect_eq(report.state, PREFETCH_DONE);
	cr_expect_eq(stats_get(&f.stats, STAT_CHUNKS_DECOMPRESSED_AGAIN), 0);
}

/* A job is done; then others need the room of the region, which is that of the image and one page. */
Test(prefetch, tells_what_has_left_the_region)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	CLEANUP(prefetch_free) struct prefetch *p = NULL;
	CLEANUP(object_unref) struct object *other = NULL;
	const struct digest *image;
	struct prefetch_report report;
	struct digest digest = { { 1 } };

	make_sample(&f, 2 * (FIXTURE_BIG / 4096 + 1) * 4096 + FIXTURE_SMALLS * 4096);
	p = begin(&f, PREFETCH_ALL, NULL);
	image = &image_manifest(f.img)->self.digest;
	cr_assert(prefetch_find(p, image, &report));
	cr_expect_eq(report.state, PREFETCH_DONE, "%s", report.error);

	cr_assert_eq(region_get(f.region, &digest, 4096, &other), 0);
	cr_assert(prefetch_find(p, image, &report));
	cr_expect_eq(report.state, PREFETCH_EVICTED);
	cr_expect_lt(report.done, report.total);
	cr_expect_eq(report.source, PREFETCH_ALL);
	cr_expect_str_eq(report.error, "some of it has left the region");

	/* Where it was passed on to, it is not lost. */
	prefetch_passed_on(p, image);
	cr_assert(prefetch_find(p, image, &report));
	cr_expect_eq(report.state, PREFETCH_DONE);
}

Test(prefetch, ends_when_there_is_no_room)
{
	CLEANUP(fill_fixture_release) struct fill_fixture f;
	struct prefetch_report report;

	make_sample(&f, (uint64_t)1 << 18);
	report = run(&f, PREFETCH_ALL, NULL);
	cr_expect_eq(report.state, PREFETCH_FULL);
	cr_expect_not_null(strstr(report.error, "no room"), "%s", report.error);
	cr_expect_lt(report.done, report.total);
}
