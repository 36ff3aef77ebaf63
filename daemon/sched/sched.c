/*
 * sched.c - the table of schedules and the rule that chooses one; see sched.h.
 */
#include "daemon/sched/sched.h"

#include <stddef.h>
#include <string.h>

#define X(name) &sched_##name,
const struct sched *const sched_table[] = {SCHEDS(X) NULL};
#undef X

const struct sched *sched_by_name(const char *name)
{
	for (const struct sched *const *it = sched_table; *it; it++)
		if (strcmp((*it)->name, name) == 0)
			return *it;
	return NULL;
}

const struct sched *sched_by_id(uint16_t id)
{
	for (const struct sched *const *it = sched_table; *it; it++)
		if ((*it)->id == id)
			return *it;
	return NULL;
}

const struct sched *sched_choose(uint16_t forced, uint64_t bytes, uint16_t nodes,
				 uint64_t flat_bytes_max)
{
	const struct sched *sched = sched_by_id(forced);

	if (sched)
		return sched;
	if (nodes < 2 || bytes <= flat_bytes_max / (nodes - 1u))
		return &sched_flat;
	return &sched_direct;
}
