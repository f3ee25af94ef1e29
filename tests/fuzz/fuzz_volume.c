/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to publish is refused with a reason, or it names an image and a target that may be mounted
 * at; and whatever its text is, an error that quotes it can be sent.
 */
#include <string.h>

#include "csi/grpc_frame.h"
#include "csi/volume.h"
#include "fuzz.h"

static void check_text(const char *text)
{
	char encoded[768];
	size_t len = grpc_text_encode(text, encoded, sizeof(encoded));

	must(len < sizeof(encoded) && encoded[len] == '\0');
	for (size_t i = 0; i < len; i++)
		must(encoded[i] >= ' ' && encoded[i] <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Csi__V1__NodePublishVolumeRequest *request =
		csi__v1__node_publish_volume_request__unpack(NULL, size, data);
	struct err err = ERR_INIT;
	struct volume v;
	int r;

	if (!request)
		return 0;
	r = volume_parse(request, &v, &err);
	if (r < 0) {
		must(err.code == r && err.msg[0] != '\0');
		must(grpc_status_of(r) == GRPC_INVALID_ARGUMENT);
		check_text(err.msg);
	} else {
		must(v.target[0] == '/' && volume_path_ok(v.target));
		must(v.image[0] != '\0' && v.image[0] != '.');
		must(v.path[0] != '/' && strcmp(v.path, "..") != 0 && !strstr(v.path, "/../"));
		must(!v.platform || strchr(v.platform, '/'));
	}
	csi__v1__node_publish_volume_request__free_unpacked(request, NULL);
	return 0;
}
