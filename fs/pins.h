/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: images whose objects do not leave the region, or not below a floor.
 *
 * A pin has its image open, so that it holds whether or not the image is
 * mounted. It ends when it is removed, when its time is over, or with the
 * daemon, unless another one goes on (daemon_pins.c). Any thread.
 */
#pragma once

#include <jansson.h>

#include "image.h"
#include "region.h"

struct pins;

/* No floor: all of the image stays. */
#define PIN_ALL UINT64_MAX

/* @region is borrowed and gets its guard. Returns NULL when memory runs out. */
struct pins *pins_new(struct region *region);

/* Accepts NULL. Nothing may leave the region any more. */
void pins_free(struct pins *pins);

struct pin_request {
	const char *name; /* of the image; what the pin is removed by */
	uint64_t floor;   /* bytes of the image that stay at least, or PIN_ALL */
	uint64_t seconds; /* until the pin ends; 0: never */
};

/* Pin @img, which is taken on success. A pin of that name is replaced. Returns 0 or -ENOMEM. */
MUST_CHECK int pins_add(struct pins *pins, const struct pin_request *request, struct image *img);

/* Returns 0, or -ENOENT. */
MUST_CHECK int pins_remove(struct pins *pins, const char *name);

/* All pins, for `assetfs status`: an array. NULL when memory runs out. */
json_t *pins_json(struct pins *pins);
