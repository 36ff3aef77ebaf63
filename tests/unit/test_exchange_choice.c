/*
 * test_exchange_choice.c - ops whose codec is chosen as they go: what changes from one op to the
 * next is carried over, nothing is stranded, and all nodes and lanes change together.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/coded_rig.h"

enum { COUNT = 70000, DENSE = 0, INT8 = 1, INT4 = 2 };

static const struct coded_options usual = {
	.nodes = 3, .lanes = 2, .local = 2, .count = COUNT, .codec = "auto:int8/int4"};

static struct coded_rig *open_with(const char *feedback)
{
	struct coded_options o = usual;

	o.feedback = feedback;
	return coded_open(&o);
}

/* A lease for the next ops. */
static struct choice_lease lease_of(const struct coded_rig *r, uint64_t ops, uint8_t alternative)
{
	return (struct choice_lease){
		.from = r->seq + 1,
		.through = r->seq + ops,
		.count = 1,
		.changes[0] = {.list = r->tensor[0]->digest,
			       .size_class = choice_size_class(COUNT * sizeof(float)),
			       .alternative = alternative}};
}

/* All lanes get one for the next op alone. */
static void choose(struct coded_rig *r, uint8_t alternative)
{
	struct choice_lease lease = lease_of(r, 1, alternative);

	for (uint16_t n = 0; n < r->o.nodes; n++)
		for (uint16_t lane = 0; lane < r->o.lanes; lane++)
			assert_true(exchange_lease(r->x[n][lane], &lease));
}

static void op(struct coded_rig *r, uint8_t alternative)
{
	choose(r, alternative);
	coded_fill(r, r->seq + 1);
	coded_op(r, 17 * r->seq + 5);
	assert_int_equal(r->error, 0);
}

static double input_sum(const struct coded_rig *r, uint64_t i)
{
	double sum = 0;

	for (uint32_t k = 0; k < r->ranks; k++)
		sum += (double)((const float *)r->in[k])[i];
	return sum;
}

static double result(const struct coded_rig *r, uint64_t i)
{
	return (double)((const float *)r->out[0])[i];
}

/* Largest distance of the last result from the sum of its inputs. */
static double error_now(const struct coded_rig *r)
{
	double most = 0;

	for (uint64_t i = 0; i < COUNT; i++)
		most = fmax(most, fabs(result(r, i) - input_sum(r, i)));
	return most;
}

/* By what it went can be seen from what was sent: bytes of all nodes, up and down. */
enum way { WAY_INT4, WAY_INT8, WAY_DENSE };

static enum way way_of(const struct coded_rig *r)
{
	/* Per node: up to each owner but itself, down from its own to the others. */
	double dense = 4.0 * COUNT * (r->o.nodes - 1) * 2;
	double share = (double)r->wire_bytes / dense;

	if (share > 0.9)
		return WAY_DENSE;
	return share > 0.2 && share < 0.3 ? WAY_INT8 : WAY_INT4;
}

/* What codecs lost before comes with the first dense op: all results make all inputs. */
static void nothing_is_stranded(void **state)
{
	static const char *const feedbacks[] = {"ef14", "twosided"};

	(void)state;
	for (size_t f = 0; f < 2; f++) {
		struct coded_rig *r = open_with(feedbacks[f]);
		double *left = calloc(COUNT, sizeof(*left)), most = 0, before = 0;

		for (int step = 0; step < 5; step++) {
			op(r, step == 4 ? DENSE : step % 2 ? INT8 : INT4);
			for (uint64_t i = 0; i < COUNT; i++)
				left[i] += input_sum(r, i) - result(r, i);
			if (step == 3)
				for (uint64_t i = 0; i < COUNT; i++)
					before = fmax(before, fabs(left[i]));
		}
		for (uint64_t i = 0; i < COUNT; i++)
			most = fmax(most, fabs(left[i]));
		assert_true(before > 0.01); /* there was something to carry */
		assert_true(most < 1e-4);
		free(left);
		coded_close(r);
	}
}

