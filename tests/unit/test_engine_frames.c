/*
 * test_engine_frames.c - what a lane makes of each wrong frame of a peer.
 *
 * A lane of node 0 is real, node 1 is played: bare transport, frames made by hand.  One
 * group of the two, one op of two chunks, of which each node owns one; in some tests node
 * 2, which is a stranger to the group.  Frames that change
 * nothing (old epoch, unknown group, dead node) are counted as stale and the op still ends well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/engine_state.h"
#include "tests/sim/world.h"

enum { COUNT = 2048, CHUNK = 1024, MANY = 16384, MANY_CHUNK = 2048, SLOTS = 2 };

struct scene {
	struct world *w;
	struct world_group *g;
	uint32_t ours, theirs; /* chunk that node 0 owns, that node 1 owns */
	uint16_t from;         /* who sends: 1 */
	uint32_t sent;         /* on its path 0 */
};

static struct scene open_scene(uint16_t nodes, uint32_t count)
{
	struct world_options o = {
		.seed = 1,
		.nodes = nodes,
		.lanes = 1,
		.paths = 2,
		.local = {1, 1, 1},
		.arena_bytes = 1 << 20,
		.queue_frames = 32,
	};
	struct scene s = {.w = world_open(&o), .from = 1};

	s.g = world_add_group(s.w, (const uint16_t[]){0, 1}, 2);
	s.g->slots = SLOTS;
	s.g->ops = 1;
	s.g->op[1].call = (struct op_call){.count = count,
					   .op = WIRE_OP_ALLREDUCE,
					   .type = VEC_F32,
					   .reduce = VEC_SUM,
					   .schedule = sched_direct.id};
	(void)world_place_ops(s.w);
	world_fill(s.w, s.g);
	s.g->rank[1].most = 0; /* nobody posts for it */
	for (uint16_t n = 1; n < nodes; n++)
		world_make_raw(s.w, n);
	world_start(s.w);
	world_turns(s.w, 300);
	assert_int_equal(s.g->rank[0].posted[0], 1);
	s.ours = owner_of(&s.g->owners, 1, 0) == 0 ? 0 : 1;
	s.theirs = 1 - s.ours;
	return s;
}

static void close_scene(struct scene *s)
{
	for (uint16_t n = 1; n < s->w->options.nodes; n++)
		world_kill_node(s->w, n);
	world_end(s->w);
	world_close(s->w);
}

/* A right frame: their contribution to our chunk, or the final of theirs. */
static struct wire_frame frame_of(struct scene *s, uint16_t kind)
{
	bool final = kind == WIRE_FINAL;
	double weight = 1;
	struct wire_frame f = {
		.kind = kind,
		.group = s->g->id,
		.seq = 1,
		.count = COUNT,
		.epoch = s->g->epoch,
		.chunk = final ? s->theirs : s->ours,
		.contributors = final ? 2 : 1,
		.divisor = final ? 1 : 0,
		.call_digest = wire_call_digest(WIRE_OP_ALLREDUCE, VEC_F32, VEC_SUM, COUNT, 0, 0,
						sched_direct.id),
		.path_seq = s->sent + 1,
		.credit_contribution = SLOTS,
		.credit_final = SLOTS,
		.node = 1,
		.schedule = sched_direct.id,
		.op = WIRE_OP_ALLREDUCE,
		.type = VEC_F32,
		.reduce = VEC_SUM,
		.payload_type = VEC_F32,
		.payload_bytes = CHUNK * 4,
	};

	memcpy(&f.weight, &weight, sizeof(weight));
	return f;
}

static struct wire_frame credit_of(struct scene *s, uint32_t contributions)
{
	return (struct wire_frame){
		.kind = WIRE_CREDIT,
		.group = s->g->id,
		.epoch = s->g->epoch,
		.node = 1,
		.credit_contribution = contributions,
		.credit_final = SLOTS,
	};
}

/* What they called as the op: the same. */
static struct wire_frame call_of(struct scene *s)
{
	struct wire_frame data = frame_of(s, WIRE_CONTRIBUTION);
	struct wire_frame f = credit_of(s, SLOTS);

