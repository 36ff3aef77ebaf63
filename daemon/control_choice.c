/*
 * control_choice.c - leases for ops whose codec is chosen as it goes; see choice.h and chooser.h.
 *
 *   lane with the chooser --LEASED--> node 0's main thread --LEASE--> all main threads --> lanes
 *   lane 0 of another node --NEEDS_LEASE--> main thread --CHOOSE--> node 0 --> its lane
 *
 * What changes is logged by node 0, numbered, so that a run can be made again (codec=replay:FILE);
 * every node remembers it for `carryctl groups`.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/control_state.h"
#include "daemon/report.h"

/* --- words ------------------------------------------------------------------------------------ */

/* NULL: no trainer here has named that list yet. */
static const struct tensor *list_of(const struct control_group *g, uint32_t digest)
{
	const struct tensor *t = tensors_find(g->tensors, digest);

	return t && t->list ? t : NULL;
}

static const char *codec_name(const struct tensor *t, uint8_t alternative)
{
	return t && alternative < t->list->count ? t->list->codec[alternative] : "unknown";
}

static const char *feedback_name(const struct tensor *t)
{
	return t ? feedback_by_id(t->coding.feedback.id)->name : "unknown";
}

/* Of the codecs, as it was asked for. */
static void list_text(const struct tensor *t, char *text, size_t bytes)
{
	size_t used = (size_t)snprintf(text, bytes, "auto");

	for (uint32_t i = 1; t && i < t->list->count && used < bytes; i++)
		used += (size_t)snprintf(text + used, bytes - used, "%c%s", i == 1 ? ':' : '/',
					 t->list->codec[i]);
}

static void log_event(struct control *c, const struct control_group *g,
		      const struct choice_event *event)
{
	const struct wire_choice *choice = &event->choice;
	const struct tensor *t = list_of(g, choice->list);
	uint64_t bytes = choice_class_bytes(choice->size_class);
	char list[CHOICE_ALTERNATIVES_MAX * CHOICE_SPEC_BYTES];

	list_text(t, list, sizeof(list));
	/* libclient/replay.c reads this. */
	log_put(c->log, LOG_LEVEL_INFO, LOG_CHOICE,
		"group \"%s\": tensors of %" PRIu64 " to %" PRIu64
		" bytes %s codec %s from op %" PRIu64 " on group=%016" PRIx64 " change=%" PRIu64
		" op=%" PRIu64 " bytes=%" PRIu64 " codec=%s list=%s feedback=%s",
		g->group->name, bytes, 2 * bytes - 1, choice->settled ? "go by" : "try",
		codec_name(t, choice->alternative), event->from, g->group->id, g->choices.changes,
		event->from, bytes, codec_name(t, choice->alternative), list, feedback_name(t));
}

/* --- leases ----------------------------------------------------------------------------------- */

static void remember(struct choice_record *r, const struct choice_event *event)
{
	const struct wire_choice *choice = &event->choice;
	uint32_t i = 0;

	r->history[r->changes++ % CHOICE_HISTORY_MAX] = *event;
	while (i < r->count && (r->now[i].choice.list != choice->list ||
				r->now[i].choice.size_class != choice->size_class))
		i++;
	if (i == CHOICE_LISTS_MAX)
		return;
	r->count += i == r->count;
	r->now[i] = *event;
}

static void apply(struct control *c, struct control_group *g,
		  const struct choice_decision *decision)
{
	struct choice_record *r = &g->choices;
	struct engine_command command = {.kind = ENGINE_LEASE};

	choice_lease_of(&command.lease, decision);
	for (uint32_t i = 0; i < decision->count; i++) {
		struct choice_event event = {.from = decision->from,
					     .choice = decision->changes[i]};

		remember(r, &event);
		if (g->group->node == 0)
			log_event(c, g, &event);
	}
	r->through = decision->through;
	if (decision->count)
		r->from[r->leases++ % CHOICE_PENDING_MAX] = decision->from;
	for (uint16_t lane = 0; lane < g->group->lanes; lane++) {
		command.exchange = g->exchanges[lane];
		control_command(c, lane, &command);
	}
}

/*
 * Would a lane have more leases to come than it keeps?  Lanes may be as far apart as their rings
 * are long, which is less; so only if trainers, all of them, give their ops to some lanes and not
 * to others, or if the chooser is mad.
 */
static bool too_far(const struct control_group *g)
{
	const struct choice_record *r = &g->choices;
	uint64_t posted = UINT64_MAX;

	for (uint16_t lane = 0; lane < g->group->lanes; lane++) {
		uint64_t here = atomic_load(&g->stats[lane].ops_posted);

		posted = here < posted ? here : posted;
	}
	return r->leases >= CHOICE_PENDING_MAX && r->from[r->leases % CHOICE_PENDING_MAX] > posted;
}

static void end_too_far(struct control *c, struct control_group *g, uint64_t now_ns)
{
	char text[WIRE_TEXT_BYTES];

	(void)snprintf(text, sizeof(text),
		       "carryd on host %s: its lanes are too far apart for codecs to be chosen",
		       c->host);
	end_propose(c, g, 1, UINT64_MAX, GROUP_ABORTED, text, now_ns);
}

