/*
 * engine.c - life of a lane, its commands, and its duty cycle; see engine.h.
 */
#include "daemon/engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/engine_state.h"

enum {
	/* Chunks of a group closed in one turn, beside those that close as a payload comes. */
	PROGRESS_A_ROUND = 2,
	DESCRIBE_NS = 1000000000,
	DESCRIBE_TRIES = 100,
};

/* On the lane: a transport looks at paths, which only the lane may do. */
static void publish_text(struct engine *e)
{
	struct engine_text *about = &e->about;
	uint64_t version = atomic_load_explicit(&about->version, memory_order_relaxed);
	uint64_t words[ENGINE_TEXT_BYTES / sizeof(uint64_t)] = {0};

	(void)snprintf((char *)words, sizeof(words), "%s", e->ops->describe(e->transport));
	atomic_store_explicit(&about->version, version + 1, memory_order_relaxed);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		atomic_store_explicit(&about->words[i], words[i], memory_order_release);
	atomic_store_explicit(&about->version, version + 2, memory_order_release);
}

int engine_open(struct engine **out, const struct engine_options *options, struct err *err)
{
	struct transport_options transport = options->transport_options;
	struct engine *e = calloc(1, sizeof(*e));
	int ret;

	if (!e)
		return err_set(err, -ENOMEM, "no memory for lane %u", options->lane);
	e->options = *options;
	e->ops = transport_by_name(options->transport);
	if (!e->ops) {
		ret = err_set(err, -EINVAL, "there is no transport \"%s\"", options->transport);
		goto fail;
	}
	e->clients = calloc(ENGINE_CLIENTS_MAX, sizeof(*e->clients));
	e->groups = calloc(ENGINE_GROUPS_MAX, sizeof(*e->groups));
	e->peers = calloc(ENGINE_PEERS_MAX, sizeof(*e->peers));
	e->path_stats = calloc((size_t)ENGINE_PEERS_MAX * WIRE_PATHS_MAX, sizeof(*e->path_stats));
	ret = e->clients && e->groups && e->peers && e->path_stats ? 0 : -ENOMEM;
	if (!ret)
		ret = mailbox_init(&e->commands, ENGINE_MAIL, sizeof(struct engine_command));
	if (!ret)
		ret = mailbox_init(&e->facts, ENGINE_MAIL, sizeof(struct engine_fact));
	if (ret) {
		(void)err_set(err, ret, "no memory for lane %u", options->lane);
		goto fail;
	}
	transport.lane_fd = options->lane_fd;
	ret = e->ops->open(&e->transport, &transport, err);
	if (ret)
		goto fail;
	publish_text(e);
	*out = e;
	return 0;

fail:
	engine_close(e);
	return ret;
}

void engine_close(struct engine *e)
{
	if (!e)
		return;
	if (e->ops && e->transport)
		e->ops->close(e->transport);
	for (uint32_t p = 0; e->peers && p < e->peers_end; p++) {
		struct link_entry *entry;

		while (e->peers[p].used && (entry = link_drop(&e->peers[p].link)))
			exchange_released(entry->exchange, entry->buffer);
		if (e->peers[p].used)
			link_deinit(&e->peers[p].link);
	}
	mailbox_deinit(&e->facts);
	mailbox_deinit(&e->commands);
	free(e->path_stats);
	free(e->peers);
	free(e->groups);
	free(e->clients);
	free(e);
}

struct mailbox *engine_commands(struct engine *e)
{
	return &e->commands;
}

struct mailbox *engine_facts(struct engine *e)
{
	return &e->facts;
}

const struct engine_path_stats *engine_path_stats(const struct engine *e, uint16_t peer,
						  uint16_t path)
{
	return &e->path_stats[peer * WIRE_PATHS_MAX + path];
}

uint32_t engine_offers(const struct engine *e)
{
	return e->ops->offers(e->transport);
}

const struct engine_stats *engine_stats(const struct engine *e)
{
	return &e->stats;
}

bool engine_polls_memory(const struct engine *e)
{
	return e->ops->polls_memory && e->ops->polls_memory(e->transport);
}

