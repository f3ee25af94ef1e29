/* SPDX-License-Identifier: Apache-2.0 */
#include "pins.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control.h"
#include "resident.h"

/* Seconds for which the count of an image's resident bytes is good enough. */
enum { COUNT_VALID = 1 };

struct pin {
	struct pin *next;
	char *name;        /* owned */
	struct image *img; /* owned */
	struct content_keys keys;
	uint64_t floor;
	time_t ends;       /* CLOCK_MONOTONIC; 0: never */
	uint64_t resident; /* bytes of the image in the region when last counted, less what went since */
	time_t counted; /* 0: never */
};

struct pins {
	struct region *region; /* borrowed; constant */

	pthread_mutex_t lock;
	/* under lock */
	struct pin *head; /* owned */
};

static time_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void pin_free(struct pin *pin)
{
	if (!pin)
		return;
	content_keys_release(&pin->keys);
	image_close(pin->img);
	free(pin->name);
	free(pin);
}

/* Take out the pins for which @ends says so. With pins->lock held. Returns their number. */
static unsigned remove_if(struct pins *pins, bool (*ends)(const struct pin *pin, const void *arg),
                          const void *arg)
{
	struct pin **link = &pins->head;
	unsigned n = 0;

	while (*link) {
		struct pin *pin = *link;

		if (!ends(pin, arg)) {
			link = &pin->next;
			continue;
		}
		*link = pin->next;
		pin_free(pin);
		n++;
	}
	return n;
}

static bool is_over(const struct pin *pin, const void *arg)
{
	const time_t *time = arg;

	return pin->ends != 0 && pin->ends <= *time;
}

static bool has_name(const struct pin *pin, const void *arg)
{
	return strcmp(pin->name, arg) == 0;
}

static void remove_ended(struct pins *pins)
{
	const time_t time = now();

	(void)remove_if(pins, is_over, &time);
}

/*
 * Count what the region has of the image, unless that was done a moment ago. The object of @size bytes
 * that is to go is not listed any more.
 */
static void count_resident(struct pins *pins, struct pin *pin, uint64_t size)
{
	CLEANUP(resident_list_release) struct resident_list list = RESIDENT_LIST_INIT;

	if (pin->counted != 0 && now() - pin->counted <= COUNT_VALID)
		return;
	pin->counted = now();
	/* Without memory nothing counts as resident, and everything stays. */
	pin->resident = 0;
	if (resident_list_load(pins->region, &list) == 0)
		pin->resident = size + resident_bytes(&list, image_index(pin->img), &pin->keys);
}

/* Whether @pin keeps an object of @size bytes that its image has. */
static bool keeps(struct pins *pins, struct pin *pin, uint64_t size)
{
	if (pin->floor == PIN_ALL)
		return true;
	count_resident(pins, pin, size);
	return pin->resident < size || pin->resident - size < pin->floor;
}

/* The region's guard. */
static bool guard(void *arg, const struct digest *digest, uint64_t size)
{
	struct pins *pins = arg;
	struct content content;
	bool stays = false;

	(void)pthread_mutex_lock(&pins->lock);
	if (pins->head)
		remove_ended(pins);
	for (struct pin *pin = pins->head; pin && !stays; pin = pin->next)
		stays = index_find_content(image_index(pin->img), digest, &content, NULL) == 1 &&
		        keeps(pins, pin, size);
	for (struct pin *pin = pins->head; pin && !stays; pin = pin->next) {
		/* It may yet stay because it is mapped: the next count will tell. */
		if (pin->resident >= size &&
		    index_find_content(image_index(pin->img), digest, &content, NULL) == 1)
			pin->resident -= size;
	}
	(void)pthread_mutex_unlock(&pins->lock);
	return stays;
}

struct pins *pins_new(struct region *region)
{
	struct pins *pins = calloc(1, sizeof(*pins));

	if (!pins)
		return NULL;
	pins->region = region;
	(void)pthread_mutex_init(&pins->lock, NULL);
	region_set_guard(region, guard, pins);
	return pins;
}

void pins_free(struct pins *pins)
{
	if (!pins)
		return;
	region_set_guard(pins->region, NULL, NULL);
	while (pins->head) {
		struct pin *pin = pins->head;

		pins->head = pin->next;
		pin_free(pin);
	}
	(void)pthread_mutex_destroy(&pins->lock);
	free(pins);
}

int pins_add(struct pins *pins, const struct pin_request *request, struct image *img)
{
	struct pin *pin = calloc(1, sizeof(*pin));

	if (!pin)
		return -ENOMEM;
	pin->name = strdup(request->name);
	if (!pin->name) {
		free(pin);
		return -ENOMEM;
	}
	pin->img = img;
	pin->floor = request->floor;
	pin->ends = request->seconds > 0 ? now() + (time_t)request->seconds : 0;
	(void)pthread_mutex_lock(&pins->lock);
	(void)remove_if(pins, has_name, request->name);
	pin->next = pins->head;
	pins->head = pin;
	(void)pthread_mutex_unlock(&pins->lock);
	return 0;
}

int pins_remove(struct pins *pins, const char *name)
{
	unsigned n;

	(void)pthread_mutex_lock(&pins->lock);
	n = remove_if(pins, has_name, name);
	(void)pthread_mutex_unlock(&pins->lock);
	return n > 0 ? 0 : -ENOENT;
}

static json_t *pin_json(const struct pin *pin)
{
	char hex[DIGEST_HEX_SIZE];
	const struct manifest *m = image_manifest(pin->img);
	json_t *json = json_pack("{so so ss}", "image", control_text(pin->name), "digest",
	                         json_sprintf("sha256:%s", digest_hex(&m->self.digest, hex)),
	                         "platform", m->platform.name);

	if (pin->floor != PIN_ALL)
		(void)json_object_set_new(json, "floor_bytes",
		                          json_integer((json_int_t)pin->floor));
	if (pin->ends != 0)
		(void)json_object_set_new(json, "seconds_left", json_integer(pin->ends - now()));
	return json;
}

json_t *pins_json(struct pins *pins)
{
	json_t *list = json_array();

	(void)pthread_mutex_lock(&pins->lock);
	remove_ended(pins);
	for (const struct pin *pin = pins->head; pin; pin = pin->next)
		(void)json_array_append_new(list, pin_json(pin));
	(void)pthread_mutex_unlock(&pins->lock);
	return list;
}
