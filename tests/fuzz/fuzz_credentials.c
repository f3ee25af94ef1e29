/* SPDX-License-Identifier: Apache-2.0 */
/* A config.json names credentials, a helper that is a name and no path, nothing, or is refused in one plain line. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(credentials_entry_release)
	struct credentials_entry entry = CREDENTIALS_ENTRY_INIT;
	CLEANUP(credentials_release) struct credentials answer = CREDENTIALS_INIT;
	struct err err = ERR_INIT;
	int r = credentials_lookup((const char *)data, size, "registry.example:5000", "game/assets",
	                           &entry, &err);

	must(r == 0 || r == 1 || r == -EBADMSG);
	if (r < 0)
		must_explain(r, &err);
	must((r == 1) == (entry.helper || entry.given.secret));
	if (entry.helper)
		must(!strchr(entry.helper, '/') && entry.helper[0] != '\0');
	if (entry.given.secret)
		must(entry.given.user && !entry.helper);
	r = credentials_parse_answer((const char *)data, size, &answer);
	must(r == 0 || r == -EBADMSG);
	must((r == 0) == (answer.secret != NULL));
	return 0;
}
