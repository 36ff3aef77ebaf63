/* control_fact.c - what the lanes say; see control.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/control_state.h"

static void client_removed(struct control *c, uint32_t client)
{
	if (++c->client[client].removed < c->n)
		return;
	c->client[client] = (struct control_client){.added = false};
	client_forget(c->clients, client);
}

static void group_removed(struct control *c, const struct exchange *x, uint64_t now_ns)
{
	struct control_group *g = control_group_with(c, x);

	if (++g->removed < g->group->lanes)
		return;
	log_put(c->log, LOG_LEVEL_INFO, LOG_GROUP_GONE,
		"group \"%s\" is gone from here group=%016" PRIx64, g->group->name, g->group->id);
	setup_free(c, g, now_ns);
}

static void aborted(struct control *c, const struct engine_fact *fact, uint64_t now_ns)
{
	struct control_group *g = control_group_with(c, fact->exchange);
	char text[WIRE_TEXT_BYTES], who[160];

	group_local_text(g->group, &g->group->local[fact->local_rank], who, sizeof(who));
	(void)snprintf(text, sizeof(text), "aborted by %s", who);
	end_propose(c, g, 1, UINT64_MAX, GROUP_ABORTED, text, now_ns);
}

static void mismatched(struct control *c, const struct engine_fact *fact, uint64_t now_ns)
{
	struct control_group *g = control_group_with(c, fact->exchange);
	uint64_t seq = fact->mismatch.seq;
	char text[WIRE_TEXT_BYTES];

	group_mismatch_text(g->group, &fact->mismatch, text, sizeof(text));
	end_propose(c, g, seq, seq, GROUP_MISMATCH, text, now_ns);
}

static void troubled(struct control *c, const struct engine_fact *fact, uint64_t now_ns)
{
	struct control_group *g = control_group_with(c, fact->exchange);
	uint64_t seq = fact->trouble.seq;
	char text[WIRE_TEXT_BYTES];
	int error = group_trouble_text(g->group, &fact->trouble, text, sizeof(text));

	end_propose(c, g, seq, seq, error, text, now_ns);
}

/* Paths break and are made again; an operator hears of what that does not mend. */
static enum log_level path_down_level(const struct engine_fact *fact)
{
	if (fact->verdict != WIRE_OK || fact->error == -EOPNOTSUPP || fact->error == -ENOMEM)
		return LOG_LEVEL_WARNING;
	return LOG_LEVEL_DEBUG;
}

static void path_went_down(struct control *c, uint32_t lane, const struct engine_fact *fact,
			   uint64_t now_ns)
{
	struct peer_about about;

	peers_about(c->peers, fact->peer, &about);
	log_put(c->log, path_down_level(fact), LOG_PATH_DOWN,
		"a data connection to host %s ended: %s%s%s lane=%u path=%u", about.node.host,
		fact->why ? fact->why : strerror(-fact->error),
		fact->verdict == WIRE_OK ? "" : ", ",
		fact->verdict == WIRE_OK ? "" : wire_verdict_name(fact->verdict), lane, fact->path);
	if (fact->verdict != WIRE_OK)
		peers_refused(c->peers, fact->peer, (uint16_t)lane, fact->path, fact->frames,
			      wire_verdict_name(fact->verdict), now_ns);
	peers_path_down(c->peers, fact->peer, (uint16_t)lane, fact->path, fact->received, now_ns);
}

static void bad_frame(struct control *c, uint32_t lane, const struct engine_fact *fact,
		      uint64_t now_ns)
{
	const struct control_group *g = control_group_with(c, fact->exchange);
	struct peer_about about;
	char text[WIRE_TEXT_BYTES];

	if (!fact->taken) {
		peers_about(c->peers, fact->peer, &about);
		log_put(c->log, LOG_LEVEL_WARNING, LOG_PATH_DOWN,
			"ended a data connection to host %s: it sent a frame that breaks the rules "
			"of group \"%s\" (op %" PRIu64 ") lane=%u path=%u",
			about.node.host, g ? g->group->name : "?", fact->seq, lane, fact->path);
		peers_refused(c->peers, fact->peer, (uint16_t)lane, fact->path, fact->frames,
			      "breaks the rules of its group", now_ns);
		return;
	}
	/* It came whole and was meant so; what it stands for will not come any more. */
	(void)snprintf(text, sizeof(text),
		       "is taken for dead: it sent a frame that breaks the rules of group \"%s\" "
		       "(op %" PRIu64 ")",
		       g ? g->group->name : "?", fact->seq);
	peers_condemn(c->peers, fact->peer, -EPROTO, text);
}

static void client_bad(struct control *c, const struct engine_fact *fact)
{
	/* A trainer whose groups we ended ourselves could not know. */
	if (c->stopping)
		return;
	log_put(c->log, LOG_LEVEL_WARNING, LOG_CLIENT_BAD,
		"trainer %u broke a rule of its rings: %s client=%u pid=%d", fact->client,
		shm_verdict_name(fact->shm), fact->client,
		(int)client_pid(c->clients, fact->client));
	client_end(c->clients, fact->client, "it broke a rule of its rings: %s",
		   shm_verdict_name(fact->shm));
}

bool fact_take(struct control *c, uint32_t lane, uint64_t now_ns)
{
	struct engine_fact fact;

	if (!mailbox_get(engine_facts(engine_thread_engine(c->lanes[lane])), &fact))
		return false;
	switch (fact.kind) {
	case ENGINE_CLIENT_BAD: client_bad(c, &fact); break;
	case ENGINE_CLIENT_REMOVED: client_removed(c, fact.client); break;
	case ENGINE_RANK_POSTED:
		end_rank_posted(c, control_group_with(c, fact.exchange), fact.local_rank, fact.seq,
				now_ns);
		break;
	case ENGINE_GROUP_REMOVED: group_removed(c, fact.exchange, now_ns); break;
	case ENGINE_ABORT: aborted(c, &fact, now_ns); break;
	case ENGINE_MISMATCH: mismatched(c, &fact, now_ns); break;
	case ENGINE_TROUBLE: troubled(c, &fact, now_ns); break;
	case ENGINE_LEASED:
		choice_decided(c, control_group_with(c, fact.exchange), &fact.decision, now_ns);
		break;
	case ENGINE_NEEDS_LEASE:
		choice_needed(c, control_group_with(c, fact.exchange), fact.seq, now_ns);
		break;
	case ENGINE_BAD_FRAME: bad_frame(c, lane, &fact, now_ns); break;
	case ENGINE_PATH_DOWN: path_went_down(c, lane, &fact, now_ns); break;
	case ENGINE_PATH_OVER:
		peers_path_over(c->peers, fact.peer, (uint16_t)lane, fact.path, fact.over,
				fact.about);
		break;
	case ENGINE_PEER_REMOVED: c->peer[fact.peer].removed++; break;
	case ENGINE_PEER_LIES:
		peers_condemn(c->peers, fact.peer, -EPROTO,
			      "is taken for dead: it sent data frames with impossible numbers");
		break;
	}
	return true;
}
