/* SPDX-License-Identifier: Apache-2.0 */
#include "built_file.h"

#include <stdio.h>
#include <string.h>

enum { TAR_BLOCK = 512, TAR_SIZE = 124, TAR_SUM = 148, TAR_TYPE = 156, TAR_MAGIC = 257 };

void built_add(struct built *b, const void *data, size_t len)
{
	if (b->max - b->len < len) {
		size_t max = 2 * b->max + len;
		uint8_t *grown = realloc(b->data, max);

		if (!grown)
			abort();
		b->data = grown;
		b->max = max;
	}
	if (data)
		memcpy(b->data + b->len, data, len);
	else if (len > 0)
		memset(b->data + b->len, '.', len);
	b->len += len;
}

void built_set_le(struct built *b, size_t off, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		b->data[off + i] = (uint8_t)(value >> 8 * i);
}

void built_add_le(struct built *b, uint64_t value, size_t n)
{
	built_add(b, NULL, n);
	built_set_le(b, b->len - n, value, n);
}

void built_png_signature(struct built *b)
{
	built_add(b, "\x89PNG\r\n\x1a\n", 8);
}

void built_png_chunk(struct built *b, const char *type, uint32_t size)
{
	built_add_le(b, __builtin_bswap32(size), 4);
	built_add(b, type, 4);
	built_add(b, NULL, size);
	built_add_le(b, 0, 4);
}

/* What local headers and entries of the directory have in common. */
static void zip_common(struct built *b, const struct built_member *m)
{
	bool zip64 = m->zip64;

	built_add_le(b, 20, 2); /* version */
	built_add_le(b, m->flags, 2);
	built_add_le(b, m->method, 2);
	built_add_le(b, 0, 4 + 4); /* time, checksum */
	built_add_le(b, zip64 ? UINT32_MAX : m->size, 4);
	built_add_le(b, zip64 ? UINT32_MAX : m->size, 4);
	built_add_le(b, strlen(m->name), 2);
}

static void zip_local(struct built *b, struct built_member *m)
{
	m->header = b->len;
	built_add_le(b, 0x04034b50, 4);
	zip_common(b, m);
	built_add_le(b, m->local_extra, 2);
	built_add(b, m->name, strlen(m->name));
	built_add(b, NULL, m->local_extra);
	m->at = b->len;
	built_add(b, NULL, m->size);
}

static void zip_entry(struct built *b, struct built_member *m, size_t base)
{
	m->entry = b->len;
	built_add_le(b, 0x02014b50, 4);
	built_add_le(b, 20, 2); /* made by */
	zip_common(b, m);
	built_add_le(b, m->zip64 ? 4 + 5 + 4 + 24 : 0, 2);
	built_add_le(b, 3, 2); /* length of the comment */
	built_add_le(b, 0, 2 + 2 + 4);
	built_add_le(b, m->zip64 ? UINT32_MAX : m->header - base, 4);
	built_add(b, m->name, strlen(m->name));
	if (m->zip64) {
		built_add_le(b, 0x5455, 2);
		built_add_le(b, 5, 2);
		built_add(b, NULL, 5);
		built_add_le(b, 0x0001, 2);
		built_add_le(b, 24, 2);
		built_add_le(b, m->size, 8);
		built_add_le(b, m->size, 8);
		built_add_le(b, m->header - base, 8);
	}
	built_add(b, NULL, 3);
}

static void zip64_end(struct built *b, const struct built_zip *z)
{
	size_t at = b->len;

	built_add_le(b, 0x06064b50, 4);
	built_add_le(b, 44, 8);
	built_add_le(b, 45, 2);
	built_add_le(b, 45, 2);
	built_add_le(b, 0, 8); /* disks */
	built_add_le(b, z->n, 8);
	built_add_le(b, z->n, 8);
	built_add_le(b, at - z->directory, 8);
	built_add_le(b, z->directory - z->base, 8);
	built_add_le(b, 0x07064b50, 4);
	built_add_le(b, 0, 4);
	built_add_le(b, at - z->base, 8);
	built_add_le(b, 1, 4);
}

void built_zip(struct built *b, struct built_zip *z)
{
	size_t size;

	for (size_t i = 0; i < z->n; i++)
		zip_local(b, &z->members[i]);
	z->directory = b->len;
	for (size_t i = 0; i < z->n; i++)
		zip_entry(b, &z->members[i], z->base);
	size = b->len - z->directory;
	if (z->zip64)
		zip64_end(b, z);
	z->end = b->len;
	built_add_le(b, 0x06054b50, 4);
	built_add_le(b, 0, 4); /* disks */
	built_add_le(b, z->zip64 ? UINT16_MAX : z->n, 2);
	built_add_le(b, z->zip64 ? UINT16_MAX : z->n, 2);
	built_add_le(b, z->zip64 ? UINT32_MAX : size, 4);
	built_add_le(b, z->zip64 ? UINT32_MAX : z->directory - z->base, 4);
	built_add_le(b, z->comment_len, 2);
	built_add(b, z->comment, z->comment_len);
}

void built_tar_sum(struct built *b, size_t off)
{
	char text[8] = "        ";
	unsigned sum = 0;

	memcpy(b->data + off + TAR_SUM, text, sizeof(text));
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += b->data[off + i];
	(void)snprintf(text, sizeof(text), "%06o", sum);
	memcpy(b->data + off + TAR_SUM, text, sizeof(text));
}

size_t built_tar_header(struct built *b, char type, const char *name, uint64_t size)
{
	static const uint8_t zeros[TAR_BLOCK];
	size_t off = b->len;
	char text[13];

	built_add(b, zeros, sizeof(zeros));
	memcpy(b->data + off, name, strnlen(name, 100));
	(void)snprintf(text, sizeof(text), "%011llo", (unsigned long long)size);
	memcpy(b->data + off + TAR_SIZE, text, 12);
	b->data[off + TAR_TYPE] = (uint8_t)type;
	memcpy(b->data + off + TAR_MAGIC, "ustar\00000", 8);
	built_tar_sum(b, off);
	return off;
}

size_t built_tar_member(struct built *b, char type, const char *name, const void *data, size_t size)
{
	static const uint8_t zeros[TAR_BLOCK];
	size_t at = built_tar_header(b, type, name, size) + TAR_BLOCK;

	built_add(b, data, size);
	built_add(b, zeros, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
	return at;
}

void built_tar_end(struct built *b)
{
	static const uint8_t zeros[2 * TAR_BLOCK];

	built_add(b, zeros, sizeof(zeros));
}