	f.kind = WIRE_CALL;
	f.seq = data.seq;
	f.count = data.count;
	f.call_digest = data.call_digest;
	f.schedule = data.schedule;
	f.op = data.op;
	f.type = data.type;
	f.reduce = data.reduce;
	return f;
}

static struct wire_frame right_frame(struct scene *s, uint16_t kind)
{
	switch (kind) {
	case WIRE_CREDIT: return credit_of(s, SLOTS);
	case WIRE_CALL: return call_of(s);
	}
	return frame_of(s, kind);
}

/* Send it with the payload of the op (their input, or the sum), and let time pass. */
static void send_frame(struct scene *s, const struct wire_frame *f)
{
	static unsigned char payload[WIRE_CHUNK_BYTES_MAX];
	float *sums = (float *)(void *)payload;
	const float *a = (const float *)(void *)world_in(s->w, s->g, 0, 1);
	const float *b = (const float *)(void *)world_in(s->w, s->g, 1, 1);
	uint32_t at = f->chunk < COUNT / CHUNK ? f->chunk * CHUNK : 0;

	for (uint32_t i = 0; i < CHUNK; i++)
		sums[i] = b[at + i] + (f->kind == WIRE_FINAL ? a[at + i] : 0);
	if (f->path_seq)
		s->sent = f->path_seq;
	transport_sim.send(s->w->node[s->from].raw[0], world_peer(0), 0, f, payload, 0);
	world_turns(s->w, 200);
}

static uint64_t stale(const struct scene *s)
{
	return atomic_load(&engine_stats(s->w->node[0].lanes[0])->frames_stale);
}

/* All that is missing comes: the op ends well. */
static void finish_op(struct scene *s)
{
	struct wire_frame f = frame_of(s, WIRE_CONTRIBUTION);

	send_frame(s, &f);
	f = frame_of(s, WIRE_FINAL);
	send_frame(s, &f);
	assert_int_equal(s->g->rank[0].done[1], 1);
	assert_int_equal(s->g->rank[0].status[1], 0);
	world_check_op(s->w, s->g, 1);
	assert_int_equal(s->w->facts[ENGINE_BAD_FRAME] + s->w->facts[ENGINE_PEER_LIES] +
				 s->w->facts[ENGINE_MISMATCH],
			 0);
}

static void right_frames_end_the_op(void **state)
{
	struct scene s = open_scene(2, COUNT);

	(void)state;
	finish_op(&s);
	assert_int_equal(stale(&s), 0);
	close_scene(&s);
}

/* The simulated transport, which may say that payloads are at hand, and where they were placed. */
static struct transport_ops watched;
static bool hand;
static void *placed[2]; /* contribution, final */

static bool at_hand(const struct transport *t, uint16_t peer, uint16_t path)
{
	(void)t;
	(void)peer;
	(void)path;
	return hand;
}

static void watched_place(struct transport *t, uint16_t peer, uint16_t path, void *dst)
{
	static unsigned char ring[1 << 16]; /* FRAME says that it is there */

	placed[placed[0] != NULL] = dst;
	transport_sim.place(t, peer, path, dst == TRANSPORT_STAYS ? ring : dst);
}

/* Only where the transport says so. */
static void what_is_at_hand_stays(void **state)
{
	(void)state;
	for (int way = 0; way < 3; way++) {
		struct scene s = open_scene(2, COUNT);

		watched = transport_sim;
		watched.at_hand = way ? at_hand : NULL;
		watched.place = watched_place;
		hand = way == 2;
		placed[0] = placed[1] = NULL;
		s.w->node[0].lanes[0]->ops = &watched;
		finish_op(&s);
		for (int i = 0; i < 2; i++) {
			assert_non_null(placed[i]);
			assert_true((placed[i] == TRANSPORT_STAYS) == hand);
		}
		close_scene(&s);
	}
}

#define SET(field, value) \
	offsetof(struct wire_frame, field), sizeof(((struct wire_frame *)0)->field), (value)

struct wrong {
	uint16_t kind;
	size_t offset, bytes;
	uint64_t value;
	enum engine_fact_kind fact;
	bool cut; /* the connection is ended */
};

