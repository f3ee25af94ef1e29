/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: how `assetfs` and `fsstat` talk to the daemon of a store.
 *
 * A stream socket; a message is one line of JSON, an object. The client sends
 * one request, {"version":1,"command":…,…}, and gets one answer:
 * {"version":1,"ok":true,…} or {"version":1,"ok":false,"code":N,"error":"…"}
 * with N an errno. The answer to "mount" carries a descriptor (SCM_RIGHTS). A
 * source is "image", "all" or "file", and then the request carries a trace.
 *
 *	command  request                        answer
 *	mount    image, directory, [platform],  "device" (major:minor); a detached mount
 *	         [small_files: auto|on|off]
 *	         [prefetch: a source]
 *	         [pod: {uid, name, namespace}]  names for report_stats(), of Kubernetes
 *	         [auth], [verify_key]           "signed": the owner of verify_key has signed it
 *	pin      image, [platform], [floor_bytes], [seconds], [auth]
 *	prefetch target, source, [platform], [auth]  -
 *	resident [target], [platform], [auth]   "state", "done_bytes", "total_bytes", "error"
 *	trace-record  target, [output]          -; a mount namespace may come with it
 *	trace-stop    target                    "uses", "cut", ["output"]; the trace's file
 *	status   -                              report_status(), "pins"
 *	stats    [target], [detail, [files]]    report_stats()
 *	unpin    image
 *
 * "auth" is text as in docker's config.json: credentials for the registry of the image, for this request
 * and what it makes, before the daemon's own. Nothing tells them.
 *
 * "verify_key" is a public key in PEM.
 *
 * Only root and the daemon's group may talk to it. Any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

#define CONTROL_SOCKET  "control.sock"
#define CONTROL_VERSION 1

DEFINE_CLEANUP(json_t *, json_decref)

/*
 * JSON text is UTF-8, paths and messages with paths are bytes: what is no
 * UTF-8 comes with '?' for each byte above 0x7f. Returns NULL without memory.
 */
json_t *control_text(const char *text);

/* Listen in the directory @store_dir, replacing a socket that is there. Returns a descriptor or -errno. */
MUST_CHECK int control_listen(int store_dir, struct err *err);

/* Connect to the daemon of the store @path. Returns a descriptor; -ENOTCONN when none runs; -errno. */
MUST_CHECK int control_connect(const char *path, struct err *err);

/* Whether the process at the other end of @fd may give orders. */
bool control_peer_allowed(int fd);

/* Send @message, with descriptor @pass_fd unless it is -1. Returns 0 or -errno. */
MUST_CHECK int control_send(int fd, const json_t *message, int pass_fd);

/*
 * Receive a message of at most @max bytes. Returns 0 and sets *@ret, which the
 * caller gives back, and *@ret_fd (when @ret_fd is not NULL) to a descriptor
 * that came with it, or -1; -EPROTO for what is no message of this version;
 * -ECONNRESET when the other side is gone; -errno.
 */
MUST_CHECK int control_receive(int fd, size_t max, json_t **ret, int *ret_fd, struct err *err);

/* Parse a message. Performs no I/O. Returns 0 and sets *@ret, or -EPROTO. */
MUST_CHECK int control_parse(const char *text, size_t len, json_t **ret, struct err *err);

/*
 * Client: send @request to the daemon of the store @path and receive the
 * answer. Returns 0; the daemon's error; or what connecting and receiving
 * return.
 */
MUST_CHECK int control_call(const char *path, const json_t *request, json_t **ret, int *ret_fd,
                            struct err *err);

/* As control_call(), but -ETIMEDOUT when @seconds pass without a sign of the daemon. */
MUST_CHECK int control_call_within(const char *path, const json_t *request, unsigned seconds,
                                   json_t **ret, int *ret_fd, struct err *err);

/* As control_call(), with descriptor @pass_fd unless it is -1. */
MUST_CHECK int control_call_with(const char *path, const json_t *request, int pass_fd, json_t **ret,
                                 int *ret_fd, struct err *err);