/* After it dense ops are plain: state and steps stay as they are, the result is the sum. */
static void then_it_is_plain(void **state)
{
	static const char *const feedbacks[] = {"ef14", "twosided", "loco",
						"ef21", "ef21-w",   "ef21-bc"};

	(void)state;
	for (size_t f = 0; f < sizeof(feedbacks) / sizeof(feedbacks[0]); f++) {
		struct coded_rig *r = open_with(feedbacks[f]);
		void *kept;

		op(r, INT4);
		op(r, DENSE);
		kept = coded_keep(r);
		op(r, DENSE);
		assert_true(coded_kept(r, kept));
		assert_int_equal(way_of(r), WAY_DENSE);
		assert_true(error_now(r) < 1e-5);
		free(kept);
		coded_close(r);
	}
}

/* The first op of a key needs no dense op before it to be plain: there is nothing to carry yet. */
static void at_first_plain(void **state)
{
	struct coded_rig *r = open_with("ef14");
	void *kept = coded_keep(r);

	(void)state;
	op(r, DENSE);
	assert_true(coded_kept(r, kept));
	op(r, INT4);
	assert_false(coded_kept(r, kept));
	free(kept);
	coded_close(r);
}

/* Estimates that plain ops have passed by are made anew: one absolute op, then the codec again. */
static void estimates_start_again(void **state)
{
	static const char *const feedbacks[] = {"ef21", "ef21-w", "ef21-bc"};

	(void)state;
	for (size_t f = 0; f < 3; f++) {
		struct coded_rig *r = open_with(feedbacks[f]);

		op(r, INT8);
		assert_int_equal(way_of(r), f < 2 ? way_of(r) : WAY_INT8);
		op(r, DENSE);
		op(r, DENSE); /* plain */
		op(r, INT8);
		assert_int_equal(way_of(r), WAY_DENSE);
		assert_true(error_now(r) < 1e-5);
		coded_fill(r, r->seq); /* the same input: what is left is an int8 of nothing */
		choose(r, INT8);
		coded_op(r, 3);
		assert_true(error_now(r) < 1e-5);
		op(r, INT8);
		assert_true(error_now(r) > 1e-4);
		coded_close(r);
	}
}

/* Momentum and econtrol's residual live on in dense ops, which are never plain. */
static void never_plain(void **state)
{
	static const char *const feedbacks[] = {"ef21-sgdm:eta=0.5", "econtrol:eta=0.5"};

	(void)state;
	for (size_t f = 0; f < 2; f++) {
		struct coded_rig *r = open_with(feedbacks[f]);
		void *kept;

		op(r, INT4);
		op(r, DENSE);
		kept = coded_keep(r);
		op(r, DENSE);
		assert_false(coded_kept(r, kept));
		assert_int_equal(way_of(r), WAY_DENSE);
		free(kept);
		coded_close(r);
	}
}

/* Without feedback dense is as if there was no tensor. */
static void without_feedback(void **state)
{
	struct coded_rig *r = open_with("");

	(void)state;
	op(r, INT4);
	assert_true(error_now(r) > 0.01);
	assert_int_equal(way_of(r), WAY_INT4);
	op(r, DENSE);
	assert_true(error_now(r) < 1e-5);
	op(r, INT8);
	assert_int_equal(way_of(r), WAY_INT8);
	coded_close(r);
}

/* Back to before the op that sent what was carried: it is carried again. */
static void discard_takes_back(void **state)
{
	struct coded_rig *r = open_with("ef14"), *control = open_with("ef14");

	(void)state;
	op(r, INT4);
	op(control, INT4);
	op(r, DENSE);
	r->discard = true;
	choose(r, DENSE);
	coded_fill(r, 2);
	coded_op(r, 9);
	op(control, DENSE);
	assert_memory_equal(r->out[0], control->out[0], COUNT * sizeof(float));
	/* A plain op leaves nothing: there is nothing of it to take back. */
	r->discard = false;
	op(r, DENSE);
	r->discard = true;
	op(r, DENSE);
	assert_true(error_now(r) < 1e-5);
	coded_close(r);
	coded_close(control);
}

