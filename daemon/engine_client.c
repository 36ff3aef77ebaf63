/*
 * engine_client.c - the rings of the trainers; see engine.h and proto/shm.h.
 *
 * Everything in a trainer's memory is hostile: an entry is copied once and checked as a
 * copy; positions are our own.  A trainer that breaks a rule is reported and not read
 * any more; nobody else notices.
 */
#include "daemon/engine_state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static_assert((int)SHM_F32 == VEC_F32 && (int)SHM_F64 == VEC_F64 && (int)SHM_F16 == VEC_F16 &&
		      (int)SHM_BF16 == VEC_BF16 && (int)SHM_I8 == VEC_I8 && (int)SHM_U8 == VEC_U8 &&
		      (int)SHM_I32 == VEC_I32 && (int)SHM_I64 == VEC_I64,
	      "types have one numbering");
static_assert((int)SHM_SUM == VEC_SUM && (int)SHM_AVG == VEC_AVG && (int)SHM_MIN == VEC_MIN &&
		      (int)SHM_MAX == VEC_MAX && (int)SHM_PROD == VEC_PROD,
	      "reductions have one numbering");

enum { SUBMISSIONS_A_ROUND = 64 }; /* of one trainer, so that others get their turn */

void engine_client_add(struct engine *e, const struct engine_command *c)
{
	struct engine_client *client = &e->clients[c->client];
	uint32_t lane = e->options.lane;

	assert(c->client < ENGINE_CLIENTS_MAX && !client->used);
	memset(client, 0, sizeof(*client));
	client->used = true;
	client->doubtful = UINT64_MAX;
	client->base = c->base;
	client->layout = c->layout;
	client->wake_fd = c->wake_fd;
	client->submit.ring = shm_submit_ring(c->base, &c->layout, lane);
	client->submissions = shm_submissions(c->base, &c->layout, lane);
	client->complete.ring = shm_complete_ring(c->base, &c->layout, lane);
	client->completions = shm_completions(c->base, &c->layout, lane);
	if (c->client >= e->clients_end)
		e->clients_end = c->client + 1;
	e->ops->remember(e->transport, client->base + c->layout.arena_offset,
			 c->layout.arena_bytes);
}

static void client_bad(struct engine *e, uint32_t number, enum shm_verdict verdict)
{
	e->clients[number].bad = true;
	if (e->clients[number].leaving)
		return; /* the main thread has ended it already */
	engine_tell(e, &(struct engine_fact){
			       .kind = ENGINE_CLIENT_BAD, .client = number, .shm = verdict});
}

/* Read a shared entry once, whatever its writer does meanwhile. */
static void copy_once(struct shm_submission *out, const struct shm_submission *shared)
{
	uint64_t words[sizeof(*out) / sizeof(uint64_t)] = {0};
	const volatile uint64_t *from = (const volatile uint64_t *)(const volatile void *)shared;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = from[i];
	memcpy(out, words, sizeof(*out));
}

/* How many lanes take part in an op. */
static uint32_t lanes_of(const struct engine_group *group, const struct shm_submission *s)
{
	return shm_op_lanes(s->count * shm_type_bytes(s->type),
			    exchange_plan(group->exchange)->lanes);
}

/* The first local rank to call an op counts it. */
static void tally_posted(struct engine *e, struct engine_group *group,
			 const struct shm_submission *s)
{
	engine_choice_posted(e, group, s->seq, lanes_of(group, s));
	if (s->seq <= group->posted)
		return;
	group->posted = s->seq;
	group->tally[s->seq % EXCHANGE_OPS_MAX].bytes = s->count * shm_type_bytes(s->type);
	if (group->stats)
		engine_count(&group->stats->ops_posted, 1);
	if (group->stats && s->coding)
		engine_count(&group->stats->ops_coded, 1);
}

