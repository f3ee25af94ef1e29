/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "commands.h"

int fail(const char *command, const struct err *err)
{
	(void)fprintf(stderr, "assetfs %s: %s\n", command, err->msg);
	return cli_status_of(err->code);
}
