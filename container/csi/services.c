/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/services.h"

#include <csi.pb-c.h>
#include <errno.h>
#include <registration.pb-c.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control.h"

enum { CAPABILITIES = 2 };

/* Pack @message as the answer. */
static int answer(const ProtobufCMessage *message, struct grpc_message *ret, struct err *err)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *data = malloc(len + 1);

	if (!data)
		return err_set(err, -ENOMEM, "out of memory");
	ret->len = protobuf_c_message_pack(message, data);
	ret->data = data;
	return 0;
}

/* Answer with a message that says nothing. */
static int answer_nothing(struct grpc_message *ret)
{
	*ret = (struct grpc_message){ .data = NULL, .len = 0 };
	return 0;
}

static void message_free(ProtobufCMessage *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}
DEFINE_CLEANUP(ProtobufCMessage *, message_free)

/* Unpack @request as one of @type. Returns 0 and sets *@ret, which the caller gives back, or -EINVAL. */
static int unpack(const ProtobufCMessageDescriptor *type, const struct grpc_message *request,
                  ProtobufCMessage **ret, struct err *err)
{
	*ret = protobuf_c_message_unpack(type, NULL, request->len, request->data);
	return *ret ? 0 : err_set(err, -EINVAL, "the request is no %s", type->name);
}

static int get_plugin_info(void *arg, const struct grpc_message *request, struct grpc_message *ret,
                           struct err *err)
{
	const struct services *services = arg;
	Csi__V1__GetPluginInfoResponse info;
	char version[] = ASSETFS_VERSION;
	CLEANUP(free) char *name = strdup(services->driver_name);

	csi__v1__get_plugin_info_response__init(&info);
	(void)request;
	if (!name)
		return err_set(err, -ENOMEM, "out of memory");
	info.name = name;
	info.vendor_version = version;
	return answer(&info.base, ret, err);
}

/* None: volumes are not made, they are there. */
static int get_plugin_capabilities(void *arg, const struct grpc_message *request,
                                   struct grpc_message *ret, struct err *err)
{
	(void)arg;
	(void)request;
	(void)err;
	return answer_nothing(ret);
}

static int probe(void *arg, const struct grpc_message *request, struct grpc_message *ret,
                 struct err *err)
{
	const struct services *services = arg;
	Csi__V1__ProbeResponse response;
	Csi__V1__BoolValue ready;
	CLEANUP(json_decref) json_t *status = NULL;

	csi__v1__probe_response__init(&response);
	csi__v1__bool_value__init(&ready);
	(void)request;
	ready.value = daemon_status(services->node->store, &status, NULL) == 0;
	response.ready = &ready;
	return answer(&response.base, ret, err);
}

static int node_publish_volume(void *arg, const struct grpc_message *request,
                               struct grpc_message *ret, struct err *err)
{
	const struct services *services = arg;
	CLEANUP(message_free) ProtobufCMessage *message = NULL;
	struct volume v;
	int r = unpack(&csi__v1__node_publish_volume_request__descriptor, request, &message, err);

	if (r == 0)
		r = volume_parse((const void *)message, &v, err);
	if (r == 0)
		r = node_publish(services->node, &v, err);
	return r < 0 ? r : answer_nothing(ret);
}

static int check_named(const char *id, const char *path, const char *what, struct err *err)
{
	if (id[0] == '\0')
		return err_set(err, -EINVAL, "the volume's id is missing");
	if (path[0] == '\0')
		return err_set(err, -EINVAL, "the %s path is missing", what);
	if (!volume_path_ok(path))
		return err_set(err, -EINVAL, "the %s path '%s' is not absolute", what, path);
	return 0;
}

static int node_unpublish_volume(void *arg, const struct grpc_message *request,
                                 struct grpc_message *ret, struct err *err)
{
	const struct services *services = arg;
	CLEANUP(message_free) ProtobufCMessage *message = NULL;
	const Csi__V1__NodeUnpublishVolumeRequest *what;
	int r = unpack(&csi__v1__node_unpublish_volume_request__descriptor, request, &message, err);

	if (r < 0)
		return r;
	what = (const void *)message;
	r = check_named(what->volume_id, what->target_path, "target", err);
	if (r == 0)
		r = node_unpublish(services->node, what->target_path, err);
	return r < 0 ? r : answer_nothing(ret);
}

static int node_get_capabilities(void *arg, const struct grpc_message *request,
                                 struct grpc_message *ret, struct err *err)
{
	static const Csi__V1__NodeServiceCapability__RPC__Type types[CAPABILITIES] = {
		CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME_STATS,
		CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__VOLUME_CONDITION,
	};
	Csi__V1__NodeServiceCapability__RPC rpc[CAPABILITIES];
	Csi__V1__NodeServiceCapability capability[CAPABILITIES];
	Csi__V1__NodeServiceCapability *list[CAPABILITIES];
	Csi__V1__NodeGetCapabilitiesResponse response;

	csi__v1__node_get_capabilities_response__init(&response);
	(void)arg;
	(void)request;
	for (size_t i = 0; i < CAPABILITIES; i++) {
		csi__v1__node_service_capability__rpc__init(&rpc[i]);
		csi__v1__node_service_capability__init(&capability[i]);
		rpc[i].type = types[i];
		capability[i].type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
		capability[i].rpc = &rpc[i];
		list[i] = &capability[i];
	}
	response.n_capabilities = CAPABILITIES;
	response.capabilities = list;
	return answer(&response.base, ret, err);
}

