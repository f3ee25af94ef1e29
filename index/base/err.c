/* SPDX-License-Identifier: Apache-2.0 */
#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Put @reason behind the message, which gives way when both are too long together. */
static void append_reason(struct err *err, const char *reason)
{
	static const char cut[] = "...";
	const size_t max = sizeof(err->msg) - 1;
	size_t wanted = strlen(": ") + strlen(reason);
	size_t room = wanted + max / 3 < max ? max - wanted : max / 3;
	size_t used = strlen(err->msg);
	bool fits = used <= room;

	if (!fits)
		used = room - strlen(cut);
	/* A reason that alone is too long loses its end. */
	(void)snprintf(err->msg + used, sizeof(err->msg) - used, "%s: %.*s", fits ? "" : cut,
	               (int)(sizeof(err->msg) - used), reason);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return code;
}

int err_set_errno(struct err *err, const char *fmt, ...)
{
	int code = errno > 0 ? -errno : -EIO;
	va_list ap;
	char reason[80];

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	append_reason(err, strerror_r(-code, reason, sizeof(reason)));
	return code;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	char inner[sizeof(err->msg)];
	va_list ap;

	if (!err)
		return code;
	memcpy(inner, err->msg, sizeof(inner));
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	append_reason(err, inner);
	return code;
}

bool err_is_out_of_reach(int code)
{
	return code == -ETIMEDOUT || code == -ECONNRESET || code == -ECONNREFUSED ||
	       code == -EHOSTUNREACH;
}
