/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/grpc_frame.h"

#include <errno.h>

static const struct {
	int code;
	enum grpc_status status;
} statuses[] = {
	{ 0, GRPC_OK },
	{ -EINVAL, GRPC_INVALID_ARGUMENT },
	{ -ENOTDIR, GRPC_INVALID_ARGUMENT },
	{ -ENAMETOOLONG, GRPC_INVALID_ARGUMENT },
	{ -ETIMEDOUT, GRPC_DEADLINE_EXCEEDED },
	{ -ENOENT, GRPC_NOT_FOUND },
	{ -ENOMEDIUM, GRPC_NOT_FOUND },
	{ -EEXIST, GRPC_ALREADY_EXISTS },
	{ -EACCES, GRPC_PERMISSION_DENIED },
	{ -EPERM, GRPC_PERMISSION_DENIED },
	{ -ENOMEM, GRPC_RESOURCE_EXHAUSTED },
	{ -ENOSPC, GRPC_RESOURCE_EXHAUSTED },
	{ -EDQUOT, GRPC_RESOURCE_EXHAUSTED },
	{ -EMFILE, GRPC_RESOURCE_EXHAUSTED },
	{ -ENFILE, GRPC_RESOURCE_EXHAUSTED },
	{ -EAGAIN, GRPC_RESOURCE_EXHAUSTED },
	{ -EMSGSIZE, GRPC_RESOURCE_EXHAUSTED },
	{ -EPROTONOSUPPORT, GRPC_FAILED_PRECONDITION },
	{ -ESTALE, GRPC_FAILED_PRECONDITION },
	{ -EBUSY, GRPC_ABORTED },
	{ -ENOSYS, GRPC_UNIMPLEMENTED },
	{ -ENOTCONN, GRPC_UNAVAILABLE },
	{ -ECONNABORTED, GRPC_UNAVAILABLE },
	{ -ECONNREFUSED, GRPC_UNAVAILABLE },
	{ -ECONNRESET, GRPC_UNAVAILABLE },
	{ -EPIPE, GRPC_UNAVAILABLE },
	{ -EBADMSG, GRPC_DATA_LOSS },
	{ -EKEYREJECTED, GRPC_UNAUTHENTICATED },
};

enum grpc_status grpc_status_of(int code)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i].code == code)
			return statuses[i].status;
	}
	return GRPC_INTERNAL;
}

int grpc_frame_parse(const uint8_t *body, size_t len, const uint8_t **ret, size_t *ret_len,
                     struct err *err)
{
	size_t n;

	if (len < GRPC_HEAD_SIZE)
		return err_set(err, -EPROTO, "the request has no message");
	if (body[0] == 1)
		return err_set(err, -ENOSYS, "compressed messages are not understood");
	n = (size_t)body[1] << 24 | (size_t)body[2] << 16 | (size_t)body[3] << 8 | body[4];
	if (body[0] != 0 || n != len - GRPC_HEAD_SIZE)
		return err_set(err, -EPROTO, "the request is not one message");
	*ret = body + GRPC_HEAD_SIZE;
	*ret_len = n;
	return 0;
}

void grpc_frame_head(uint32_t len, uint8_t ret[static GRPC_HEAD_SIZE])
{
	ret[0] = 0;
	ret[1] = (uint8_t)(len >> 24);
	ret[2] = (uint8_t)(len >> 16);
	ret[3] = (uint8_t)(len >> 8);
	ret[4] = (uint8_t)len;
}

size_t grpc_text_encode(const char *text, char *ret, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *text != '\0' && n + 4 <= size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c <= '~' && c != '%') {
			ret[n++] = (char)c;
			continue;
		}
		ret[n++] = '%';
		ret[n++] = digits[c >> 4];
		ret[n++] = digits[c & 15];
	}
	ret[n] = '\0';
	return n;
}
