/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest that parses keeps the format's limits; one that does not is explained in one line. */
#include "fuzz.h"

#include <errno.h>

#include "format.h"
#include "layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;
	int r = manifest_parse((const char *)data, size, &m, &err);

	if (r < 0) {
		must_explain(r, &err);
		must(r == -EBADMSG || r == -EPROTONOSUPPORT || r == -ENOMEM);
		must(!m.packs && !m.deltas);
		return 0;
	}
	must(m.n_packs <= FORMAT_PACKS_MAX && m.config.size >= 1 && m.index.size >= 1);
	for (uint32_t i = 0; i < m.n_packs; i++)
		must(m.packs[i].size >= 1);
	must(m.n_deltas <= FORMAT_DELTAS_MAX);
	for (uint32_t i = 0; i < m.n_deltas; i++)
		must(m.deltas[i].blob.size >= 1);
	must(m.trace.size > 0 || digest_equal(&m.trace.digest, &(struct digest){ { 0 } }));
	return 0;
}
