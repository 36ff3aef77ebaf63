/*
 * test_sched.c - every schedule in the table is an allreduce, and owners are dealt fairly.
 *
 * Goal: prove it for every number of nodes and every owner, not sample it.  Method: play
 * the roles of all nodes for one chunk, with a set of nodes standing for data: every
 * contribution must be wanted where it goes, adding sets that overlap would count a node
 * twice, and a final that is not the full set would have lost one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/sched/owner.h"
#include "daemon/sched/sched.h"

enum { NODES_MAX = 64 };

struct play {
	const struct sched *sched;
	uint16_t nodes, owner;
	struct sched_role role[NODES_MAX];
	uint64_t sum[NODES_MAX]; /* nodes whose data is in what this node holds */
	uint32_t inputs[NODES_MAX];
	uint64_t final[NODES_MAX]; /* the final that it has, 0: none              */
	bool sent[NODES_MAX], passed[NODES_MAX];
};

static uint32_t wanted(const struct play *p, uint16_t n)
{
	const struct sched_role *r = &p->role[n];

	return r->inputs == SCHED_ALL ? p->nodes - 1u : r->inputs == SCHED_ONE ? 1 : 0;
}

static void give_contribution(struct play *p, uint16_t from, uint16_t to, uint64_t data)
{
	const struct sched_role *r = &p->role[to];

	assert_true(to != from);
	assert_true(r->inputs == SCHED_ALL || (r->inputs == SCHED_ONE && r->input == from));
	assert_int_equal(p->sum[to] & data, 0);
	p->sum[to] |= data;
	p->inputs[to]++;
	assert_true(p->inputs[to] <= wanted(p, to));
}

static bool contribute(struct play *p, uint16_t n)
{
	const struct sched_role *r = &p->role[n];

	if (p->sent[n] || r->contribute == SCHED_NONE ||
	    (r->partial && p->inputs[n] < wanted(p, n)))
		return false;
	p->sent[n] = true;
	for (uint16_t to = 0; to < p->nodes; to++)
		if (to != n && (r->contribute == SCHED_ALL || r->contribute_to == to))
			give_contribution(p, n, to, r->partial ? p->sum[n] : (uint64_t)1 << n);
	return true;
}

static bool pass_final(struct play *p, uint16_t n)
{
	const struct sched_role *r = &p->role[n];

	if (!p->final[n] && r->closes && p->inputs[n] == wanted(p, n)) {
		p->final[n] = p->sum[n];
		return true;
	}
	if (!p->final[n] || p->passed[n])
		return false;
	p->passed[n] = true;
	for (uint16_t to = 0; to < p->nodes; to++) {
		if (to == n || r->final_out == SCHED_NONE ||
		    (r->final_out == SCHED_ONE && r->final_to != to))
			continue;
		assert_true(p->role[to].final_in);
		assert_int_equal(p->role[to].final_from, n);
		assert_int_equal(p->final[to], 0);
		p->final[to] = p->final[n];
	}
	return true;
}

static void play(const struct sched *sched, uint16_t nodes, uint16_t owner)
{
	uint64_t all = nodes == 64 ? ~(uint64_t)0 : ((uint64_t)1 << nodes) - 1;
	struct play p = {.sched = sched, .nodes = nodes, .owner = owner};
	bool moved = true;

	for (uint16_t n = 0; n < nodes; n++) {
		p.role[n] = sched->role(nodes, n, owner);
		p.sum[n] = (uint64_t)1 << n;
		assert_false(p.role[n].closes && p.role[n].final_in);
		assert_true(p.role[n].closes || p.role[n].final_in);
	}
	while (moved) {
		moved = false;
		for (uint16_t n = 0; n < nodes; n++) {
			if (contribute(&p, n))
				moved = true;
			if (pass_final(&p, n))
				moved = true;
		}
	}
	for (uint16_t n = 0; n < nodes; n++) {
		assert_true(p.final[n] == all);
		assert_int_equal(p.inputs[n], wanted(&p, n));
	}
}

static void every_schedule_is_an_allreduce(void **state)
{
	(void)state;

	for (const struct sched *const *it = sched_table; *it; it++)
		for (uint16_t nodes = 1; nodes <= NODES_MAX; nodes++)
			for (uint16_t owner = 0; owner < nodes; owner++)
				play(*it, nodes, owner);
}

