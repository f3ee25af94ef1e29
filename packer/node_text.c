/* SPDX-License-Identifier: Apache-2.0 */
#include "node_text.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

const char *node_mode_text(const struct node *node, char buf[static MODE_TEXT_SIZE])
{
	static const char letters[] = "rwxrwxrwx";

	buf[0] = S_ISDIR(node->mode) ? 'd' : S_ISLNK(node->mode) ? 'l' : '-';
	for (unsigned i = 0; i < 9; i++)
		buf[1 + i] = (char)(node->mode & (0400u >> i) ? letters[i] : '-');
	if (node->mode & S_ISVTX)
		buf[9] = node->mode & S_IXOTH ? 't' : 'T';
	buf[10] = '\0';
	return buf;
}

const char *node_time_text(const struct node *node, char buf[static TIME_TEXT_SIZE])
{
	time_t seconds = (time_t)node->mtime_s;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) ||
	    strftime(buf, TIME_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)snprintf(buf, TIME_TEXT_SIZE, "%lld", (long long)node->mtime_s);
	return buf;
}