static int node_get_info(void *arg, const struct grpc_message *request, struct grpc_message *ret,
                         struct err *err)
{
	const struct services *services = arg;
	Csi__V1__NodeGetInfoResponse info;
	CLEANUP(free) char *id = strdup(services->node_id);

	csi__v1__node_get_info_response__init(&info);
	(void)request;
	if (!id)
		return err_set(err, -ENOMEM, "out of memory");
	info.node_id = id;
	return answer(&info.base, ret, err);
}

static int answer_stats(const struct volume_stats *stats, struct grpc_message *ret, struct err *err)
{
	Csi__V1__NodeGetVolumeStatsResponse response;
	Csi__V1__VolumeCondition condition;
	Csi__V1__VolumeUsage bytes;
	Csi__V1__VolumeUsage inodes;
	Csi__V1__VolumeUsage *usage[] = { &bytes, &inodes };
	CLEANUP(free) char *message = strdup(stats->message);

	csi__v1__node_get_volume_stats_response__init(&response);
	csi__v1__volume_condition__init(&condition);
	csi__v1__volume_usage__init(&bytes);
	csi__v1__volume_usage__init(&inodes);
	if (!message)
		return err_set(err, -ENOMEM, "out of memory");
	condition.abnormal = stats->lost;
	condition.message = message;
	response.volume_condition = &condition;
	bytes.unit = CSI__V1__VOLUME_USAGE__UNIT__BYTES;
	bytes.total = stats->bytes;
	bytes.available = stats->bytes_available;
	bytes.used = stats->bytes - stats->bytes_available;
	inodes.unit = CSI__V1__VOLUME_USAGE__UNIT__INODES;
	inodes.total = stats->inodes;
	inodes.available = stats->inodes_available;
	inodes.used = stats->inodes - stats->inodes_available;
	response.n_usage = stats->lost ? 0 : 2;
	response.usage = usage;
	return answer(&response.base, ret, err);
}

static int node_get_volume_stats(void *arg, const struct grpc_message *request,
                                 struct grpc_message *ret, struct err *err)
{
	const struct services *services = arg;
	CLEANUP(message_free) ProtobufCMessage *message = NULL;
	const Csi__V1__NodeGetVolumeStatsRequest *what;
	struct volume_stats stats = { .message = "" };
	int r = unpack(&csi__v1__node_get_volume_stats_request__descriptor, request, &message, err);

	if (r < 0)
		return r;
	what = (const void *)message;
	r = check_named(what->volume_id, what->volume_path, "volume", err);
	if (r == 0)
		r = node_stats(services->node, what->volume_path, &stats, err);
	return r < 0 ? r : answer_stats(&stats, ret, err);
}

static int get_info(void *arg, const struct grpc_message *request, struct grpc_message *ret,
                    struct err *err)
{
	const struct services *services = arg;
	Pluginregistration__PluginInfo info;
	CLEANUP(free) char *name = strdup(services->driver_name);
	CLEANUP(free) char *endpoint = strdup(services->endpoint);
	char type[] = "CSIPlugin";
	char version[] = "1.0.0"; /* of the interface */
	char *versions[] = { version };

	pluginregistration__plugin_info__init(&info);
	(void)request;
	if (!name || !endpoint)
		return err_set(err, -ENOMEM, "out of memory");
	info.type = type;
	info.name = name;
	info.endpoint = endpoint;
	info.n_supported_versions = 1;
	info.supported_versions = versions;
	return answer(&info.base, ret, err);
}

static int notify_registration_status(void *arg, const struct grpc_message *request,
                                      struct grpc_message *ret, struct err *err)
{
	struct services *services = arg;
	CLEANUP(message_free) ProtobufCMessage *message = NULL;
	const Pluginregistration__RegistrationStatus *status;
	int r = unpack(&pluginregistration__registration_status__descriptor, request, &message,
	               err);

	if (r < 0)
		return r;
	status = (const void *)message;
	if (status->plugin_registered) {
		log_info("registered with kubelet");
	} else {
		log_err("kubelet refuses the driver: %s", status->error);
		__atomic_store_n(&services->refused, true, __ATOMIC_RELEASE);
		grpc_server_stop(services->server);
	}
	return answer_nothing(ret);
}

const struct grpc_method services_methods[] = {
	{ "/csi.v1.Identity/GetPluginInfo", get_plugin_info },
	{ "/csi.v1.Identity/GetPluginCapabilities", get_plugin_capabilities },
	{ "/csi.v1.Identity/Probe", probe },
	{ "/csi.v1.Node/NodePublishVolume", node_publish_volume },
	{ "/csi.v1.Node/NodeUnpublishVolume", node_unpublish_volume },
	{ "/csi.v1.Node/NodeGetVolumeStats", node_get_volume_stats },
	{ "/csi.v1.Node/NodeGetCapabilities", node_get_capabilities },
	{ "/csi.v1.Node/NodeGetInfo", node_get_info },
	{ "/pluginregistration.Registration/GetInfo", get_info },
	{ "/pluginregistration.Registration/NotifyRegistrationStatus", notify_registration_status },
};
const size_t services_n_methods = sizeof(services_methods) / sizeof(services_methods[0]);
