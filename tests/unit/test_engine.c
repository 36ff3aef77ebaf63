/*
 * test_engine.c - a lane by itself: opening and closing, commands, facts, trainers' rings.
 *
 * Wrapped, so that they can fail: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/sim/world.h"
#include "tests/unit/fail_alloc.h"

static void every_allocation_may_fail(void **state)
{
	struct sim_net_options o = {.nodes = 1};
	struct engine_options options = {
		.transport = "sim",
		.lane_fd = -1,
		.main_eventfd = -1,
		.paths = 1,
		.transport_options = {.queue_frames = 4},
	};
	struct engine *e = NULL;
	struct err err;
	long n = 0;

	(void)state;
	assert_int_equal(sim_net_open(&options.transport_options.sim, &o), 0);
	for (fail_alloc_at(++n); engine_open(&e, &options, &err); fail_alloc_at(++n)) {
		assert_non_null(strstr(err.text, "no memory"));
		assert_null(e);
	}
	fail_alloc_at(0);
	assert_in_range(n, 6, 20); /* the lane, three tables, two mailboxes, a transport */
	engine_close(e);
	engine_close(NULL);
	sim_net_close(options.transport_options.sim);
}

static void what_cannot_be_opened_is_said(void **state)
{
	struct engine_options options = {.transport = "carrier pigeon", .paths = 1};
	struct engine *e = NULL;
	struct err err;

	(void)state;
	assert_int_equal(engine_open(&e, &options, &err), -EINVAL);
	assert_string_equal(err.text, "there is no transport \"carrier pigeon\"");
	options.transport = "sim";
	assert_int_equal(engine_open(&e, &options, &err), -EINVAL);
	assert_non_null(strstr(err.text, "needs a network"));
	assert_null(e);
}

/* A node with two trainers, in one group, whose ops are small. */
static struct world *open_lanes(uint64_t ops, uint16_t lanes)
{
	struct world_options o = {
		.seed = 1,
		.nodes = 1,
		.lanes = lanes,
		.paths = 1,
		.local = {2},
		.arena_bytes = 1 << 20,
		.queue_frames = 4,
	};
	struct world *w = world_open(&o);
	struct world_group *g = world_add_group(w, (const uint16_t[]){0}, 1);

	g->ops = ops;
	for (uint64_t s = 1; s <= ops; s++)
		g->op[s].call = (struct op_call){
			.count = 10, .op = WIRE_OP_ALLREDUCE, .type = VEC_F32, .reduce = VEC_SUM};
	(void)world_place_ops(w);
	world_fill(w, g);
	return w;
}

static struct world *open_world(uint64_t ops)
{
	return open_lanes(ops, 1);
}

static void close_world(struct world *w)
{
	world_end(w);
	world_close(w);
}

static void facts_ring_the_main_thread(void **state)
{
	struct sim_net_options net = {.nodes = 1};
	struct engine_options options = {
		.transport = "sim",
		.lane_fd = -1,
		.main_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.paths = 1,
		.transport_options = {.queue_frames = 4},
	};
	struct engine_command remove = {.kind = ENGINE_PEER_REMOVE, .peer = 3};
	struct engine_command stop = {.kind = ENGINE_STOP};
	struct engine_fact fact;
	struct engine *e;
	struct err err;
	uint64_t rung;

	(void)state;
	assert_int_equal(sim_net_open(&options.transport_options.sim, &net), 0);
	assert_int_equal(engine_open(&e, &options, &err), 0);
	assert_int_equal(engine_round(e, 1), 0);
	assert_int_equal(read(options.main_eventfd, &rung, sizeof(rung)), -1);

	/* A peer that was never there can be removed, too. */
	assert_true(mailbox_put(engine_commands(e), &remove));
	assert_int_equal(engine_round(e, 2), 1);
	assert_int_equal(read(options.main_eventfd, &rung, sizeof(rung)), sizeof(rung));
	assert_int_equal(rung, 1);
	assert_true(mailbox_get(engine_facts(e), &fact));
	assert_int_equal(fact.kind, ENGINE_PEER_REMOVED);
	assert_int_equal(fact.peer, 3);
	assert_false(mailbox_get(engine_facts(e), &fact));
	assert_int_equal(engine_round(e, 3), 0);
	assert_int_equal(atomic_load(&engine_stats(e)->rounds), 3);

	assert_true(mailbox_put(engine_commands(e), &stop));
	assert_int_equal(engine_round(e, 4), -ESHUTDOWN);
	engine_close(e);
	sim_net_close(options.transport_options.sim);
	(void)close(options.main_eventfd);
}

