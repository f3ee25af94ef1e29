/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { ESCAPE_SIZE = 4 }; /* \ooo */

/* Bytes of the UTF-8 sequence that begins with @byte, or 0 when none can. */
static size_t sequence_size(uint8_t byte)
{
	if (byte < 0x80)
		return 1;
	if (byte >= 0xc2 && byte < 0xe0)
		return 2;
	if (byte >= 0xe0 && byte < 0xf0)
		return 3;
	return byte >= 0xf0 && byte < 0xf5 ? 4 : 0;
}

/*
 * Length of the printable character at the start of the @len bytes at @s, or 0
 * when the first byte has to be escaped: not UTF-8, or a control character of
 * ASCII or Latin-1 (terminals obey both).
 */
static size_t printable(const char *s, size_t len)
{
	static const uint32_t least[] = { 0, 0x20, 0xa0, 0x800, 0x10000 };
	uint8_t first = (uint8_t)s[0];
	size_t n = sequence_size(first);
	uint32_t code = n > 1 ? first & (0x7fu >> n) : first;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (((uint8_t)s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | ((uint8_t)s[i] & 0x3f);
	}
	if (code < least[n] || code == 0x7f || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return n;
}

static void escape(char c, char out[static ESCAPE_SIZE])
{
	uint8_t byte = (uint8_t)c;

	out[0] = '\\';
	out[1] = (char)('0' + (byte >> 6));
	out[2] = (char)('0' + (byte >> 3 & 7));
	out[3] = (char)('0' + (byte & 7));
}

void name_print_escaped(FILE *to, const char *name, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = printable(name + i, len - i);
		char escaped[ESCAPE_SIZE];

		if (n > 0) {
			(void)fwrite(name + i, 1, n, to);
		} else {
			escape(name[i], escaped);
			(void)fwrite(escaped, 1, sizeof(escaped), to);
			n = 1;
		}
		i += n;
	}
}

void name_print(const char *name, size_t len)
{
	if (isatty(STDOUT_FILENO))
		name_print_escaped(stdout, name, len);
	else
		(void)fwrite(name, 1, len, stdout);
}

const char *name_shown(const char *name, char buf[static NAME_SHOWN_MAX])
{
	static const char cut[] = "...";
	size_t len = strlen(name);
	size_t used = 0;

	for (size_t i = 0; i < len;) {
		size_t n = printable(name + i, len - i);
		size_t wanted = n > 0 ? n : (size_t)ESCAPE_SIZE;

		if (used + wanted + sizeof(cut) > NAME_SHOWN_MAX) {
			memcpy(buf + used, cut, sizeof(cut));
			return buf;
		}
		if (n > 0)
			memcpy(buf + used, name + i, n);
		else
			escape(name[i], buf + used);
		used += wanted;
		i += n > 0 ? n : 1;
	}
	buf[used] = '\0';
	return buf;
}
