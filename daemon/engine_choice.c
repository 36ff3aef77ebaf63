/*
 * engine_choice.c - ops whose codec is chosen as it goes: leases, measurements; see choice.h.
 *
 * A submission of such an op stays in its ring until there is a lease for it.  Lane 0 asks, or,
 * where the chooser is, gives one, in time for most ops to find it there.
 */
#include "daemon/engine_state.h"

#include <assert.h>

/* Give a lease if it is time; `seq` is posted here or wanted elsewhere. */
static void give_lease(struct engine *e, struct engine_group *group, uint64_t seq)
{
	struct engine_fact fact = {.kind = ENGINE_LEASED, .exchange = group->exchange};

	if (chooser_lease(group->chooser, seq, e->now_ns, &fact.lease))
		engine_tell(e, &fact);
}

bool engine_choice_waits(struct engine *e, struct engine_group *group,
			 const struct shm_submission *s)
{
	const struct tensor *tensor;

	if (!group || !s->coding || s->kind == SHM_ABORT)
		return false;
	tensor = tensors_at(group->tensors, s->coding - 1u);
	if (!tensor || !tensor->alternatives || exchange_plan(group->exchange)->nodes == 1)
		return false;
	if (group->chooser)
		give_lease(e, group, s->seq);
	if (!exchange_needs_lease(group->exchange, s->seq, tensor))
		return false;
	if (e->options.lane == 0 && !group->chooser && group->asked < s->seq) {
		group->asked = s->seq;
		engine_tell(e, &(struct engine_fact){.kind = ENGINE_NEEDS_LEASE,
						     .exchange = group->exchange,
						     .seq = s->seq});
	}
	return true;
}

void engine_choice_asked(struct engine *e, const struct engine_command *c)
{
	struct engine_group *group = engine_group_with(e, c->exchange);

	/* Whoever is far ahead of us is mistaken: nobody can be. */
	if (group && group->chooser &&
	    c->first_seq <= exchange_done_through(c->exchange) + 4 * EXCHANGE_OPS_MAX)
		give_lease(e, group, c->first_seq);
}

void engine_choice_look_again(struct engine *e)
{
	for (uint32_t i = 0; i < e->clients_end; i++)
		e->clients[i].held = false;
}

void engine_choice_lease(struct engine *e, const struct engine_command *c)
{
	bool added;

	/* It may have been on its way when GROUP_REMOVED was. */
	if (!engine_group_with(e, c->exchange))
		return;
	added = exchange_lease(c->exchange, &c->lease);
	assert(added); /* the main thread counts them */
	engine_choice_look_again(e);
}

void engine_choice_posted(struct engine *e, struct engine_group *group, uint64_t seq)
{
	struct engine_tally *tally = &group->tally[seq % EXCHANGE_OPS_MAX];

	if (!group->chooser)
		return;
	tally->posted_ns = e->now_ns; /* of several local ranks the last one counts */
	tally->measured = exchange_choice(group->exchange, seq, &tally->choice);
}

void engine_choice_over(struct engine *e, struct engine_group *group, uint64_t seq, bool good)
{
	struct engine_tally *tally = &group->tally[seq % EXCHANGE_OPS_MAX];
	uint64_t begun_ns = tally->posted_ns > group->over_ns ? tally->posted_ns : group->over_ns;

	group->over_ns = e->now_ns;
	if (!group->chooser || !tally->measured || !good)
		return;
	tally->measured = false;
	tally->choice.ns = e->now_ns - begun_ns;
	chooser_note(group->chooser, &tally->choice);
}
