/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC services: csi.v1.Identity and csi.v1.Node as the Container Storage Interface
 * specifies them (github.com/container-storage-interface/spec), and kubelet's
 * pluginregistration.Registration (k8s.io/kubelet/pkg/apis/pluginregistration/v1).
 */
#pragma once

#include <stdbool.h>

#include "csi/grpc_server.h"
#include "csi/node.h"

#define DRIVER_NAME "csi.assetfs.io"

/* The argument of the methods' calls. */
struct services {
	struct node *node;          /* borrowed */
	const char *driver_name;    /* borrowed */
	const char *node_id;        /* borrowed */
	const char *endpoint;       /* borrowed; the socket's path, as kubelet sees it */
	struct grpc_server *server; /* borrowed; stopped when kubelet refuses the driver */
	bool refused;               /* atomic; it has */
};

extern const struct grpc_method services_methods[];
extern const size_t services_n_methods;
