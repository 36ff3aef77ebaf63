/*
 * engine_choice.c - ops whose codec is chosen as it goes: leases, measurements; see choice.h.
 *
 * Lane 0 asks for a lease when an op waits for one, or, where the chooser is, gives it: once a
 * group has used such a codec, with every op that is posted, so that most find theirs there.
 */
#include "daemon/engine_state.h"

#include <assert.h>

/* What ops took that are over, to the chooser. */
static void measure(struct engine_group *group)
{
	struct op_time time;

	while (op_clock_next(group->clock, &time)) {
		struct engine_tally *tally = &group->tally[time.seq % EXCHANGE_OPS_MAX];

		if (!time.good || !tally->measured || tally->choice.seq != time.seq)
			continue;
		tally->measured = false;
		tally->choice.ns = time.ns;
		chooser_note(group->chooser, &tally->choice);
	}
}

/* Give a lease if it is time; `seq` is posted here or wanted elsewhere. */
static void give_lease(struct engine *e, struct engine_group *group, uint64_t seq)
{
	struct engine_fact fact = {.kind = ENGINE_LEASED, .exchange = group->exchange};

	if (chooser_lease(group->chooser, seq, e->now_ns, &fact.decision))
		engine_tell(e, &fact);
}

void engine_choice_asked(struct engine *e, const struct engine_command *c)
{
	struct engine_group *group = engine_group_with(e, c->exchange);

	/* Whoever is far ahead of us is mistaken: nobody can be. */
	if (group && group->chooser &&
	    c->first_seq <= exchange_done_through(c->exchange) + 4 * EXCHANGE_OPS_MAX) {
		group->choosing = true;
		measure(group);
		give_lease(e, group, c->first_seq);
	}
}

void engine_choice_lease(struct engine *e, const struct engine_command *c)
{
	bool added;

	/* It may have been on its way when GROUP_REMOVED was. */
	if (!engine_group_with(e, c->exchange))
		return;
	added = exchange_lease(c->exchange, &c->lease);
	assert(added); /* the main thread counts them */
}

void engine_choice_posted(struct engine *e, struct engine_group *group, uint64_t seq,
			  uint32_t lanes)
{
	struct engine_tally *tally = &group->tally[seq % EXCHANGE_OPS_MAX];
	bool waits = exchange_waits_for_lease(group->exchange, seq);

	if (group->chooser) {
		measure(group);
		op_clock_called(group->clock, seq, lanes, e->now_ns);
		tally->measured = exchange_choice(group->exchange, seq, &tally->choice);
		group->choosing |= waits;
		if (group->choosing)
			give_lease(e, group, seq);
	} else if (waits && e->options.lane == 0 && group->asked < seq) {
		group->asked = seq;
		engine_tell(e, &(struct engine_fact){.kind = ENGINE_NEEDS_LEASE,
						     .exchange = group->exchange,
						     .seq = seq});
	}
}

void engine_choice_over(struct engine *e, struct engine_group *group, uint64_t seq, bool good)
{
	if (group->clock)
		op_clock_over(group->clock, e->options.lane, seq, e->now_ns, good);
}
