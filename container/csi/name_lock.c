/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/name_lock.h"

#include <stddef.h>
#include <string.h>

/* With the set's lock held. */
static bool is_held(const struct name_locks *set, const char *name)
{
	const struct name_lock *held = set->held;

	while (held && strcmp(held->name, name) != 0)
		held = held->next;
	return held;
}

/* With the set's lock held. */
static void take(struct name_locks *set, const char *name, struct name_lock *ret)
{
	*ret = (struct name_lock){ .set = set, .name = name, .next = set->held };
	set->held = ret;
}

bool name_lock_try(struct name_locks *set, const char *name, struct name_lock *ret)
{
	bool ours;

	(void)pthread_mutex_lock(&set->lock);
	ours = !is_held(set, name);
	if (ours)
		take(set, name, ret);
	(void)pthread_mutex_unlock(&set->lock);
	return ours;
}

void name_lock_wait(struct name_locks *set, const char *name, struct name_lock *ret)
{
	(void)pthread_mutex_lock(&set->lock);
	while (is_held(set, name))
		(void)pthread_cond_wait(&set->freed, &set->lock);
	take(set, name, ret);
	(void)pthread_mutex_unlock(&set->lock);
}

void name_lock_release(struct name_lock *held)
{
	struct name_locks *set = held->set;
	struct name_lock **link;

	if (!set)
		return;
	(void)pthread_mutex_lock(&set->lock);
	link = &set->held;
	while (*link != held)
		link = &(*link)->next;
	*link = held->next;
	(void)pthread_cond_broadcast(&set->freed);
	(void)pthread_mutex_unlock(&set->lock);
	held->set = NULL;
}
