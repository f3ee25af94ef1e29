/* SPDX-License-Identifier: Apache-2.0 */
/* usage: add_delta LAYOUT BASE-TAG TAG. For scripts; see add_delta.h. */
#include <stdio.h>
#include <stdlib.h>

#include "add_delta.h"

int main(int argc, char *argv[])
{
	struct err err = ERR_INIT;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: %s LAYOUT BASE-TAG TAG\n", argv[0]);
		return 2;
	}
	if (add_delta(argv[1], argv[2], argv[3], &err) < 0) {
		(void)fprintf(stderr, "add_delta: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
