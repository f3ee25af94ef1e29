/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers.h"
#include "tar.h"

/* An archive in memory. */
struct archive {
	char bytes[8192];
	size_t len;
};

static int put(void *arg, const void *data, size_t len, struct err *err)
{
	struct archive *a = arg;

	if (len > sizeof(a->bytes) - a->len)
		return err_set(err, -ENOSPC, "full");
	memcpy(a->bytes + a->len, data, len);
	a->len += len;
	return 0;
}

static int begin(struct archive *a, const struct tar_entry *entry, struct err *err)
{
	const struct tar tar = { .put = put, .arg = a };

	*a = (struct archive){ .len = 0 };
	return tar_begin(&tar, entry, err);
}

/* The record "LENGTH KEY=VALUE\n" of the extended header; 0 when there is none. */
static bool has_record(const struct archive *a, const char *record)
{
	return a->len > 1024 && a->bytes[156] == 'x' &&
	       memmem(a->bytes + 512, a->len - 1024, record, strlen(record));
}

Test(tar, entry_that_fits_is_one_header)
{
	const struct tree_node node = { .mode = 0100755, .mtime_s = 8, .uid = 9, .gid = 10 };
	const struct tar_entry entry = {
		.type = TAR_FILE,
		.path = "a/file",
		.size = 1000,
		.metadata = &node,
	};
	unsigned long sum = 0, wanted;
	struct archive a;

	cr_assert(begin(&a, &entry, NULL) == 0);
	cr_assert(a.len == 512);
	cr_assert_str_eq(a.bytes, "a/file");
	cr_assert_str_eq(a.bytes + 100, "0000755");
	cr_assert_str_eq(a.bytes + 108, "0000011");
	cr_assert_str_eq(a.bytes + 116, "0000012");
	cr_assert_str_eq(a.bytes + 124, "00000001750");
	cr_assert_str_eq(a.bytes + 136, "00000000010");
	cr_assert(a.bytes[156] == '0');
	cr_assert(memcmp(a.bytes + 257, "ustar\00000", 8) == 0);
	wanted = strtoul(a.bytes + 148, NULL, 8);
	memset(a.bytes + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += (unsigned char)a.bytes[i];
	cr_assert(sum == wanted);
}

Test(tar, what_does_not_fit_is_in_an_extended_header)
{
	static const struct {
		struct tree_node node;
		uint64_t size;
		const char *record;
	} cases[] = {
		{ { .mtime_s = -1 }, 0, "12 mtime=-1\n" },
		{ { .mtime_s = -2, .mtime_ns = 500000000 }, 0, "22 mtime=-1.500000000\n" },
		{ { .mtime_s = -1, .mtime_ns = 999999999 }, 0, "22 mtime=-0.000000001\n" },
		{ { .mtime_s = 5, .mtime_ns = 7 }, 0, "21 mtime=5.000000007\n" },
		{ { .mtime_s = 1ll << 33 }, 0, "20 mtime=8589934592\n" },
		{ { .mtime_s = INT64_MIN }, 0, "30 mtime=-9223372036854775808\n" },
		{ { .uid = 1u << 21 }, 0, "15 uid=2097152\n" },
		{ { .gid = UINT32_MAX }, 0, "18 gid=4294967295\n" },
		{ { .uid = 0 }, 1ull << 33, "19 size=8589934592\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct tar_entry entry = {
			.type = TAR_FILE,
			.path = "x",
			.size = cases[i].size,
			.metadata = &cases[i].node,
		};
		struct archive a;

		cr_assert(begin(&a, &entry, NULL) == 0);
		cr_assert(has_record(&a, cases[i].record), "%s", cases[i].record);
		cr_assert(a.len == 1536);
	}
}

Test(tar, long_names_are_whole_and_lengths_count_themselves)
{
	const struct tree_node node = { .mode = 0120777 };
	char name[300], target[300], record[400];
	struct tar_entry entry = {
		.type = TAR_SYMLINK,
		.path = name,
		.target = target,
		.metadata = &node,
	};

	for (size_t len = 80; len < 299; len++) {
		struct archive a;

		memset(name, 'n', len);
		name[len] = '\0';
		memset(target, 't', len);
		target[len] = '\0';
		cr_assert(begin(&a, &entry, NULL) == 0);
		for (int n = 1; n < 400; n++) {
			if (snprintf(record, sizeof(record), "%d path=%s\n", n, name) == n)
				break;
		}
		cr_assert(has_record(&a, record) == (len > 100));
		cr_assert((memmem(a.bytes, a.len, "linkpath=t", 10) != NULL) == (len > 100));
	}
}

Test(tar, extended_attributes_are_bytes_and_may_not_be_ambiguous)
{
	CLEANUP(free)
	struct tree_xattrs *xattrs = calloc(1, sizeof(*xattrs) + sizeof(xattrs->list[0]));
	struct tree_node node = { .mode = 0100644, .xattrs = xattrs };
	struct tar_entry entry = { .type = TAR_FILE, .path = "x", .metadata = &node };
	struct err err = ERR_INIT;
	struct archive a;

	xattrs->n = 1;
	xattrs->list[0] = (struct tree_xattr){ .name = "user.a", .value = "b\0\nc", .len = 4 };
	cr_assert(begin(&a, &entry, NULL) == 0);
	cr_assert(memmem(a.bytes + 512, 512, "28 SCHILY.xattr.user.a=b\0\nc\n", 28));
	/* They are the file's, not the name's. */
	entry.type = TAR_HARD_LINK;
	entry.target = "y";
	cr_assert(begin(&a, &entry, NULL) == 0);
	cr_assert(a.len == 512);
	entry.type = TAR_FILE;
	xattrs->list[0].name = "user.a=b";
	cr_assert(begin(&a, &entry, &err) == -EINVAL);
	cr_assert(strstr(err.msg, "'='"));
}

Test(tar, ends_at_whole_blocks_and_passes_errors_on)
{
	struct archive a = { .len = 0 };
	const struct tar tar = { .put = put, .arg = &a };
	struct err err = ERR_INIT;

	cr_assert(tar_pad(&tar, 512, NULL) == 0 && a.len == 0);
	cr_assert(tar_pad(&tar, 513, NULL) == 0 && a.len == 511);
	cr_assert(tar_end(&tar, NULL) == 0 && a.len == 511 + 1024);
	a.len = sizeof(a.bytes) - 10;
	cr_assert(tar_end(&tar, &err) == -ENOSPC && err.code == -ENOSPC);
}

Test(layers, are_few_enough_for_engines_and_their_size_changes_rarely)
{
	const uint64_t mib = 1 << 20;
	uint64_t last = 0;

	cr_assert(layers_unit(0) == 64 * mib);
	cr_assert(layers_unit(3072 * mib) == 64 * mib);
	for (uint64_t bytes = mib; bytes < UINT64_MAX / 3; bytes *= 3) {
		uint64_t unit = layers_unit(bytes);

		cr_assert(bytes / unit <= 48);
		cr_assert(unit >= last && (unit & (unit - 1)) == 0);
		last = unit;
	}
}
