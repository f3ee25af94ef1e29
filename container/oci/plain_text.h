/* SPDX-License-Identifier: Apache-2.0 */
/* Text of servers and files in messages of one line. Any thread. */
#pragma once

/* How many bytes of @text, at most @max, may stand in a message ("%.*s"): plain ASCII. */
static inline int plain_text(const char *text, int max)
{
	int n = 0;

	while (n < max && text[n] >= ' ' && text[n] <= '~')
		n++;
	return n;
}
