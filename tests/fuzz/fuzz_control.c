/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a client of the control socket sends is refused, or is an object of our version. */
#include "control.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(json_decref) json_t *message = NULL;
	struct err err = ERR_INIT;
	int r = control_parse((const char *)data, size, &message, &err);

	if (r < 0) {
		must(!message);
		must_explain(r, &err);
	} else {
		must(json_is_object(message));
		must(json_integer_value(json_object_get(message, "version")) == CONTROL_VERSION);
	}
	return 0;
}