bool engine_describe(const struct engine *e, char *text)
{
	const struct engine_text *about = &e->about;
	uint64_t words[ENGINE_TEXT_BYTES / sizeof(uint64_t)];

	for (int i = 0; i < DESCRIBE_TRIES; i++) {
		uint64_t before = atomic_load_explicit(&about->version, memory_order_acquire);

		for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
			words[w] = atomic_load_explicit(&about->words[w], memory_order_acquire);
		if (before % 2 == 0 &&
		    before == atomic_load_explicit(&about->version, memory_order_relaxed)) {
			memcpy(text, words, sizeof(words));
			return true;
		}
	}
	return false;
}

void engine_tell(struct engine *e, const struct engine_fact *fact)
{
	/*
	 * A lane tells at most a few facts per command, connection and client; the main
	 * thread, which sleeps only when the mailbox is empty, would have to be stopped
	 * for this to fill up: then waiting for it is all that can be done.
	 */
	while (!mailbox_put(&e->facts, fact)) {
		uint64_t one = 1;

		(void)!write(e->options.main_eventfd, &one, sizeof(one));
		(void)poll(NULL, 0, 1);
	}
	e->facts_put = true;
}

/* Whom a path that gathers frames leads to may send more of them at once. */
static void widen(struct engine *e, uint16_t number)
{
	for (uint32_t g = 0; g < e->groups_end; g++) {
		const struct engine_group *group = &e->groups[g];

		if (group->used && group->node_of_peer[number] != ENGINE_NOBODY)
			exchange_widen(group->exchange, group->node_of_peer[number]);
	}
}

/* What paths run over, where that is news. */
static void look_at_paths(struct engine *e)
{
	for (uint16_t p = 0; p < e->peers_end; p++)
		for (uint16_t i = 0; e->peers[p].used && i < e->peers[p].link.paths; i++) {
			struct engine_fact fact = {.kind = ENGINE_PATH_OVER, .peer = p, .path = i};
			uint32_t waiting;

			if (!e->peers[p].link.path[i].up)
				continue;
			if (engine_gathers(e, p, i, &waiting))
				widen(e, p);
			fact.over = e->ops->over(e->transport, p, i, fact.about);
			if (fact.over && fact.over != e->peers[p].over[i])
				engine_tell(e, &fact);
			e->peers[p].over[i] = fact.over;
		}
}

/* The first one, of engine_open(), lasts as long as any other. */
static void refresh_text(struct engine *e)
{
	if (e->described_ns && e->now_ns - e->described_ns < DESCRIBE_NS)
		return;
	if (e->described_ns)
		publish_text(e);
	look_at_paths(e);
	e->described_ns = e->now_ns;
}

struct engine_group *engine_group_of(struct engine *e, uint64_t id)
{
	for (uint32_t i = 0; i < e->groups_end; i++)
		if (e->groups[i].used && exchange_plan(e->groups[i].exchange)->group == id)
			return &e->groups[i];
	return NULL;
}

struct engine_group *engine_group_with(struct engine *e, const struct exchange *x)
{
	for (uint32_t i = 0; i < e->groups_end; i++)
		if (e->groups[i].used && e->groups[i].exchange == x)
			return &e->groups[i];
	return NULL;
}

static void group_add(struct engine *e, const struct engine_command *c)
{
	const struct exchange_plan *plan = exchange_plan(c->exchange);
	struct engine_group *group = e->groups;
	size_t bytes;
	void *base;

	while (group->used)
		group++;
	assert(group < e->groups + ENGINE_GROUPS_MAX);
	memset(group, 0, sizeof(*group));
	group->used = true;
	group->exchange = c->exchange;
	group->peers = c->peers;
	group->stats = c->stats;
	group->tensors = c->tensors;
	group->clock = c->clock;
	group->chooser = c->chooser;
	assert(c->clock || !c->chooser);
	memset(group->node_of_peer, 0xff, sizeof(group->node_of_peer));
	for (uint16_t n = 0; n < plan->nodes; n++)
		if (c->peers[n] != ENGINE_NOBODY)
			group->node_of_peer[c->peers[n]] = n;
	for (uint32_t r = 0; r < EXCHANGE_LOCAL_MAX; r++)
		group->rank_client[r] = ENGINE_CLIENTS_MAX;
	if (group >= e->groups + e->groups_end)
		e->groups_end = (uint32_t)(group - e->groups) + 1;
	base = exchange_span(c->exchange, &bytes);
	e->ops->remember(e->transport, base, bytes);
}

