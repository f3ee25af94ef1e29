/* SPDX-License-Identifier: Apache-2.0 */
#include "tagged.h"

int tagged_load(const struct image_ref *ref, struct tagged *ret, struct err *err)
{
	int r;

	*ret = TAGGED_INIT;
	r = layout_open(ref->layout, &ret->layout, err);
	if (r == 0)
		r = layout_images(ret->layout, ref->tag, &ret->images, err);
	if (r < 0)
		tagged_release(ret);
	return r;
}

void tagged_release(struct tagged *t)
{
	image_set_release(&t->images);
	layout_close(t->layout);
	*t = TAGGED_INIT;
}