static void assert_figures(const struct world_group *g, uint64_t posted, uint64_t done,
			   uint64_t failed, uint64_t bytes)
{
	const struct engine_group_stats *s = &g->stats[0][0];

	assert_int_equal(atomic_load(&s->ops_posted), posted);
	assert_int_equal(atomic_load(&s->ops_done), done);
	assert_int_equal(atomic_load(&s->ops_failed), failed);
	assert_int_equal(atomic_load(&s->bytes_reduced), bytes);
	assert_int_equal(atomic_load(&s->payload_sent), 0); /* there is one node */
}

/* Two local ranks call each op, and it counts once; what one has called is in flight. */
static void ops_count_once(void **state)
{
	struct world *w = open_world(70);
	struct world_group *g = w->group[0];
	const struct engine_stats *lane;

	(void)state;
	g->rank[0].most = 68;
	g->rank[1].most = 66;
	world_start(w);
	lane = engine_stats(w->node[0].lanes[0]);
	world_turns(w, 3000);
	assert_figures(g, 68, 66, 0, 66 * 40);
	assert_int_equal(atomic_load(&lane->ops_done), 66);
	/* Rank 1 hears of the failure of ops that it calls later; they failed before. */
	world_abort(w, g, &g->rank[0]);
	world_turns(w, 300);
	assert_figures(g, 68, 66, 2, 66 * 40);
	g->rank[1].most = 69;
	world_turns(w, 300);
	assert_figures(g, 69, 66, 3, 66 * 40);
	assert_int_equal(atomic_load(&lane->ops_failed), 3);
	g->rank[0].most = g->rank[1].most = 70;
	world_finish(w);
	assert_figures(g, 70, 66, 4, 66 * 40);
	close_world(w);
}

/* A trainer that writes its ring full of aborts is heard once. */
static void an_abort_is_told_once(void **state)
{
	struct world *w = open_world(3);
	struct world_group *g = w->group[0];

	(void)state;
	g->rank[0].most = g->rank[1].most = 0;
	world_start(w);
	for (int i = 0; i < 1000; i++)
		world_abort(w, g, &g->rank[0]);
	world_turns(w, 300);
	assert_int_equal(w->facts[ENGINE_ABORT], 1);
	world_abort(w, g, &g->rank[1]);
	world_turns(w, 300);
	assert_int_equal(w->facts[ENGINE_ABORT], 2);
	g->rank[0].most = g->rank[1].most = 3;
	world_finish(w);
	for (uint64_t s = 1; s <= 3; s++)
		assert_int_equal(g->rank[0].status[s], WORLD_ABORTED);
	close_world(w);
}

/* It wrote the abort before it asked to leave, so the lane reads it before the handle ends. */
static void an_abort_comes_before_a_leave(void **state)
{
	struct world *w = open_world(1);
	struct world_group *g = w->group[0];

	(void)state;
	world_start(w);
	world_finish(w);
	world_abort(w, g, &g->rank[0]);
	world_leave(w, g, &g->rank[0], 0);
	world_turns(w, 300);
	assert_int_equal(w->facts[ENGINE_ABORT], 1);
	assert_int_equal(w->facts[ENGINE_CLIENT_BAD], 0);
	assert_int_equal(g->rank[0].posted_facts, 1);
	close_world(w);
}