static void wrong_fields_are_told(void **state)
{
	static const struct wrong wrongs[] = {
		{WIRE_CONTRIBUTION, SET(epoch, 4), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(node, 0), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(node, 2), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(lane, 1), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(path, 1), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(schedule, 77), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(feedback, 99), ENGINE_BAD_FRAME, true},
		{WIRE_CONTRIBUTION, SET(feedback, 1), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(flags, WIRE_FLAG_NONFINITE), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(chunk, 2), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(contributors, 2), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(payload_bytes, 4), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(payload_bytes, 8192), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(payload_type, VEC_I32), ENGINE_BAD_FRAME, false},
		{WIRE_CONTRIBUTION, SET(call_digest, 5), ENGINE_MISMATCH, false},
		{WIRE_CONTRIBUTION, SET(count, COUNT * 2), ENGINE_MISMATCH, false},
		{WIRE_CONTRIBUTION, SET(key, 9), ENGINE_MISMATCH, false},
		{WIRE_CONTRIBUTION, SET(reduce, VEC_MAX), ENGINE_MISMATCH, false},
		{WIRE_CONTRIBUTION, SET(schedule, 3), ENGINE_MISMATCH, false},
		{WIRE_CONTRIBUTION, SET(path_seq, 0), ENGINE_PEER_LIES, true},
		{WIRE_CONTRIBUTION, SET(path_seq, 2), ENGINE_PEER_LIES, true},
		{WIRE_CONTRIBUTION, SET(path_ack, 99), ENGINE_PEER_LIES, true},
		{WIRE_FINAL, SET(node, 2), ENGINE_BAD_FRAME, true},
		{WIRE_FINAL, SET(chunk, 2), ENGINE_BAD_FRAME, false},
		{WIRE_FINAL, SET(contributors, 1), ENGINE_BAD_FRAME, false},
		{WIRE_FINAL, SET(divisor, 2), ENGINE_BAD_FRAME, false},
		{WIRE_FINAL, SET(payload_bytes, 2048), ENGINE_BAD_FRAME, false},
		{WIRE_FINAL, SET(call_digest, 5), ENGINE_BAD_FRAME, false},
		{WIRE_FINAL, SET(seq, 2), ENGINE_BAD_FRAME, false},
		{WIRE_CREDIT, SET(epoch, 4), ENGINE_BAD_FRAME, true},
		{WIRE_CREDIT, SET(node, 0), ENGINE_BAD_FRAME, true},
		{WIRE_CREDIT, SET(lane, 1), ENGINE_BAD_FRAME, true},
		{WIRE_CREDIT, SET(path_ack, 99), ENGINE_PEER_LIES, true},
		{WIRE_CREDIT, SET(path_seq, 2), ENGINE_PEER_LIES, true},
		{WIRE_CALL, SET(epoch, 4), ENGINE_BAD_FRAME, true},
		{WIRE_CALL, SET(node, 0), ENGINE_BAD_FRAME, true},
		{WIRE_CALL, SET(lane, 1), ENGINE_BAD_FRAME, true},
		{WIRE_CALL, SET(key, 9), ENGINE_MISMATCH, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		const struct wrong *wrong = &wrongs[i];
		struct scene s = open_scene(2, COUNT);
		struct wire_frame f = right_frame(&s, wrong->kind);
		uint64_t told;

		memcpy((unsigned char *)&f + wrong->offset, &wrong->value, wrong->bytes);
		send_frame(&s, &f);
		told = s.w->facts[ENGINE_BAD_FRAME] + s.w->facts[ENGINE_PEER_LIES] +
		       s.w->facts[ENGINE_MISMATCH];
		if (!s.w->facts[wrong->fact] || told != 1 ||
		    (s.w->facts[ENGINE_PATH_DOWN] != 0) != wrong->cut || stale(&s))
			fail_msg("case %zu: told %llu, fact %d %llu times, down %llu, stale %llu",
				 i, (unsigned long long)told, wrong->fact,
				 (unsigned long long)s.w->facts[wrong->fact],
				 (unsigned long long)s.w->facts[ENGINE_PATH_DOWN],
				 (unsigned long long)stale(&s));
		close_scene(&s);
	}
}

static void what_comes_twice_is_told_and_counts_once(void **state)
{
	static const uint16_t kinds[] = {WIRE_CONTRIBUTION, WIRE_FINAL};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct scene s = open_scene(2, COUNT);
		struct wire_frame f;

		f = frame_of(&s, kinds[i]);
		send_frame(&s, &f);
		assert_int_equal(s.w->facts[ENGINE_BAD_FRAME], 0);
		f = frame_of(&s, kinds[i]);
		send_frame(&s, &f);
		assert_int_equal(s.w->facts[ENGINE_BAD_FRAME], 1);
		assert_int_equal(s.g->rank[0].done[1], 0);
		f = frame_of(&s, kinds[1 - i]);
		send_frame(&s, &f);
		assert_int_equal(s.g->rank[0].done[1], 1);
		assert_int_equal(s.g->rank[0].status[1], 0);
		world_check_op(s.w, s.g, 1);
		close_scene(&s);
	}
}

