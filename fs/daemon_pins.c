/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins outlive the daemon if its region does: they are written down in the store.
 *
 *	STORE/pins  {"at": SECONDS, "pins": [as `assetfs status` has them]}
 *
 * Times are those of CLOCK_MONOTONIC, which goes on while the machine does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "control.h"
#include "daemon_internal.h"

#define PINS_FILE "pins"

enum { PINS_MAX = 1 << 20 };

static json_int_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (json_int_t)t.tv_sec;
}

void daemon_save_pins(struct daemon *d)
{
	CLEANUP(json_decref)
	json_t *note = json_pack("{sI so}", "at", now(), "pins", pins_json(d->pins));

	if (!note || daemon_write_note(store_dir(d->store), PINS_FILE, note) < 0)
		log_warn("pins end with this daemon: the store could not be written");
}

/* Pin what @saved says, written @age seconds ago. */
static int restore(struct daemon *d, const json_t *saved, json_int_t age, struct err *err)
{
	const json_t *floor = json_object_get(saved, "floor_bytes");
	const json_t *seconds = json_object_get(saved, "seconds_left");
	const char *digest_text = json_string_value(json_object_get(saved, "digest"));
	struct mount_request what = {
		.image = json_string_value(json_object_get(saved, "image")),
		.platform = json_string_value(json_object_get(saved, "platform")),
	};
	CLEANUP(credentials_secret_free) char *auth = NULL;
	struct pin_request pin = { .name = what.image, .floor = PIN_ALL };
	struct digest digest;
	struct image *img;
	int r;

	if (!what.image || !what.platform || !digest_text ||
	    strncmp(digest_text, "sha256:", 7) != 0 ||
	    digest_parse(digest_text + 7, strlen(digest_text + 7), &digest) < 0)
		return err_set(err, -EBADMSG, "'" PINS_FILE "' in the store is damaged");
	if (floor)
		pin.floor = (uint64_t)json_integer_value(floor);
	if (seconds && json_integer_value(seconds) <= age)
		return 0;
	if (seconds)
		pin.seconds = (uint64_t)(json_integer_value(seconds) - age);
	auth = daemon_auth_of(d, what.image);
	what.auth = auth;
	r = daemon_open_digest(d, &what, &digest, &img, NULL, err);
	if (r < 0)
		return r;
	r = pins_add(d->pins, &pin, img);
	if (r < 0)
		image_close(img);
	return r;
}

void daemon_restore_pins(struct daemon *d)
{
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *note = NULL;
	json_t *pins, *saved;
	json_int_t at;
	size_t len, i;

	if (io_read_file(store_dir(d->store), PINS_FILE, PINS_MAX, &text, &len, NULL) < 0)
		return;
	note = json_loadb(text, len, 0, NULL);
	if (json_unpack(note, "{sI so}", "at", &at, "pins", &pins) < 0)
		return;
	json_array_foreach(pins, i, saved) {
		struct err err = ERR_INIT;

		if (restore(d, saved, now() - at, &err) < 0)
			log_warn("a pin ends: %s", err.msg);
	}
}