static void rank_add(struct engine *e, const struct engine_command *c)
{
	struct engine_group *group = engine_group_with(e, c->exchange);
	struct engine_seat *seat = &e->clients[c->client].seats[c->handle];

	assert(group && c->local_rank < EXCHANGE_LOCAL_MAX && c->handle < SHM_GROUPS_MAX &&
	       !seat->group);
	group->rank_client[c->local_rank] = c->client;
	group->rank_handle[c->local_rank] = c->handle;
	seat->group = group;
	seat->local_rank = c->local_rank;
}

static void rank_leave(struct engine *e, const struct engine_command *c)
{
	struct engine_group *group = engine_group_with(e, c->exchange);
	uint32_t number = group->rank_client[c->local_rank];

	if (number != ENGINE_CLIENTS_MAX && !e->clients[number].leaving) {
		/* An abort may still lie in the ring, before the handle ends. */
		engine_drain_client(e, number);
		e->clients[number].seats[group->rank_handle[c->local_rank]].group = NULL;
	}
	engine_tell(e,
		    &(struct engine_fact){.kind = ENGINE_RANK_POSTED,
					  .exchange = c->exchange,
					  .local_rank = c->local_rank,
					  .seq = exchange_rank_leave(c->exchange, c->local_rank)});
}

static void obey(struct engine *e, const struct engine_command *c)
{
	switch (c->kind) {
	case ENGINE_CLIENT_ADD: engine_client_add(e, c); return;
	case ENGINE_CLIENT_REMOVE: engine_client_remove(e, c->client); return;
	case ENGINE_GROUP_ADD: group_add(e, c); return;
	case ENGINE_RANK_ADD: rank_add(e, c); return;
	case ENGINE_RANK_LEAVE: rank_leave(e, c); return;
	case ENGINE_GROUP_END:
		/* It may have been on its way when GROUP_REMOVED was. */
		if (engine_group_with(e, c->exchange))
			exchange_end(c->exchange, c->first_seq, c->last_seq, c->error);
		return;
	case ENGINE_LEASE: engine_choice_lease(e, c); return;
	case ENGINE_CHOOSE: engine_choice_asked(e, c); return;
	case ENGINE_GROUP_REMOVE: engine_group_with(e, c->exchange)->removing = true; return;
	case ENGINE_PATH_ADD: engine_path_add(e, c); return;
	case ENGINE_PATH_CUT: engine_path_cut(e, c->peer, c->path); return;
	case ENGINE_PEER_REMOVE: engine_peer_remove(e, c->peer); return;
	case ENGINE_STOP: e->stop = true; return;
	}
}

bool engine_take_commands(struct engine *e)
{
	struct engine_command c;
	bool any = false;

	while (mailbox_get(&e->commands, &c)) {
		obey(e, &c);
		any = true;
	}
	return any;
}

/* What commands began and could not be finished at once. */
static void finish_removals(struct engine *e)
{
	size_t bytes;

	for (uint32_t p = 0; p < e->peers_end; p++)
		if (e->peers[p].removing)
			(void)engine_peer_finish_removal(e, (uint16_t)p);
	while (e->peers_end && !e->peers[e->peers_end - 1].used &&
	       !e->peers[e->peers_end - 1].removing)
		e->peers_end--;
	engine_clients_let_go(e);
	for (uint32_t g = 0; g < e->groups_end; g++) {
		struct engine_group *group = &e->groups[g];

		if (!group->used || !group->removing || !exchange_idle(group->exchange) ||
		    engine_arriving_in(e, group->exchange))
			continue;
		group->used = false;
		e->ops->forget(e->transport, exchange_span(group->exchange, &bytes));
		engine_tell(e, &(struct engine_fact){.kind = ENGINE_GROUP_REMOVED,
						     .exchange = group->exchange});
	}
	while (e->groups_end && !e->groups[e->groups_end - 1].used)
		e->groups_end--;
}