static void without_credit_the_connection_ends(void **state)
{
	struct scene s = open_scene(2, COUNT);

	(void)state;
	/* Ops that nobody has posted here wait in their slots, however far ahead they are. */
	for (uint64_t seq = 2; seq < 2 + SLOTS + 1; seq++) {
		struct wire_frame f = frame_of(&s, WIRE_CONTRIBUTION);

		f.seq = seq * 1000;
		assert_int_equal(s.w->facts[ENGINE_BAD_FRAME], 0);
		send_frame(&s, &f);
	}
	assert_int_equal(s.w->facts[ENGINE_BAD_FRAME], 1);
	assert_true(s.w->facts[ENGINE_PATH_DOWN] >= 1);
	close_scene(&s);
}

static void stale_frames_change_nothing(void **state)
{
	struct scene s = open_scene(2, COUNT);
	struct wire_frame f = frame_of(&s, WIRE_CONTRIBUTION);

	(void)state;
	f.epoch = s.g->epoch - 1;
	send_frame(&s, &f);
	assert_int_equal(stale(&s), 1);
	f = frame_of(&s, WIRE_FINAL);
	f.epoch = s.g->epoch - 1;
	f.payload_bytes = 0; /* nothing of it is looked at */
	send_frame(&s, &f);
	assert_int_equal(stale(&s), 2);
	f = frame_of(&s, WIRE_CONTRIBUTION);
	f.group = 5555;
	send_frame(&s, &f);
	assert_int_equal(stale(&s), 3);
	f = call_of(&s);
	f.epoch = s.g->epoch - 1;
	f.key = 9;
	send_frame(&s, &f);
	assert_int_equal(stale(&s), 4);
	assert_int_equal(s.w->facts[ENGINE_PATH_DOWN], 0);
	finish_op(&s);
	close_scene(&s);
}

static uint64_t contributions_sent(const struct scene *s)
{
	return atomic_load(&engine_stats(s->w->node[0].lanes[0])->payload_sent) / MANY_CHUNK / 4;
}

static void stale_credits_count_nothing(void **state)
{
	struct scene s = open_scene(2, MANY);
	struct wire_frame f = credit_of(&s, 40);

	(void)state;
	assert_int_equal(contributions_sent(&s), SLOTS);
	f.epoch--;
	send_frame(&s, &f);
	assert_int_equal(stale(&s), 1);
	assert_int_equal(contributions_sent(&s), SLOTS);
	f = credit_of(&s, SLOTS + 1);
	send_frame(&s, &f);
	assert_int_equal(contributions_sent(&s), SLOTS + 1);
	f = credit_of(&s, 1); /* overtaken */
	send_frame(&s, &f);
	f = credit_of(&s, 40);
	send_frame(&s, &f);
	assert_int_equal(contributions_sent(&s), 4); /* all there are */
	assert_int_equal(stale(&s), 1);
	close_scene(&s);
}

/* Credits that are owed to a peer without a path wake nobody until it has one. */
static void debts_wait_for_a_path(void **state)
{
	struct scene s = open_scene(2, COUNT);
	struct engine *e = s.w->node[0].lanes[0];
	struct link *link = &e->peers[world_peer(1)].link;
	struct exchange *x = e->groups[0].exchange;

	(void)state;
	assert_int_equal(e->lazy_at_ns, 0);
	link->path[0].up = link->path[1].up = false;
	exchange_path_lost(x, 1);
	assert_int_not_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	for (uint64_t i = 1; i <= 10; i++) {
		(void)engine_round(e, e->now_ns + CLOCK_NS_PER_MS);
		assert_int_equal(e->lazy_at_ns, 0);
	}
	assert_int_not_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	link->path[0].up = link->path[1].up = true;
	for (uint64_t i = 1; i <= 3; i++)
		(void)engine_round(e, e->now_ns + CLOCK_NS_PER_MS);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	finish_op(&s);
	close_scene(&s);
}