/* Of an op without this lane it is all that is ever heard. */
static void tally_passed(struct engine_group *group, const struct shm_submission *s)
{
	if (s->seq <= group->posted)
		return;
	group->posted = s->seq;
	if (!group->stats)
		return;
	engine_count(&group->stats->ops_posted, 1);
	engine_count(&group->stats->ops_coded, s->coding ? 1 : 0);
	engine_count(&group->stats->ops_done, 1);
	engine_count(&group->stats->bytes_reduced, s->count * shm_type_bytes(s->type));
}

/* So does the first to hear that it is over. */
static void tally_over(struct engine *e, struct engine_group *group,
		       const struct exchange_completion *c)
{
	struct engine_tally *tally = &group->tally[c->seq % EXCHANGE_OPS_MAX];

	if (c->seq <= tally->seq)
		return;
	tally->seq = c->seq;
	engine_choice_over(e, group, c->seq, c->error == 0);
	engine_count(c->error ? &e->stats.ops_failed : &e->stats.ops_done, 1);
	if (!group->stats)
		return;
	engine_count(c->error ? &group->stats->ops_failed : &group->stats->ops_done, 1);
	engine_count(&group->stats->bytes_reduced, c->error ? 0 : tally->bytes);
	engine_count(&group->stats->payload_sent, c->wire_bytes);
}

/* The coding that a submission says by number.  Return: false: it is none, or not for this op. */
static bool take_coding(const struct engine_group *group, const struct shm_submission *s,
			struct op_call *call, struct exchange_rank *rank)
{
	const struct tensor *tensor;

	if (!s->coding)
		return true;
	tensor = tensors_at(group->tensors, s->coding - 1u);
	if (!tensor || vec_sum_type((enum vec_type)s->type) != VEC_F32 ||
	    (s->reduce != SHM_SUM && s->reduce != SHM_AVG))
		return false;
	if (s->schedule && s->schedule != sched_direct.id)
		return false;
	if ((s->in_offset | s->out_offset) % shm_type_bytes(s->type))
		return false; /* codecs compute in the arena */
	if (tensor->state &&
	    (s->key != tensor->key || s->count != tensor->count || s->type != tensor->type))
		return false;
	call->tensor = tensor;
	call->codec = tensor->alternatives ? WIRE_CODEC_AUTO : tensor->coding.up.id;
	call->feedback = tensor->coding.feedback.id;
	call->scale = s->scale;
	call->discard = s->flags & SHM_DISCARD;
	rank->weight = s->weight;
	return true;
}

/* Is it an op without this lane? */
static bool passes(const struct engine *e, const struct engine_client *client,
		   const struct shm_submission *s)
{
	const struct engine_group *group = client->seats[s->group].group;

	return group && s->kind == SHM_ALLREDUCE && e->options.lane >= lanes_of(group, s);
}

static enum shm_verdict pass(const struct engine_seat *seat, const struct shm_submission *s)
{
	if (!exchange_pass(seat->group->exchange, seat->local_rank, s->seq))
		return SHM_BAD_ORDER;
	tally_passed(seat->group, s);
	return SHM_OK;
}