/* Small ops are lane 0's alone: another lane counts them, and has had no work with them. */
static void small_ops_are_no_work_for_other_lanes(void **state)
{
	struct world *w = open_lanes(30, 2);
	struct world_group *g = w->group[0];
	const struct engine_group_stats *s = &g->stats[0][1];
	struct shm_submission late = {.seq = 12,
				      .count = 10,
				      .group = WORLD_HANDLE,
				      .kind = SHM_ALLREDUCE,
				      .type = SHM_F32,
				      .reduce = SHM_SUM,
				      .out_offset = 1024};
	struct engine *other;

	(void)state;
	g->rank[0].most = g->rank[1].most = 0;
	world_start(w);
	world_turns(w, 300);
	other = w->node[0].lanes[1];
	for (uint64_t seq = 1; seq <= 10; seq++) {
		late.seq = seq;
		for (uint32_t k = 0; k < 2; k++)
			assert_true(world_submit(w, &w->node[0].trainers[k], 1, &late));
	}
	assert_int_equal(engine_round(other, w->now_ns), 0);
	for (uint32_t k = 0; k < 2; k++) {
		struct world_trainer *t = &w->node[0].trainers[k];

		assert_int_equal(shm_produce_unseen(&t->submit[1]), 0);
		assert_int_equal(shm_consume_ready(&t->complete[1]), 0);
	}
	assert_int_equal(atomic_load(&s->ops_posted), 10);
	assert_int_equal(atomic_load(&s->ops_done), 10);
	assert_int_equal(atomic_load(&s->bytes_reduced), 400);
	assert_int_equal(atomic_load(&engine_stats(other)->ops_done), 0);

	/* In order, as all others. */
	w->node[0].trainers[0].hostile = true;
	late.seq = 12;
	assert_true(world_submit(w, &w->node[0].trainers[0], 1, &late));
	world_turns(w, 300);
	assert_int_equal(w->facts[ENGINE_CLIENT_BAD], 1);
	world_close(w);
}

/* The command that adds it may be read a round later than the submission; not for ever. */
static void an_unknown_handle_is_given_one_round(void **state)
{
	struct world *w = open_world(1);
	struct shm_submission s = {.kind = SHM_ABORT, .group = WORLD_HANDLE + 1};
	struct world_trainer *t = &w->node[0].trainers[0];

	(void)state;
	w->group[0]->rank[0].most = w->group[0]->rank[1].most = 0;
	world_start(w);
	t->hostile = true;
	assert_true(world_submit(w, t, 0, &s));
	(void)engine_round(w->node[0].lanes[0], w->now_ns);
	assert_true(mailbox_empty(engine_facts(w->node[0].lanes[0])));
	(void)engine_round(w->node[0].lanes[0], w->now_ns);
	world_turns(w, 300);
	assert_int_equal(w->facts[ENGINE_CLIENT_BAD], 1);
	assert_int_equal(w->last.kind, ENGINE_CLIENT_REMOVED);
	close_world(w);
}

/* What a lane says of a trainer after these submissions, number(s) from s->seq on. */
static enum shm_verdict verdict_of(struct world *w, const struct shm_submission *s, uint32_t count)
{
	struct engine *lane = w->node[0].lanes[0];
	struct engine_fact fact = {.shm = SHM_OK};

	for (uint32_t i = 0; i < count; i++) {
		struct shm_submission next = *s;

		next.seq += i;
		assert_true(world_submit(w, &w->node[0].trainers[0], 0, &next));
	}
	for (int i = 0; i < 3 && !fact.kind; i++) {
		(void)engine_round(lane, w->now_ns);
		(void)mailbox_get(engine_facts(lane), &fact);
	}
	assert_int_equal(fact.kind, fact.shm ? ENGINE_CLIENT_BAD : 0);
	return fact.shm;
}

