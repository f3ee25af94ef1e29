/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever stands in mountinfo, every mount point found is found again by its path and its device. */
#include <string.h>

#include "base/cleanup.h"
#include "doctor_mounts.h"
#include "fuzz.h"
#include "mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(free) char *text = malloc(size + 1);
	struct mount_place place;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (mount_place_find(text, "/a/b", &place))
		must(strnlen(place.type, sizeof(place.type)) < sizeof(place.type));
	if (mount_points_parse(text, &points) < 0)
		return 0;
	for (size_t i = 0; i < points.n; i++) {
		const struct mount_point *p = mount_points_at(&points, points.point[i].path);

		must(p && strcmp(p->path, points.point[i].path) == 0 && p >= &points.point[i]);
		must(mount_points_of(&points, points.point[i].device) != NULL);
	}
	return 0;
}