static enum shm_verdict post(struct engine *e, struct engine_client *client,
			     const struct shm_submission *s)
{
	unsigned char *arena = client->base + client->layout.arena_offset;
	struct engine_seat *seat = &client->seats[s->group];
	struct op_call call = {
		.key = s->key,
		.count = s->count,
		.op = WIRE_OP_ALLREDUCE,
		.type = s->type,
		.reduce = s->reduce,
		.schedule = s->schedule,
	};
	struct exchange_rank rank = {
		.in = arena + s->in_offset, .out = arena + s->out_offset, .work = s->work};

	if (!seat->group)
		return SHM_NO_GROUP;
	if (s->schedule && !sched_by_id(s->schedule))
		return SHM_BAD_SCHEDULE;
	if (!take_coding(seat->group, s, &call, &rank))
		return SHM_BAD_CODING;
	if (s->kind == SHM_ABORT) {
		if (seat->group->aborted & 1ull << seat->local_rank)
			return SHM_OK;
		seat->group->aborted |= 1ull << seat->local_rank;
		engine_tell(e, &(struct engine_fact){.kind = ENGINE_ABORT,
						     .exchange = seat->group->exchange,
						     .local_rank = seat->local_rank});
		return SHM_OK;
	}
	if (passes(e, client, s))
		return pass(seat, s);
	switch (exchange_post(seat->group->exchange, seat->local_rank, s->seq, &call, &rank)) {
	case EXCHANGE_POSTED:
	case EXCHANGE_POST_MISMATCH:
	case EXCHANGE_POST_TROUBLE: tally_posted(e, seat->group, s); return SHM_OK;
	case EXCHANGE_POST_ORDER: return SHM_BAD_ORDER;
	case EXCHANGE_POST_WINDOW: break;
	}
	return SHM_TOO_MANY;
}

/*
 * The command that adds a handle was put before the trainer learned of the handle, but
 * maybe after this round took commands: look again in the next round, once.
 */
static bool handle_doubtful(struct engine_client *client, uint32_t handle)
{
	if (client->seats[handle].group || client->doubtful == client->submit.position)
		return false;
	client->doubtful = client->submit.position;
	return true;
}

/* Take up to `most` submissions of one trainer.  Return: was one of them more than passed? */
static bool take_from(struct engine *e, uint32_t number, uint32_t most)
{
	struct engine_client *client = &e->clients[number];
	bool any = false;

	while (most && !client->bad) {
		int ready = shm_consume_ready(&client->submit);
		struct shm_submission s;
		enum shm_verdict verdict;

		if (ready == 0)
			break;
		if (ready < 0) {
			client_bad(e, number, SHM_BAD_RING);
			break;
		}
		copy_once(&s, &client->submissions[client->submit.position % SHM_RING_ENTRIES]);
		verdict = shm_submission_check(&s, client->layout.arena_bytes);
		if (verdict == SHM_OK && handle_doubtful(client, s.group))
			break;
		shm_consume(&client->submit);
		most--;
		any |= verdict != SHM_OK || !passes(e, client, &s);
		if (verdict == SHM_OK)
			verdict = post(e, client, &s);
		if (verdict != SHM_OK)
			client_bad(e, number, verdict);
	}
	return any;
}

bool engine_take_submissions(struct engine *e)
{
	bool any = false;

	for (uint32_t i = 0; i < e->clients_end; i++)
		if (e->clients[i].used && !e->clients[i].leaving)
			any |= take_from(e, i, SUBMISSIONS_A_ROUND);
	return any;
}

void engine_drain_client(struct engine *e, uint32_t number)
{
	/* A ring holds no more than its entries, whatever its writer does meanwhile. */
	(void)take_from(e, number, SHM_RING_ENTRIES);
}

void engine_client_remove(struct engine *e, uint32_t number)
{
	struct engine_client *client = &e->clients[number];

	assert(client->used && !client->leaving);
	client->leaving = true;
	engine_drain_client(e, number); /* what it posted before it died counts */

	for (uint32_t h = 0; h < SHM_GROUPS_MAX; h++) {
		struct engine_seat *seat = &client->seats[h];
		uint64_t posted;

		if (!seat->group)
			continue;
		posted = exchange_rank_leave(seat->group->exchange, seat->local_rank);
		engine_tell(e, &(struct engine_fact){.kind = ENGINE_RANK_POSTED,
						     .exchange = seat->group->exchange,
						     .local_rank = seat->local_rank,
						     .seq = posted});
		seat->group = NULL;
	}
}

static bool client_needed(const struct engine *e, uint32_t number)
{
	for (uint32_t g = 0; g < e->groups_end; g++) {
		const struct engine_group *group = &e->groups[g];
		uint32_t ranks = group->used ? exchange_plan(group->exchange)->local_ranks : 0;

		for (uint32_t r = 0; r < ranks; r++)
			if (group->rank_client[r] == number &&
			    exchange_rank_busy(group->exchange, r))
				return true;
	}
	return false;
}