/* Each rule that only the lane can see broken has a word of its own. */
static void what_a_lane_refuses(void **state)
{
	static const struct {
		uint32_t handle, schedule, count;
		uint64_t seq, tail, head; /* tail, head: set by the trainer, unless 0 */
		enum shm_verdict verdict;
		const char *words;
	} cases[] = {
		{0, 1, 1, 1, 0, 0, SHM_OK, "ok"},
		{1, 0, 1, 1, 0, 0, SHM_NO_GROUP, "group handle of no group"},
		{0, 99, 1, 1, 0, 0, SHM_BAD_SCHEDULE, "unknown schedule"},
		{0, 0, 1, 2, 0, 0, SHM_BAD_ORDER, "sequence number not the next of its group"},
		{0, 0, SHM_OPS_MAX, 1, 0, 0, SHM_OK, "ok"},
		{0, 0, SHM_OPS_MAX + 1, 1, 0, 0, SHM_TOO_MANY, "too many ops of a group in flight"},
		{0, 0, 0, 1, SHM_RING_ENTRIES + 1, 0, SHM_BAD_RING,
		 "impossible position of a ring"},
		{0, 0, 1, 1, 0, 1, SHM_BAD_RING, "impossible position of a ring"},
		{0, 0, 1, 1, 0, -(uint64_t)SHM_RING_ENTRIES, SHM_RING_FULL,
		 "completions not taken, their ring is full"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = open_world(3);
		struct world_trainer *t = &w->node[0].trainers[0];
		struct engine_command end = {.kind = ENGINE_GROUP_END,
					     .first_seq = 1,
					     .last_seq = UINT64_MAX,
					     .error = WORLD_ABORTED};
		struct shm_submission s = {.seq = cases[i].seq,
					   .count = 10,
					   .out_offset = 4096,
					   .group = (uint8_t)(WORLD_HANDLE + cases[i].handle),
					   .kind = SHM_ALLREDUCE,
					   .type = SHM_F32,
					   .reduce = SHM_SUM,
					   .schedule = (uint8_t)cases[i].schedule};

		w->group[0]->rank[0].most = w->group[0]->rank[1].most = 0;
		world_start(w);
		if (cases[i].tail)
			atomic_store(&t->submit[0].ring->tail, cases[i].tail);
		if (cases[i].head) { /* the lane looks when it has a completion for it */
			atomic_store(&t->complete[0].ring->head, cases[i].head);
			end.exchange = w->group[0]->x[0][0];
			assert_true(mailbox_put(engine_commands(w->node[0].lanes[0]), &end));
		}
		assert_int_equal(verdict_of(w, &s, cases[i].count), cases[i].verdict);
		assert_string_equal(shm_verdict_name(cases[i].verdict), cases[i].words);
		world_close(w);
	}
}

static void what_it_posted_before_it_died_counts(void **state)
{
	struct world *w = open_world(3);
	struct world_group *g = w->group[0];
	struct shm_submission s = {
		.seq = 1,
		.count = 10,
		.work = g->id << 32 | 1,
		.in_offset = g->op[1].in_offset,
		.out_offset = g->op[1].out_offset,
		.group = WORLD_HANDLE,
		.kind = SHM_ALLREDUCE,
		.type = VEC_F32,
		.reduce = VEC_SUM,
	};

	(void)state;
	g->rank[0].most = 0;
	world_start(w);
	/* Both at once: the lane sees the command first. */
	assert_true(world_submit(w, &w->node[0].trainers[0], 0, &s));
	g->rank[0].posted[0] = 1;
	world_kill_trainer(w, 0, 0);
	world_finish(w);
	assert_int_equal(g->rank[0].posted_least, 1);
	assert_int_equal(g->rank[1].status[1], 0);
	assert_int_equal(g->rank[1].status[2], WORLD_DIED);
	assert_int_equal(g->rank[1].status[3], WORLD_DIED);
	close_world(w);
}

/* Frames under way, finals that nobody took: closing gives all of it back. */
static void closing_in_the_middle_leaks_nothing(void **state)
{
	struct world_options o = {
		.seed = 1,
		.nodes = 3,
		.lanes = 2,
		.paths = 2,
		.local = {1, 2, 1},
		.arena_bytes = 1 << 23,
		.queue_frames = 2,
		.shape = {.latency_ns = 10000, .bytes_per_s = 100000000},
	};

	(void)state;
	for (uint32_t turns = 10; turns < 400; turns += 30) {
		struct world *w = world_open(&o);
		struct world_group *g = world_add_group(w, (const uint16_t[]){0, 1, 2}, 3);

		g->ops = 4;
		for (uint64_t s = 1; s <= 4; s++)
			g->op[s].call = (struct op_call){.count = 100000,
							 .op = WIRE_OP_ALLREDUCE,
							 .type = VEC_F32,
							 .reduce = VEC_SUM,
							 .schedule = (uint16_t)(1 + s % 3)};
		(void)world_place_ops(w);
		world_fill(w, g);
		world_start(w);
		world_turns(w, turns);
		world_close(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(what_cannot_be_opened_is_said),
		cmocka_unit_test(facts_ring_the_main_thread),
		cmocka_unit_test(ops_count_once),
		cmocka_unit_test(an_abort_is_told_once),
		cmocka_unit_test(an_abort_comes_before_a_leave),
		cmocka_unit_test(an_unknown_handle_is_given_one_round),
		cmocka_unit_test(small_ops_are_no_work_for_other_lanes),
		cmocka_unit_test(what_a_lane_refuses),
		cmocka_unit_test(what_it_posted_before_it_died_counts),
		cmocka_unit_test(closing_in_the_middle_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
