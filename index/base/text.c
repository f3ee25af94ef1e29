/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGTPE";

/* Read decimal digits at *@text and step over them. */
static int parse_digits(const char **text, uint64_t max, uint64_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (digit > max || value > (max - digit) / 10)
			return -EINVAL;
		value = value * 10 + digit;
	}
	*text = p;
	*ret = value;
	return 0;
}

int text_parse_uint(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	int r = parse_digits(&text, max, &value);

	if (r < 0 || *text != '\0')
		return -EINVAL;
	*ret = value;
	return 0;
}

int text_parse_size(const char *text, uint64_t *ret)
{
	uint64_t value;
	const char *unit;
	unsigned shift;

	if (parse_digits(&text, INT64_MAX, &value) < 0)
		return -EINVAL;
	if (*text != '\0') {
		unit = strchr(units, toupper((unsigned char)*text));
		if (!unit)
			return -EINVAL;
		text++;
		if (*text != '\0' && strcasecmp(text, "i") != 0 && strcasecmp(text, "b") != 0 &&
		    strcasecmp(text, "ib") != 0)
			return -EINVAL;
		shift = 10u * (unsigned)(unit - units + 1);
		if (value > (uint64_t)INT64_MAX >> shift)
			return -EINVAL;
		value <<= shift;
	}
	*ret = value;
	return 0;
}

const char *text_size(uint64_t bytes, char buf[static TEXT_SIZE_MAX])
{
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		(void)snprintf(buf, TEXT_SIZE_MAX, "%u B", (unsigned)bytes);
		return buf;
	}
	for (value /= 1024; value >= 1023.95 && units[unit + 1] != '\0'; unit++)
		value /= 1024;
	(void)snprintf(buf, TEXT_SIZE_MAX, "%.1f %ciB", value, units[unit]);
	return buf;
}
