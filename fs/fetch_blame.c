/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has given which bytes of a blob, and whose were wrong: those are not asked for these bytes again while
 * somebody else is left. Known from memory only: what came before the daemon is nobody's, and bytes of it that are wrong
 * are fetched from anybody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fetch_blame.h"

#define HOPELESS_NS ((uint64_t)2 * 1000 * 1000 * 1000)

/* A source of a blob, whatever the origin. */
struct giver {
	struct giver *next; /* of the blob */
	char *name;         /* owned */
	struct ranges gave;
	struct ranges doubted; /* were wrong, and are asked for once more: nobody else was left */
	struct ranges wrong;   /* not to be asked for */
	bool told;             /* read() was told of what is wrong */
};

void fetch_free_givers(struct blob *blob)
{
	while (blob->givers) {
		struct giver *giver = blob->givers;

		blob->givers = giver->next;
		ranges_release(&giver->gave);
		ranges_release(&giver->doubted);
		ranges_release(&giver->wrong);
		free(giver->name);
		free(giver);
	}
}

/* The name of the @i-th source of @origin; NULL behind the last one. */
static const char *source_name(const struct origin *origin, unsigned i)
{
	if (!origin->from.source)
		return i == 0 ? "" : NULL;
	return i < FETCH_SOURCES ? origin->from.source(origin->from.arg, i) : NULL;
}

static struct giver *find_giver(const struct blob *blob, const char *name)
{
	struct giver *giver = blob->givers;

	while (giver && strcmp(giver->name, name) != 0)
		giver = giver->next;
	return giver;
}

static struct giver *add_giver(struct blob *blob, const char *name)
{
	struct giver *giver = calloc(1, sizeof(*giver));

	if (!giver)
		return NULL;
	giver->name = strdup(name);
	if (!giver->name) {
		free(giver);
		return NULL;
	}
	giver->next = blob->givers;
	blob->givers = giver;
	return giver;
}

void fetch_note_giver(const struct origin *origin, struct blob *blob, unsigned source,
                      const struct range *range)
{
	const char *name = source_name(origin, source);
	struct giver *giver = name ? find_giver(blob, name) : NULL;

	if (name && !giver)
		giver = add_giver(blob, name);
	/* Without memory it is nobody's. */
	for (struct giver *g = blob->givers; g; g = g->next)
		(void)!ranges_remove(&g->gave, range->start, range->end);
	if (giver)
		(void)!ranges_add(&giver->gave, range->start, range->end);
}

/* Whether sources of @origin but @but have not been wrong about @range. */
static bool has_other(const struct origin *origin, const struct blob *blob, const struct giver *but,
                      const struct range *range)
{
	const char *name;

	for (unsigned i = 0; (name = source_name(origin, i)) != NULL; i++) {
		const struct giver *giver = find_giver(blob, name);

		if (!giver ||
		    (giver != but && !ranges_touch(&giver->wrong, range->start, range->end)))
			return true;
	}
	return false;
}

void fetch_wrong_sources(const struct origin *origin, const struct blob *blob,
                         const struct range *range, struct fetch_order *ret)
{
	const char *name;

	ret->wrong = 0;
	ret->told = 0;
	for (unsigned i = 0; (name = source_name(origin, i)) != NULL; i++) {
		struct giver *giver = find_giver(blob, name);

		if (!giver || !ranges_touch(&giver->wrong, range->start, range->end))
			continue;
		ret->wrong |= 1u << i;
		ret->told |= giver->told ? 1u << i : 0;
		giver->told = true;
	}
}

uint64_t fetch_border(const struct blob *blob, uint64_t pos, uint64_t end)
{
	for (const struct giver *g = blob->givers; g; g = g->next) {
		for (size_t i = 0; i < g->wrong.n; i++) {
			const struct range *wrong = &g->wrong.range[i];

			if (wrong->start > pos && wrong->start < end)
				end = wrong->start;
			if (wrong->end > pos && wrong->end < end)
				end = wrong->end;
		}
	}
	return end;
}

static void log_hopeless(const struct blob *blob)
{
	static struct log_limit limit;
	char hex[DIGEST_HEX_SIZE];

	if (log_allowed(&limit))
		log_warn("blob %.12s: whoever has it has other bytes than its digest says; it "
		         "cannot be read there",
		         digest_hex(&blob->digest, hex));
}

/* Who is to be blamed for @range: of several who gave parts of it, the one that is asked first. */
static struct giver *find_culprit(const struct origin *origin, const struct blob *blob,
                                  const struct range *range)
{
	struct giver *giver = blob->givers;
	const char *name;

	for (unsigned i = 0; (name = source_name(origin, i)) != NULL; i++) {
		struct giver *own = find_giver(blob, name);

		if (own && ranges_touch(&own->gave, range->start, range->end))
			return own;
	}
	while (giver && !ranges_touch(&giver->gave, range->start, range->end))
		giver = giver->next;
	return giver;
}

bool fetch_damage_known(const struct blob *blob, uint64_t round, const struct range *range)
{
	if (blob->round - round > FETCH_DAMAGE)
		return true;
	for (uint64_t i = round; i < blob->round; i++) {
		const struct range *damage = &blob->damage[i % FETCH_DAMAGE];

		if (damage->start < range->end && damage->end > range->start)
			return true;
	}
	return false;
}

bool fetch_blame(const struct origin *origin, struct blob *blob, const struct range *range)
{
	struct giver *culprit = find_culprit(origin, blob, range);
	bool doubted;

	blob->damage[blob->round++ % FETCH_DAMAGE] = *range;
	for (struct giver *g = blob->givers; g; g = g->next)
		(void)!ranges_remove(&g->gave, range->start, range->end);
	if (!culprit)
		return true;
	/* What was wrong once may be right the next time. */
	doubted = !has_other(origin, blob, culprit, range) &&
	          !ranges_cover(&culprit->doubted, range->start, range->end);
	(void)!ranges_add(doubted ? &culprit->doubted : &culprit->wrong, range->start, range->end);
	culprit->told = doubted && culprit->told;
	if (has_other(origin, blob, NULL, range))
		return true;
	(void)!ranges_add(&blob->hopeless, range->start, range->end);
	blob->hopeless_until = stats_clock() + HOPELESS_NS;
	log_hopeless(blob);
	return false;
}

void fetch_forgive(struct blob *blob)
{
	if (blob->hopeless.n == 0 || stats_clock() < blob->hopeless_until)
		return;
	for (struct giver *g = blob->givers; g; g = g->next) {
		for (size_t i = 0; i < blob->hopeless.n; i++) {
			const struct range *range = &blob->hopeless.range[i];

			(void)!ranges_remove(&g->doubted, range->start, range->end);
			(void)!ranges_remove(&g->wrong, range->start, range->end);
		}
	}
	ranges_release(&blob->hopeless);
}