static void strangers_cannot_end_a_group(void **state)
{
	struct scene s = open_scene(3, COUNT);
	struct wire_frame f = frame_of(&s, WIRE_CONTRIBUTION);

	(void)state;
	s.from = 2;
	send_frame(&s, &f);
	assert_int_equal(s.w->facts[ENGINE_PEER_LIES], 1);
	assert_int_equal(s.w->facts[ENGINE_BAD_FRAME], 0);
	s.from = 1;
	s.sent = 0;
	s.w->facts[ENGINE_PEER_LIES] = 0;
	finish_op(&s);
	close_scene(&s);
}

/* Only what was sent from a trainer's memory is the op's affair; else the connection is bad. */
static void a_wrong_checksum_ends_the_op_or_the_connection(void **state)
{
	(void)state;
	for (int arena = 0; arena < 2; arena++) {
		struct scene s = open_scene(2, COUNT);
		struct wire_frame f = frame_of(&s, WIRE_CONTRIBUTION);

		f.payload_has_crc = 1;
		f.payload_crc = 4711;
		f.flags = arena ? WIRE_FLAG_ARENA : 0;
		send_frame(&s, &f);
		assert_int_equal(s.w->facts[ENGINE_TROUBLE], arena);
		assert_int_equal(s.w->facts[ENGINE_PATH_DOWN] != 0, !arena);
		assert_int_equal(s.w->facts[ENGINE_BAD_FRAME] + s.w->facts[ENGINE_PEER_LIES], 0);
		if (arena) {
			assert_int_equal(s.g->rank[0].done[1], 1);
			assert_int_equal(s.g->rank[0].status[1], WORLD_DAMAGED);
		}
		close_scene(&s);
	}
}

static void frames_of_a_dead_node_are_stale(void **state)
{
	struct scene s = open_scene(2, COUNT);
	struct engine_command remove = {.kind = ENGINE_PEER_REMOVE, .peer = world_peer(1)};
	struct wire_frame f;
	int ends[2];

	(void)state;
	world_command(s.w, 0, 0, 0, &remove);
	for (uint16_t p = 0; p < 2; p++)
		s.w->path[0][0][1][p].closed = true;
	world_turns(s.w, 200);
	assert_int_equal(s.w->facts[ENGINE_PEER_REMOVED], 1);

	/* Its number is used again, by another daemon. */
	assert_int_equal(sim_net_connect(s.w->net, 0, 1, ends), 0);
	s.w->path[0][0][1][0].up[0] = s.w->path[0][0][1][0].up[1] = true;
	world_command(s.w, 0, 0, 0,
		      &(struct engine_command){
			      .kind = ENGINE_PATH_ADD, .peer = world_peer(1), .fd = ends[0]});
	world_command(s.w, 1, 0, 0,
		      &(struct engine_command){
			      .kind = ENGINE_PATH_ADD, .peer = world_peer(0), .fd = ends[1]});
	s.sent = 0;
	f = frame_of(&s, WIRE_CONTRIBUTION);
	send_frame(&s, &f);
	assert_int_equal(stale(&s), 1);
	assert_int_equal(s.w->facts[ENGINE_BAD_FRAME] + s.w->facts[ENGINE_PEER_LIES], 0);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_frames_end_the_op),
		cmocka_unit_test(what_is_at_hand_stays),
		cmocka_unit_test(wrong_fields_are_told),
		cmocka_unit_test(what_comes_twice_is_told_and_counts_once),
		cmocka_unit_test(without_credit_the_connection_ends),
		cmocka_unit_test(stale_frames_change_nothing),
		cmocka_unit_test(stale_credits_count_nothing),
		cmocka_unit_test(debts_wait_for_a_path),
		cmocka_unit_test(strangers_cannot_end_a_group),
		cmocka_unit_test(a_wrong_checksum_ends_the_op_or_the_connection),
		cmocka_unit_test(frames_of_a_dead_node_are_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