/*
 * Send, do a little arithmetic, send what that made.  A little, so that sockets are
 * served between two chunks.
 */
static bool work_on_groups(struct engine *e)
{
	bool any = engine_send_frames(e);
	bool worked = false;

	for (uint32_t g = 0; g < e->groups_end; g++)
		for (int i = 0; e->groups[g].used && i < PROGRESS_A_ROUND; i++)
			if (exchange_progress(e->groups[g].exchange))
				worked = true;
	if (worked)
		(void)engine_send_frames(e);
	return any || worked;
}

static void tell_of_trouble(struct engine *e)
{
	for (uint32_t g = 0; g < e->groups_end; g++) {
		struct engine_group *group = &e->groups[g];
		struct engine_fact fact = {.exchange = group->exchange};

		while (group->used && exchange_take_mismatch(group->exchange, &fact.mismatch)) {
			fact.kind = ENGINE_MISMATCH;
			engine_tell(e, &fact);
		}
		while (group->used && exchange_take_trouble(group->exchange, &fact.trouble)) {
			fact.kind = ENGINE_TROUBLE;
			engine_tell(e, &fact);
		}
		while (group->used && exchange_take_bad(group->exchange, &fact.node, &fact.seq)) {
			fact.kind = ENGINE_BAD_FRAME;
			fact.taken = true;
			fact.peer = group->peers[fact.node];
			engine_tell(e, &fact);
		}
	}
}

static void publish_stats(struct engine *e)
{
	const struct transport_stats *t = e->ops->stats(e->transport);

#define PUBLISH(ours, theirs) atomic_store_explicit(&e->stats.ours, t->theirs, memory_order_relaxed)
	PUBLISH(wire_sent, bytes_sent);
	PUBLISH(wire_received, bytes_received);
	PUBLISH(syscalls, syscalls);
	PUBLISH(zerocopy_sends, zerocopy_sends);
	PUBLISH(zerocopy_copied, zerocopy_copied);
	PUBLISH(work_requests, work_requests);
	PUBLISH(completions, completions);
	PUBLISH(registrations, registrations);
	PUBLISH(registered_bytes, registered_bytes);
	PUBLISH(retries_exceeded, retries_exceeded);
	PUBLISH(rnr_exceeded, rnr_exceeded);
	PUBLISH(requests_failed, requests_failed);
#undef PUBLISH
}

int engine_round(struct engine *e, uint64_t now_ns)
{
	uint64_t one = 1;
	bool any;

	e->now_ns = now_ns;
	any = engine_take_commands(e);
	any |= engine_take_submissions(e);
	any |= engine_take_events(e);
	any |= work_on_groups(e);
	any |= engine_give_completions(e);
	tell_of_trouble(e);
	engine_call_out(e);
	any |= engine_pay_debts(e);
	if (any) {
		finish_removals(e);
		publish_stats(e);
	}
	refresh_text(e);
	if (e->facts_put) {
		e->facts_put = false;
		(void)!write(e->options.main_eventfd, &one, sizeof(one));
	}
	engine_count(&e->stats.rounds, 1);
	if (e->stop)
		return -ESHUTDOWN;
	return any;
}

/* Is there an op that may stand still? */
static bool group_waits(const struct engine *e)
{
	for (uint32_t g = 0; g < e->groups_end; g++)
		if (e->groups[g].used && exchange_waits_for(e->groups[g].exchange))
			return true;
	return false;
}

void engine_sleep(struct engine *e, uint64_t now_ns, uint64_t timeout_ns)
{
	uint64_t at_ns = e->lazy_at_ns ? e->lazy_at_ns : UINT64_MAX;

	if (e->call_at_ns < at_ns && group_waits(e))
		at_ns = e->call_at_ns;
	if (at_ns != UINT64_MAX) {
		uint64_t left = at_ns > now_ns ? at_ns - now_ns : 0;

		if (left < timeout_ns)
			timeout_ns = left;
	}
	engine_clients_sleep(e);
	if (!engine_clients_ready(e) && mailbox_empty(&e->commands)) {
		engine_count(&e->stats.slept, 1);
		e->ops->wait(e->transport, timeout_ns);
	}
	engine_clients_awake(e);
}
