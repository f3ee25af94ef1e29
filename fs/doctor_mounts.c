/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_mounts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mountinfo.h"

enum {
	FIELD_POINT = 4,
	FIELD_OPTIONAL = 6,
};

/* Whether @path is @point or below it. */
static bool is_below(const char *path, const char *point)
{
	size_t len = strlen(point);

	if (strcmp(point, "/") == 0)
		return path[0] == '/';
	return strncmp(path, point, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* "id parent dev root point options [optional...] - type source superoptions", cut up. */
static bool parse(char *line, char **ret_point, struct mount_place *ret)
{
	char *rest = strstr(line, " - ");
	char *save = NULL;
	char *word;
	char *type;
	int i = 0;

	*ret_point = NULL;
	ret->shared = false;
	if (!rest)
		return false;
	*rest = '\0';
	type = strtok_r(rest + 3, " ", &save);
	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save), i++) {
		if (i == FIELD_POINT)
			*ret_point = word;
		else if (i >= FIELD_OPTIONAL && strncmp(word, "shared:", strlen("shared:")) == 0)
			ret->shared = true;
	}
	if (!*ret_point || !type)
		return false;
	mount_text_unescape(*ret_point);
	(void)snprintf(ret->type, sizeof(ret->type), "%s", type);
	return true;
}

bool mount_place_find(const char *mountinfo, const char *path, struct mount_place *ret)
{
	CLEANUP(free) char *text = strdup(mountinfo);
	char *save = NULL;
	size_t best = 0;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct mount_place place;
		char *point;

		/* Of two mounts on one point, the later one hides the other. */
		if (parse(line, &point, &place) && is_below(path, point) && strlen(point) >= best) {
			best = strlen(point);
			*ret = place;
		}
	}
	return best > 0;
}
