/* SPDX-License-Identifier: Apache-2.0 */
/* Text of others in messages of one line. */
#pragma once

enum { PLAIN_MAX = 100 };

/* How many bytes of @text may stand in a message ("%.*s"): those before any that is not plain ASCII. */
static inline int plain_len(const char *text)
{
	int n = 0;

	while (n < PLAIN_MAX && text[n] >= ' ' && text[n] <= '~')
		n++;
	return n;
}