/* An op that fails changes nothing, also if it was to send what was carried. */
static void failure_keeps_state(void **state)
{
	struct coded_rig *r = open_with("ef14"), *control = open_with("ef14");
	void *kept;

	(void)state;
	op(r, INT4);
	op(control, INT4);
	kept = coded_keep(r);
	choose(r, DENSE);
	coded_post(r);
	for (int i = 0; i < 5; i++)
		(void)exchange_progress(r->x[i % 3][i / 3 % 2]);
	coded_end(r, r->seq, -ECANCELED);
	(void)coded_finish(r, 3);
	assert_true(coded_kept(r, kept));
	r->error = 0;
	choose(r, DENSE);
	coded_fill(r, 2);
	coded_op(r, 4);
	op(control, DENSE);
	assert_memory_equal(r->out[0], control->out[0], COUNT * sizeof(float));
	free(kept);
	coded_close(r);
	coded_close(control);
}

/* A chooser that counts more alternatives than the list has: dense, everywhere alike. */
static void beyond_the_list(void **state)
{
	struct coded_rig *r = open_with("");

	(void)state;
	op(r, 4);
	assert_true(error_now(r) < 1e-5);
	coded_close(r);
}

/* What is measured: not the ops that pay for a change. */
static void samples(void **state)
{
	struct coded_rig *r = open_with("ef14");
	static const struct {
		uint8_t alternative;
		bool measured;
	} ops[] = {{DENSE, true}, {INT4, true}, {INT8, true}, {DENSE, false}, {DENSE, true}};

	(void)state;
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct choice_sample sample = {0};

		choose(r, ops[i].alternative);
		coded_fill(r, i);
		coded_post(r);
		assert_int_equal(exchange_choice(r->x[0][0], r->seq, &sample), ops[i].measured);
		if (ops[i].measured) {
			assert_int_equal(sample.seq, r->seq);
			assert_int_equal(sample.bytes, COUNT * sizeof(float));
			assert_int_equal(sample.list, r->tensor[0]->digest);
			assert_int_equal(sample.size_class, 18);
			assert_int_equal(sample.alternative, ops[i].alternative);
			assert_int_equal(sample.alternatives, 3);
		}
		assert_false(exchange_choice(r->x[0][0], r->seq + 1, &sample));
		(void)coded_finish(r, i);
		assert_int_equal(r->error, 0);
	}
	coded_close(r);
}

/*
 * Leases that come late, to one lane after the other, while frames of those that have theirs arrive
 * at those that don't: everybody waits where he must, and the result is that of any other time.
 */
static void late_leases(void **state)
{
	struct coded_rig *r = open_with("ef14"), *control = open_with("ef14");

	(void)state;
	for (uint64_t step = 0; step < 12; step++) {
		uint8_t alternative = (uint8_t)(step % 3);
		struct choice_lease lease = lease_of(r, 1, alternative);
		uint32_t done = 0;

		coded_fill(r, step);
		coded_post(r);
		for (uint32_t i = 0; i < 6; i++) {
			uint32_t at = (uint32_t)((i * 5 + step) % 6);
			struct exchange *x = r->x[at % 3][at / 3];

			lease.from = lease.through = r->seq;
			assert_true(exchange_waits_for_lease(x, r->seq));
			done += coded_moves(r, step + i, 200);
			assert_true(exchange_lease(x, &lease));
			assert_false(exchange_waits_for_lease(x, r->seq));
		}
		assert_int_equal(done + coded_finish(r, step), 12); /* 6 ranks, 2 lanes */
		assert_int_equal(r->error, 0);
		choose(control, alternative);
		coded_fill(control, step);
		coded_op(control, step + 1);
		assert_memory_equal(r->out[0], control->out[0], COUNT * sizeof(float));
	}
	coded_close(r);
	coded_close(control);
}