/* Who closes a chunk adds all contributions in node order, or some were added on their way. */
static void order_by_owner_is_what_adds_on_the_way(void **state)
{
	(void)state;

	for (const struct sched *const *it = sched_table; *it; it++)
		for (uint16_t nodes = 2; nodes <= NODES_MAX; nodes++) {
			bool partial = false;

			for (uint16_t node = 0; node < nodes; node++)
				partial |= (*it)->role(nodes, node, 0).partial;
			assert_int_equal((*it)->order_by_owner, partial);
		}
}

static void names_and_numbers_are_unique(void **state)
{
	(void)state;

	for (const struct sched *const *a = sched_table; *a; a++) {
		assert_int_not_equal((*a)->id, 0);
		assert_ptr_equal(sched_by_name((*a)->name), *a);
		assert_ptr_equal(sched_by_id((*a)->id), *a);
	}
	assert_null(sched_by_name("tree"));
	assert_null(sched_by_id(0));
}

static void the_rule_is_what_it_says(void **state)
{
	(void)state;

	assert_ptr_equal(sched_choose(0, 65536, 2, 65536), &sched_flat);
	assert_ptr_equal(sched_choose(0, 65537, 2, 65536), &sched_direct);
	assert_ptr_equal(sched_choose(0, 21845, 4, 65536), &sched_flat);
	assert_ptr_equal(sched_choose(0, 21846, 4, 65536), &sched_direct);
	assert_ptr_equal(sched_choose(0, 1u << 30, 1, 65536), &sched_flat);
	assert_ptr_equal(sched_choose(sched_ring.id, 8, 4, 65536), &sched_ring);
}

static void assert_balanced(const struct owner_table *t, const bool *living)
{
	uint32_t count[OWNER_NODES_MAX] = {0};
	uint32_t least = UINT32_MAX, most = 0;

	for (uint32_t c = 0; c < t->period; c++)
		count[owner_of(t, 0, c)]++;
	for (uint32_t n = 0; n < OWNER_NODES_MAX; n++) {
		if (!living[n]) {
			assert_int_equal(count[n], 0);
			continue;
		}
		least = count[n] < least ? count[n] : least;
		most = count[n] > most ? count[n] : most;
	}
	assert_true(most - least <= 1);
}

static void founders_share_every_run_of_chunks(void **state)
{
	struct owner_table t;

	(void)state;
	for (uint16_t nodes = 1; nodes <= NODES_MAX; nodes++) {
		owner_found(&t, nodes);
		for (uint64_t key = 0; key < 50; key++) {
			uint32_t count[NODES_MAX] = {0};

			for (uint32_t chunk = 0; chunk < 3u * nodes; chunk++)
				count[owner_of(&t, key * 0x9e3779b97f4a7c15u, chunk)]++;
			for (uint16_t n = 0; n < nodes; n++)
				assert_int_equal(count[n], 3);
		}
	}
}

/* Any sequence of removals and additions: balanced, and only what must move moves. */
static void a_change_moves_only_what_it_must(void **state)
{
	uint64_t dice = 1;

	(void)state;
	for (uint16_t founders = 1; founders <= NODES_MAX; founders++) {
		bool living[OWNER_NODES_MAX] = {false};
		uint16_t living_count = founders;
		struct owner_table t, before;

		owner_found(&t, founders);
		memset(living, true, founders);
		for (int change = 0; change < 40; change++) {
			uint16_t n;

			dice = dice * 6364136223846793005u + 1442695040888963407u;
			n = (uint16_t)((dice >> 33) % NODES_MAX);
			if (living[n] && living_count == 1)
				continue;
			before = t;
			if (living[n])
				owner_remove(&t, n);
			else
				owner_add(&t, n);
			for (uint32_t c = 0; c < t.period; c++) {
				uint16_t was = owner_of(&before, 7, c), is = owner_of(&t, 7, c);

				if (was != is)
					assert_int_equal(living[n] ? was : is, n);
			}
			living[n] = !living[n];
			living_count = (uint16_t)(living_count + (living[n] ? 1 : -1));
			assert_balanced(&t, living);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_schedule_is_an_allreduce),
		cmocka_unit_test(order_by_owner_is_what_adds_on_the_way),
		cmocka_unit_test(names_and_numbers_are_unique),
		cmocka_unit_test(the_rule_is_what_it_says),
		cmocka_unit_test(founders_share_every_run_of_chunks),
		cmocka_unit_test(a_change_moves_only_what_it_must),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