void engine_clients_let_go(struct engine *e)
{
	for (uint32_t i = 0; i < e->clients_end; i++) {
		struct engine_client *client = &e->clients[i];

		if (!client->used || !client->leaving || client_needed(e, i))
			continue;
		for (uint32_t g = 0; g < e->groups_end; g++)
			for (uint32_t r = 0; e->groups[g].used && r < EXCHANGE_LOCAL_MAX; r++)
				if (e->groups[g].rank_client[r] == i)
					e->groups[g].rank_client[r] = ENGINE_CLIENTS_MAX;
		e->ops->forget(e->transport, client->base + client->layout.arena_offset);
		client->used = false;
		engine_tell(e, &(struct engine_fact){.kind = ENGINE_CLIENT_REMOVED, .client = i});
	}
	while (e->clients_end && !e->clients[e->clients_end - 1].used)
		e->clients_end--;
}

static void give(struct engine *e, const struct engine_group *group,
		 const struct exchange_completion *c)
{
	uint32_t number = group->rank_client[c->local_rank];
	struct engine_client *client;
	struct shm_completion *entry;
	int room;

	if (number == ENGINE_CLIENTS_MAX)
		return;
	client = &e->clients[number];
	if (client->leaving || client->bad)
		return;
	room = shm_produce_room(&client->complete);
	if (room != 1) {
		client_bad(e, number, room ? SHM_BAD_RING : SHM_RING_FULL);
		return;
	}
	entry = &client->completions[client->complete.position % SHM_RING_ENTRIES];
	*entry = (struct shm_completion){
		.work = c->work,
		.seq = c->seq,
		.status = c->error,
		.group = group->rank_handle[c->local_rank],
		.wire_bytes = c->wire_bytes,
		.flags = c->nonfinite ? SHM_NONFINITE : 0,
		.culprit = c->culprit,
	};
	shm_produce(&client->complete);
	client->wake = true;
}

static void wake(struct engine_client *client)
{
	struct shm_header *header = (struct shm_header *)(void *)client->base;
	const char any = 0;

	client->wake = false;
	if (!client->leaving && shm_wake_needed(&header->trainer_sleeps))
		/* If there is no room, it has wake-ups that it has not read. */
		(void)send(client->wake_fd, &any, sizeof(any), MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool engine_give_completions(struct engine *e)
{
	struct exchange_completion c;
	bool any = false;

	for (uint32_t g = 0; g < e->groups_end; g++) {
		struct engine_group *group = &e->groups[g];

		while (group->used && exchange_completion(group->exchange, &c)) {
			tally_over(e, group, &c);
			give(e, group, &c);
			any = true;
		}
	}
	for (uint32_t i = 0; any && i < e->clients_end; i++)
		if (e->clients[i].used && e->clients[i].wake)
			wake(&e->clients[i]);
	return any;
}

void engine_clients_sleep(struct engine *e)
{
	for (uint32_t i = 0; i < e->clients_end; i++)
		if (e->clients[i].used && !e->clients[i].leaving)
			shm_sleep_prepare(&e->clients[i].submit.ring->sleeps);
}

void engine_clients_awake(struct engine *e)
{
	for (uint32_t i = 0; i < e->clients_end; i++)
		if (e->clients[i].used && !e->clients[i].leaving)
			shm_sleep_cancel(&e->clients[i].submit.ring->sleeps);
}

bool engine_clients_ready(struct engine *e)
{
	for (uint32_t i = 0; i < e->clients_end; i++) {
		const struct engine_client *client = &e->clients[i];

		if (client->used && !client->leaving && !client->bad &&
		    shm_consume_ready(&client->submit) != 0)
			return true;
	}
	return false;
}