/* A rank waits for its lease on a lane far ahead of another, which still has small ops to pass. */
static void a_lease_far_ahead(void **state)
{
	enum { PASSED = 100 };
	struct coded_rig *r = open_with("ef14");
	struct choice_lease lease;
	struct exchange *behind = r->x[0][1];

	(void)state;
	for (uint64_t seq = 1; seq <= PASSED; seq++)
		for (uint16_t n = 0; n < r->o.nodes; n++)
			for (uint16_t lane = 0; lane < r->o.lanes; lane++)
				for (uint32_t l = 0; l < r->o.local; l++)
					if (r->x[n][lane] != behind || l == 0)
						assert_true(exchange_pass(r->x[n][lane], l, seq));
	r->seq = PASSED;
	lease = lease_of(r, PASSED, INT8);
	lease.from = 1;
	coded_fill(r, 1);
	r->seq++;
	for (uint16_t n = 0; n < r->o.nodes; n++)
		for (uint16_t lane = 0; lane < r->o.lanes; lane++)
			for (uint32_t l = 0; l < r->o.local; l++)
				if (r->x[n][lane] != behind || l == 0)
					coded_post_one(r, n, lane, l);
	for (uint16_t n = 0; n < r->o.nodes; n++)
		for (uint16_t lane = 0; lane < r->o.lanes; lane++) {
			assert_true(exchange_waits_for_lease(r->x[n][lane], r->seq));
			assert_true(exchange_lease(r->x[n][lane], &lease));
			assert_false(exchange_waits_for_lease(r->x[n][lane], r->seq));
		}
	for (uint64_t seq = 1; seq <= PASSED; seq++)
		assert_true(exchange_pass(behind, 1, seq));
	coded_post_one(r, 0, 1, 1);
	assert_int_equal(coded_finish(r, 1), r->ranks * r->o.lanes);
	assert_int_equal(r->error, 0);
	coded_close(r);
}

/* The op is ended while it waits; the lease comes then, or never. */
static void ended_while_waiting(void **state)
{
	struct coded_rig *r = open_with("ef14");
	struct choice_lease lease = lease_of(r, 2, INT4);

	(void)state;
	coded_post(r);
	assert_int_equal(coded_moves(r, 1, 100), 0);
	coded_end(r, 1, -ECANCELED);
	assert_int_equal(coded_finish(r, 1), 12);
	assert_int_equal(r->error, -ECANCELED);
	assert_false(exchange_waits_for_lease(r->x[0][0], 1));
	r->error = 0;
	for (uint16_t n = 0; n < 3; n++)
		for (uint16_t lane = 0; lane < 2; lane++)
			assert_true(exchange_lease(r->x[n][lane], &lease));
	coded_fill(r, 1);
	coded_op(r, 2);
	assert_int_equal(r->error, 0);
	assert_int_equal(way_of(r), WAY_INT4);
	coded_close(r);
}

/* Calls of ranks of one node that differ are found while the op waits. */
static void differing_while_waiting(void **state)
{
	struct coded_rig *r = open_with("");
	struct exchange_mismatch mismatch;
	struct op_call call = {.count = COUNT,
			       .op = WIRE_OP_ALLREDUCE,
			       .type = VEC_F32,
			       .reduce = VEC_SUM,
			       .scale = 1,
			       .tensor = r->tensor[0]};
	struct exchange_rank rank = {.in = r->in[0], .out = r->out[0], .weight = 1};
	struct exchange *x = r->x[0][0];

	(void)state;
	assert_int_equal(exchange_post(x, 0, 1, &call, &rank), EXCHANGE_POSTED);
	call.tensor = NULL;
	assert_int_equal(exchange_post(x, 1, 1, &call, &rank), EXCHANGE_POST_MISMATCH);
	assert_true(exchange_take_mismatch(x, &mismatch));
	assert_true(mismatch.local);
	assert_int_equal(mismatch.seq, 1);
	r->seq = 0;
	choose(r, INT4); /* it does not begin for that */
	assert_false(exchange_progress(x));
	coded_end(r, 1, -EBADMSG);
	r->seq = 1;
	(void)coded_finish(r, 1);
	coded_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_stranded), cmocka_unit_test(then_it_is_plain),
		cmocka_unit_test(at_first_plain),      cmocka_unit_test(estimates_start_again),
		cmocka_unit_test(never_plain),         cmocka_unit_test(without_feedback),
		cmocka_unit_test(discard_takes_back),  cmocka_unit_test(failure_keeps_state),
		cmocka_unit_test(late_leases),         cmocka_unit_test(a_lease_far_ahead),
		cmocka_unit_test(ended_while_waiting), cmocka_unit_test(differing_while_waiting),
		cmocka_unit_test(beyond_the_list),     cmocka_unit_test(samples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