void choice_decided(struct control *c, struct control_group *g,
		    const struct choice_decision *decision, uint64_t now_ns)
{
	struct {
		struct wire_lease lease;
		struct wire_choice changes[WIRE_CHOICES_MAX];
	} frame = {.lease = {.group = g->group->id,
			     .from = decision->from,
			     .through = decision->through,
			     .epoch = g->group->epoch,
			     .count = decision->count}};

	if (g->group->ended_from != UINT64_MAX)
		return;
	if (decision->count && too_far(g)) {
		end_too_far(c, g, now_ns);
		return;
	}
	if (decision->full)
		log_put(c->log, LOG_LEVEL_WARNING, LOG_LIMIT,
			"group \"%s\": it has more than %d lists of codecs and classes of sizes to "
			"choose for: tensors of the others go without a codec group=%016" PRIx64,
			g->group->name, CHOICE_LISTS_MAX, g->group->id);
	memcpy(frame.changes, decision->changes, decision->count * sizeof(decision->changes[0]));
	for (uint16_t n = 1; n < g->group->nodes; n++)
		frame_to_node(c, g, n, WIRE_LEASE, &frame,
			      (uint32_t)wire_lease_bytes(decision->count), now_ns);
	apply(c, g, decision);
}

void choice_needed(struct control *c, struct control_group *g, uint64_t seq, uint64_t now_ns)
{
	struct wire_choose choose = {.group = g->group->id, .seq = seq, .epoch = g->group->epoch};

	if (seq > g->choices.through)
		frame_to_node(c, g, 0, WIRE_CHOOSE, &choose, sizeof(choose), now_ns);
}

void choice_asked(struct control *c, struct control_group *g, const struct wire_choose *choose)
{
	control_command(c, 0,
			&(struct engine_command){.kind = ENGINE_CHOOSE,
						 .exchange = g->exchanges[0],
						 .first_seq = choose->seq});
}

void choice_came(struct control *c, struct control_group *g, uint16_t peer,
		 const struct wire_lease *frame, uint64_t now_ns)
{
	struct choice_decision decision = {
		.from = frame->from, .through = frame->through, .count = frame->count};

	if (g->group->ended_from != UINT64_MAX)
		return; /* nobody waits for it */
	if (decision.from != g->choices.through + 1) {
		char text[WIRE_TEXT_BYTES];

		(void)snprintf(text, sizeof(text),
			       "is taken for dead: it chose codecs of group \"%s\" from op %" PRIu64
			       " on, after op %" PRIu64,
			       g->group->name, decision.from, g->choices.through);
		peers_condemn(c->peers, peer, -EPROTO, text);
		return;
	}
	if (decision.count && too_far(g)) {
		end_too_far(c, g, now_ns);
		return;
	}
	memcpy(decision.changes, wire_lease_choices(frame),
	       decision.count * sizeof(decision.changes[0]));
	apply(c, g, &decision);
}

/* --- to be looked at -------------------------------------------------------------------------- */

static json_t *event_json(const struct control_group *g, const struct choice_event *event)
{
	const struct wire_choice *choice = &event->choice;
	const struct tensor *t = list_of(g, choice->list);
	uint64_t bytes = choice_class_bytes(choice->size_class);
	char list[CHOICE_ALTERNATIVES_MAX * CHOICE_SPEC_BYTES];
	json_t *costs = json_object();

	for (uint8_t a = 0; a < choice->alternatives; a++)
		(void)json_object_set_new(costs, t ? codec_name(t, a) : "unknown",
					  choice->cost[a] ? json_integer(choice->cost[a])
							  : json_null());
	list_text(t, list, sizeof(list));
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:b, s:I, s:o}", "list", list, "feedback",
			 feedback_name(t), "bytes_min", (json_int_t)bytes, "bytes_max",
			 (json_int_t)(2 * bytes - 1), "codec", codec_name(t, choice->alternative),
			 "settled", choice->settled, "from_op", (json_int_t)event->from,
			 "ns_per_mib", costs);
}

void choice_add_json(json_t *object, const struct control_group *g)
{
	const struct choice_record *r = &g->choices;
	uint64_t first = r->changes > CHOICE_HISTORY_MAX ? r->changes - CHOICE_HISTORY_MAX : 0;
	json_t *now = json_array(), *history = json_array();

	for (uint32_t i = 0; i < r->count; i++)
		(void)json_array_append_new(now, event_json(g, &r->now[i]));
	for (uint64_t i = first; i < r->changes; i++)
		(void)json_array_append_new(history,
					    event_json(g, &r->history[i % CHOICE_HISTORY_MAX]));
	(void)json_object_set_new(object, "choices", now);
	(void)json_object_set_new(object, "choice_changes", json_integer((json_int_t)r->changes));
	(void)json_object_set_new(object, "choice_history", history);
}
